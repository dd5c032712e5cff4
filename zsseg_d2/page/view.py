"""The HTML of a result: the image with its segments, and the list that singles one out (``view.js``)."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images.writing import encode_image
from .found import Found, Mark

_HERE = Path(__file__).parent
SCRIPT = (_HERE / "view.js").read_text(encoding="utf-8")
STYLE = (_HERE / "view.css").read_text(encoding="utf-8")

_NOTHING = "Nothing was found."


def view_html(found: Found) -> str:
    """Write a result as HTML.

    Everything that a visitor typed is escaped, and the images are part of the text.
    """
    drawn = _data("jpeg", found.view, quality=92)
    codes = _data("png", Image.fromarray(coded(found.codes)))
    entries = "".join(map(_entry, found.marks)) or f"<li>{_NOTHING}</li>"
    width, height = found.view.size
    size = f"aspect-ratio: {width} / {height}; width: min(100%, 80vh * {width} / {height})"
    alt = html.escape(f"{found.name} with {len(found.marks)} segments", quote=True)
    return (
        '<div class="segments-view">'
        f'<div class="picture" style="{size}"><img class="drawn" src="{drawn}" alt="{alt}"><canvas></canvas>'
        f'<img class="codes" src="{codes}" alt="" hidden></div>'
        f"<ol>{entries}</ol></div>"
    )


def coded(codes: np.ndarray) -> np.ndarray:
    """Write (h, w) codes below 2^24 as (h, w, 3) uint8: R + 256 G + 256^2 B."""
    return np.stack([codes & 255, codes >> 8 & 255, codes >> 16 & 255], axis=-1).astype(np.uint8)


def _entry(mark: Mark) -> str:
    color = "#{:02x}{:02x}{:02x}".format(*mark.color)
    found = f"{mark.score:.2f}" if mark.share else "not found"
    about = " ".join(part for part in (mark.kind, f"{100 * mark.share:.1f} %" if mark.share else "") if part)
    return (
        f'<li><button type="button" aria-pressed="false" data-bits="{mark.bits}" data-code="{mark.code}">'
        f'<i style="background:{color}"></i><span class="label">{html.escape(mark.label)}</span>'
        f'<span class="score">{found}</span><span class="about">{about}</span></button></li>'
    )


def _data(kind: str, image: Image.Image, **options: int) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encode_image(image, kind, **options)).decode('ascii')}"
