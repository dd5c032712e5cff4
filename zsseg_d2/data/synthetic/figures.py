"""People, riders with their bikes, and animals: flat figures in metres (u across, v up from the ground)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Flat
from .palette import RGB, shade

SKIN: tuple[RGB, ...] = ((232, 190, 160), (204, 152, 118), (150, 104, 76), (110, 74, 54))
HAIR: tuple[RGB, ...] = ((44, 34, 28), (92, 62, 36), (176, 134, 74), (120, 118, 116))
SHOE: RGB = (40, 36, 36)
TYRE: RGB = (30, 30, 32)
METAL: RGB = (128, 130, 134)


def _pick(rng: np.random.Generator, options: tuple[RGB, ...]) -> RGB:
    return options[int(rng.integers(len(options)))]


def person(flat: Flat, rng: np.random.Generator, rgb: RGB, trousers: tuple[RGB, ...]) -> None:
    """Paint a standing or walking person; `rgb` is the colour of the coat."""
    skin, legs, hair = _pick(rng, SKIN), _pick(rng, trousers), _pick(rng, HAIR)
    stride = float(rng.uniform(0.04, 0.26))
    hem = float(rng.choice([0.78, 0.72, 0.55]))
    for side in (-1, 1):
        flat.stroke(
            [(side * 0.08, 0.88), (side * (0.08 + 0.4 * stride), 0.46), (side * (0.05 + stride), 0.06)], 0.17, legs
        )
        flat.stroke([(side * (0.05 + stride), 0.05), (side * (0.05 + stride) + 0.1, 0.05)], 0.1, SHOE)
    swing = stride * 0.8
    for side in (-1, 1):
        hand = (side * 0.27 + side * swing * 0.5, 0.84)
        flat.stroke([(side * 0.2, 1.4), (side * 0.27, 1.1), hand], 0.13, shade(rgb, 0.88))
        flat.oval(*hand, 0.055, 0.06, skin)
    flat.polygon([(-0.2, hem), (-0.23, 1.42), (-0.12, 1.5), (0.12, 1.5), (0.23, 1.42), (0.2, hem)], rgb)
    flat.polygon([(-0.015, hem), (-0.015, 1.45), (0.015, 1.45), (0.015, hem)], shade(rgb, 0.75), False)
    flat.stroke([(0, 1.48), (0, 1.56)], 0.11, skin)
    flat.oval(0, 1.64, 0.115, 0.145, skin)
    flat.polygon(
        [(-0.125, 1.63), (-0.115, 1.76), (0, 1.81), (0.115, 1.76), (0.125, 1.63), (0.09, 1.7), (-0.09, 1.7)], hair
    )
    kind = rng.random()
    if kind < 0.25:  # a bag
        flat.polygon([(0.22, 0.72), (0.22, 0.95), (0.4, 0.95), (0.4, 0.72)], shade(legs, 0.8))
    elif kind < 0.4:  # long hair
        flat.polygon([(-0.13, 1.4), (-0.12, 1.72), (-0.06, 1.72), (-0.08, 1.4)], hair)
        flat.polygon([(0.13, 1.4), (0.12, 1.72), (0.06, 1.72), (0.08, 1.4)], hair)


def bicycle(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint two thin spoked wheels and a diamond frame; wheel discs and frame belong to it."""
    del rng
    r = 0.34
    rear, front = (-0.53, r), (0.53, r)
    crank, seat, head = (-0.08, 0.3), (-0.2, 0.82), (0.36, 0.84)
    for u, v in (rear, front):
        flat.ring(u, v, r, 0.055, TYRE)
        for du, dv in ((r, 0), (0, r), (0.7 * r, 0.7 * r), (0.7 * r, -0.7 * r)):
            flat.stroke([(u - du, v - dv), (u + du, v + dv)], 0.012, METAL, False)
    flat.polygon([crank, seat, head], None)
    flat.polygon([rear, crank, seat], None)
    for a, b in (
        (rear, crank),
        (crank, seat),
        (seat, rear),
        (crank, head),
        ((-0.17, 0.74), (0.35, 0.76)),
        (head, front),
    ):
        flat.stroke([a, b], 0.075, rgb)
    flat.stroke([head, (0.33, 0.98), (0.46, 1.0)], 0.05, TYRE)
    flat.stroke([(-0.3, 0.88), (-0.08, 0.88)], 0.08, TYRE)
    flat.oval(*crank, 0.09, 0.09, METAL)


