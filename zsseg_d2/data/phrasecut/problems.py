"""Problems found in a dataset of phrases, counted by kind."""

from __future__ import annotations

from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class Finding:
    """A problem found `count` times, with the first few places."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Count the problem once more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(place)


@dataclass
class SplitReport:
    """The content of a split and its problems.

    Attributes:
        split: name of the split.
        images: number of images.
        phrases: number of phrases.
        expected: images and phrases, None if unknown.
        wrong: problems that make the split unusable, by kind.
        notes: peculiarities that reading takes care of, by kind.
    """

    split: str
    images: int = 0
    phrases: int = 0
    expected: tuple[int, int] | None = None
    wrong: dict[str, Finding] = field(default_factory=dict)
    notes: dict[str, Finding] = field(default_factory=dict)

    def add(self, kind: str, place: str, *, note: bool = False) -> None:
        """Count a finding of this kind."""
        (self.notes if note else self.wrong).setdefault(kind, Finding()).add(place)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        counted = f"{self.split:6}{self.images:>8,} images{self.phrases:>9,} phrases"
        if self.expected is not None:
            agree = self.expected == (self.images, self.phrases)
            counted += ", as expected" if agree else f" (expected: {self.expected[0]:,} and {self.expected[1]:,})"
        found = [
            (word, k, f) for word, group in (("wrong", self.wrong), ("note", self.notes)) for k, f in group.items()
        ]
        return [counted] + [
            f"  {word:6}{kind}: {f.count:,} ({'; '.join(f.examples)}{'; ...' if f.count > len(f.examples) else ''})"
            for word, kind, f in found
        ]
