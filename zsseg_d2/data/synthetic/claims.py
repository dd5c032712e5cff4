"""What a phrase claims of an object: true, false, or unclear (None). Phrases with an unclear claim are not used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .phrase_scenes import ViewObject

# Depths in metres. Between "yes" and "no" lies the factor of 1.25 that makes a difference in size clear.
_SMALL_FROM, _NOT_SMALL_TO = 13.5, 10.8
_LARGE_TO, _NOT_LARGE_FROM = 6.9, 8.6
_NEARER = 1.1  # ratio of depths at which one thing stands in front of another
_LEFT = ("on the left", 0.4, 0.5)  # share of the width: up to here yes, from here no
_RIGHT = ("on the right", 0.6, 0.5)
_AIRBORNE = ("kite", "airplane")

SIZES = ("small", "large")
POSITIONS = (_LEFT[0], _RIGHT[0])
RELATIONS = ("left of the", "right of the", "in front of the", "behind the")


@dataclass(frozen=True)
class Relation:
    """A place relative to the only thing of its kind."""

    predicate: str  # of `RELATIONS`
    other: ViewObject


@dataclass(frozen=True)
class Claim:
    """A kind, and what else must hold."""

    kind: str
    colour: str | None = None
    size: str | None = None
    position: str | None = None
    relation: Relation | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """From the name outwards: the last one comes first in the phrase, except positions, which follow the name."""
        return tuple(a for a in (self.colour, self.size, self.position) if a)

    def holds(self, thing: ViewObject, width: int) -> bool | None:
        """Return whether the claim is true of `thing` in an image `width` pixels wide; None if that is unclear."""
        parts = [
            _of_kind(thing, self.kind),
            self.colour is None or _of_colour(thing, self.colour),
            self.size is None or _of_size(thing, self.size),
            self.position is None or at_position(thing.centre / width, self.position),
            self.relation is None or _related(thing, self.relation),
        ]
        if False in parts:
            return False
        bare = not self.attributes and self.relation is None
        seen = thing.clear and (bare or not thing.crowd)  # the members of a crowd may differ
        return None if None in parts or not seen else True

    def truth(self, objects: Sequence[ViewObject], width: int) -> tuple[int, ...] | None:
        """Return indices of the objects that the claim is true of; None if that is unclear for some object."""
        held = [(o.index, self.holds(o, width)) for o in objects]
        return None if any(h is None for _, h in held) else tuple(index for index, h in held if h)


def _of_kind(thing: ViewObject, kind: str) -> bool | None:
    if kind == "person" and thing.kind == "rider":  # a person, but drawn as a kind of its own
        return None
    return thing.kind == kind


def _of_colour(thing: ViewObject, colour: str) -> bool | None:
    return None if thing.colour is None else thing.colour == colour


def _of_size(thing: ViewObject, size: str) -> bool | None:
    if size == "small":
        yes, no = thing.depth >= _SMALL_FROM, thing.depth <= _NOT_SMALL_TO
    else:
        yes, no = thing.depth <= _LARGE_TO, thing.depth >= _NOT_LARGE_FROM
    if thing.size == size and yes:
        return True
    return False if thing.size != size and no else None


def at_position(place: float, position: str) -> bool | None:
    """Return whether something is at one of `POSITIONS`; None if that is unclear.

    Args:
        place: its middle, 0 at the left edge of the image and 1 at the right edge.
        position: one of `POSITIONS`.
    """
    if position == _LEFT[0]:
        return True if place <= _LEFT[1] else False if place >= _LEFT[2] else None
    return True if place >= _RIGHT[1] else False if place <= _RIGHT[2] else None


def _related(thing: ViewObject, relation: Relation) -> bool | None:
    other = relation.other
    if thing.index == other.index:
        return False
    if relation.predicate in RELATIONS[:2]:
        shift = other.centre - thing.centre if relation.predicate == RELATIONS[0] else thing.centre - other.centre
        widths = thing.box[2] - thing.box[0] + other.box[2] - other.box[0]
        return True if shift > max(8, 0.25 * widths) else False if shift <= 0 else None
    if thing.kind in _AIRBORNE or other.kind in _AIRBORNE:
        return None
    near, far = (thing, other) if relation.predicate == RELATIONS[2] else (other, thing)
    overlap = min(thing.box[2], other.box[2]) - max(thing.box[0], other.box[0])
    least = min(thing.box[2] - thing.box[0], other.box[2] - other.box[0])
    if overlap <= 0 or near.depth >= far.depth:
        return False
    return True if overlap >= 0.3 * least and far.depth >= _NEARER * near.depth else None
