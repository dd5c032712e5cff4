"""The Markdown files of the repository, and what the tests read from them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Block(NamedTuple):
    """A fenced code block."""

    language: str
    line: int  # of its first line of code
    code: str


@cache
def pages() -> tuple[Path, ...]:
    """Return the repository's Markdown files: those that git tracks, or all outside hidden and output folders."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [
        path
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part == "output" for part in path.relative_to(ROOT).parts)
    ]
    return tuple(sorted(path for path in paths if path.is_file()))


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced code blocks of a page."""
    language, start, code = None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.match(r"\s*```(\S*)", line)
        if fence and language is None:
            language, start, code = fence[1], number + 1, []
        elif fence:
            yield Block(language or "", start, "\n".join(code) + "\n")
            language = None
        elif language is not None:
            code.append(line)
    assert language is None, f"{page}:{start}: the code block has no end"


def prose(page: Path) -> str:
    """Return a page without its fenced code blocks, line for line."""
    inside, lines = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.lstrip().startswith("```")
        inside ^= fence
        lines.append("" if inside or fence else line)
    return "\n".join(lines)


def links(page: Path) -> list[str]:
    """Return the targets of links and images, without web addresses."""
    targets = re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", re.sub(r"`[^`]*`", "", prose(page)))
    targets += re.findall(r"<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", prose(page), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        name, count = slug, 0
        while name in found:
            count += 1
            name = f"{slug}-{count}"
        found.add(name)
    return found