def motorcycle(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint fat wheels, an engine block, a coloured tank and fairing, a low seat, a headlamp."""
    del rng
    r = 0.34
    for u in (-0.72, 0.72):
        flat.oval(u, r, r, r, TYRE)
        flat.oval(u, r, 0.18, 0.18, METAL)
        flat.oval(u, r, 0.07, 0.07, (70, 70, 74))
    flat.polygon([(-0.5, 0.28), (-0.42, 0.62), (0.36, 0.66), (0.4, 0.26)], (66, 66, 70))
    flat.oval(0.02, 0.42, 0.2, 0.15, METAL)
    flat.stroke([(0.0, 0.28), (-0.9, 0.32)], 0.11, (176, 178, 182))
    flat.stroke([(0.72, r), (0.42, 0.98)], 0.1, METAL)
    flat.polygon([(-1.0, 0.66), (-1.02, 0.84), (-0.3, 0.8), (-0.1, 0.56), (-0.5, 0.56)], rgb)
    flat.polygon([(-0.3, 0.62), (-0.22, 0.9), (0.1, 1.02), (0.4, 0.98), (0.46, 0.6)], rgb)
    flat.polygon([(0.38, 0.56), (0.36, 1.14), (0.5, 1.2), (0.72, 0.94), (0.62, 0.66)], rgb)
    flat.polygon([(0.42, 0.66), (0.98, 0.62), (0.92, 0.74), (0.5, 0.8)], rgb)
    flat.stroke([(-0.92, 0.88), (-0.6, 0.9), (-0.2, 0.88)], 0.13, (36, 34, 36))
    flat.oval(0.68, 0.95, 0.09, 0.1, (250, 240, 200))
    flat.stroke([(0.36, 1.1), (0.2, 1.16)], 0.07, TYRE)
    flat.polygon([(0.4, 1.16), (0.44, 1.38), (0.52, 1.36), (0.58, 1.14)], (150, 170, 182))


def rider(flat: Flat, rng: np.random.Generator, rgb: RGB, trousers: tuple[RGB, ...], motor: bool) -> None:
    """Paint a person sitting on a bike drawn before; `rgb` is the colour of the jacket."""
    skin, legs = _pick(rng, SKIN), _pick(rng, trousers)
    hip = (-0.25, 0.98) if motor else (-0.2, 0.96)
    foot = (0.02, 0.32) if motor else (-0.02, 0.22)
    knee = (0.22, 0.72) if motor else (0.16, 0.66)
    hand = (0.3, 1.16) if motor else (0.42, 1.02)
    lean = 0.1 if motor else 0.18
    neck = (hip[0] + lean + 0.06, 1.56)
    flat.stroke([hip, (knee[0] - 0.1, knee[1] + 0.05), (foot[0] - 0.14, foot[1] + 0.14)], 0.17, shade(legs, 0.8))
    flat.stroke([hip, knee, foot], 0.18, legs)
    flat.stroke([foot, (foot[0] + 0.14, foot[1])], 0.1, SHOE)
    flat.polygon(
        [
            (hip[0] - 0.17, 0.94),
            (neck[0] - 0.24, 1.46),
            (neck[0] - 0.06, 1.56),
            (neck[0] + 0.14, 1.5),
            (hip[0] + 0.24, 1.18),
            (hip[0] + 0.2, 0.94),
        ],
        rgb,
    )
    elbow = ((neck[0] + hand[0]) / 2 + 0.02, 1.18)
    flat.stroke([(neck[0] - 0.02, 1.44), elbow, hand], 0.14, shade(rgb, 0.82))
    flat.oval(*hand, 0.06, 0.06, skin)
    head = (neck[0] + 0.08, 1.7)
    flat.oval(*head, 0.125, 0.15, skin)
    helmet = (
        _pick(rng, ((44, 44, 48), (216, 214, 208), (170, 48, 44))) if motor or rng.random() < 0.6 else _pick(rng, HAIR)
    )
    u, v = head
    flat.polygon(
        [(u - 0.16, v - 0.06), (u - 0.14, v + 0.13), (u, v + 0.2), (u + 0.13, v + 0.13), (u + 0.15, v + 0.02)], helmet
    )


@dataclass(frozen=True)
class Build:
    """Proportions of a four-legged animal, in metres."""

    length: float
    leg: float
    girth: float
    neck: tuple[float, float]  # from the shoulder to the head
    head: float
    leg_width: float


BUILDS: dict[str, Build] = {
    "dog": Build(0.75, 0.34, 0.3, (0.16, 0.24), 0.15, 0.09),
    "sheep": Build(1.1, 0.4, 0.68, (0.14, 0.06), 0.19, 0.12),
    "cow": Build(1.9, 0.62, 0.85, (0.4, 0.12), 0.28, 0.19),
    "horse": Build(1.8, 0.95, 0.7, (0.4, 0.68), 0.24, 0.16),
}


def animal(flat: Flat, rng: np.random.Generator, rgb: RGB, kind: str) -> None:
    """Paint a dog, sheep, cow or horse in profile; `rgb` is the colour of its coat."""
    b = BUILDS[kind]
    half, mid, top = b.length / 2, b.leg + b.girth / 2, b.leg + b.girth
    dark = shade(rgb, 0.7)
    foot = (44, 40, 38) if kind in ("sheep", "cow") else shade(rgb, 0.55)
    for k, u in enumerate((-0.8, -0.6, 0.6, 0.82)):
        swing = float(rng.uniform(-0.06, 0.06))
        limb = dark if k % 2 else shade(rgb, 0.88)
        flat.stroke([(u * half, mid), (u * half + swing, b.leg_width)], b.leg_width, foot if kind == "sheep" else limb)
        flat.stroke([(u * half + swing, b.leg_width), (u * half + swing, b.leg_width * 0.5)], b.leg_width, foot)
    head_u, head_v = half * 0.95 + b.neck[0], top - 0.12 * b.girth + b.neck[1]
    if kind == "sheep":  # a woolly outline
        for a in np.linspace(0, 2 * np.pi, 13)[:-1]:
            flat.oval(0.9 * half * np.cos(a), mid + 0.36 * b.girth * np.sin(a), 0.2, 0.18, rgb)
    flat.polygon(
        [
            (-half, b.leg + 0.12 * b.girth),
            (-half * 1.03, top - 0.08),
            (-0.7 * half, top),
            (0.75 * half, top),
            (half, top - 0.1),
            (half, b.leg + 0.2 * b.girth),
            (0.3 * half, b.leg - 0.02),
            (-0.6 * half, b.leg + 0.04),
        ],
        rgb,
    )
    neck_width = {"dog": 0.17, "sheep": 0.3, "cow": 0.42, "horse": 0.34}[kind]
    flat.stroke([(half * 0.85, top - neck_width * 0.5), (head_u, head_v)], neck_width, rgb)
    face = (52, 46, 44) if kind == "sheep" else rgb
    muzzle = {"dog": 0.2, "sheep": 0.2, "cow": 0.36, "horse": 0.46}[kind]
    flat.oval(head_u, head_v, b.head * 0.85, b.head * 0.75, face)
    flat.stroke([(head_u, head_v), (head_u + muzzle, head_v - muzzle * 0.45)], b.head * 0.85, face)
    if kind == "dog":
        flat.stroke([(-half, top - 0.05), (-half - 0.2, top + 0.24)], 0.07, dark)
        flat.polygon(
            [(head_u - 0.12, head_v + 0.1), (head_u - 0.16, head_v - 0.12), (head_u - 0.03, head_v + 0.06)], dark
        )
    elif kind == "horse":
        mane = (54, 42, 36)
        flat.stroke([(half * 0.55, top), (head_u - 0.16, head_v + 0.16)], 0.16, mane)
        flat.stroke([(-half, top - 0.05), (-half - 0.16, top - 0.3), (-half - 0.14, b.leg + 0.1)], 0.15, mane)
        flat.polygon(
            [(head_u - 0.1, head_v + 0.12), (head_u - 0.06, head_v + 0.36), (head_u + 0.05, head_v + 0.12)], dark
        )
    elif kind == "cow":
        patch = (240, 236, 228) if sum(rgb) < 500 else (60, 50, 46)
        for u, v, r in ((-0.5, 0.6, 0.2), (0.3, 0.4, 0.17)):
            flat.oval(u * half, b.leg + v * b.girth, r * 1.4, r, patch, False)
        for du in (-0.1, 0.08):
            flat.stroke([(head_u + du, head_v + 0.16), (head_u + du * 2, head_v + 0.36)], 0.06, (226, 214, 186))
        flat.stroke([(-half, top - 0.08), (-half - 0.08, b.leg)], 0.06, dark)
        flat.oval(-0.45 * half, b.leg, 0.16, 0.12, (228, 172, 166))
        flat.oval(head_u + muzzle, head_v - muzzle * 0.45, 0.12, 0.11, (226, 176, 168))
