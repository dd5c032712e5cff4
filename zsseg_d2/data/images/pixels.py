"""Pixels of every format as 8-bit RGB: scaled by the range that the file gives, or refused."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..errors import DatasetError

_DIRECT = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"))
_WITH_ALPHA = {"La": "LA", "RGBa": "RGBA"}  # premultiplied; Pillow converts them in two steps
_FULL_16_BITS = 65535
_TELLING_BITS = 14  # cameras have 10, 12 or 14 bits; values that need more use all of 16
_SIXTEEN_BITS_IN_INT32 = frozenset({"PNG", "PPM"})  # formats whose grey of 16 bits older versions of Pillow open as "I"

_PHOTOMETRIC, _MAX_VALUES = 262, (281, 341)  # TIFF: WhiteIsZero or BlackIsZero; MaxSampleValue and SMaxSampleValue


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Decode an image and convert it to RGB, without transparency.

    Grey of more than 8 bits is scaled by the range that the format or the file gives: 16 bits in PNG and PGM, 0 to 1
    for floating point, MaxSampleValue or SMaxSampleValue in TIFF.

    Args:
        image: opened, and not decoded yet.
        name: of the file, for messages.

    Returns:
        An RGB image.

    Raises:
        DatasetError: the range is not known: integers of 32 bits, floating point beyond 0 to 1, values that fit in 14
            bits but are stored in 16; or the color space is not known (LAB).
    """
    wide = ";16" in str(getattr(image, "tile", ""))  # before decoding, which empties the list
    image.load()
    if image.mode in _DIRECT:
        rgb = image.convert("RGB")
        if wide and image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK"):
            _check_bits(name, int(np.asarray(rgb).max()) << 8)
        return rgb
    if image.mode in _WITH_ALPHA:
        return image.convert(_WITH_ALPHA[image.mode]).convert("RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scaled(image, name)).convert("RGB")
    raise DatasetError(f"{name}: {image.mode} pixels cannot be converted to RGB. Fix: save the image as 8-bit RGB.")


def _scaled(image: Image.Image, name: str) -> np.ndarray:
    """Return the (H, W) grey levels of an image of mode I, I;16 or F as uint8."""
    values = np.asarray(image)
    if not np.isfinite(values).all() or values.min() < 0:
        raise DatasetError(f"{name}: has negative or infinite values. Fix: save the image with 8 bits.")
    top = _told_range(image)
    if top is None and image.mode == "F":
        top = 1.0
        if values.max() > top:
            raise DatasetError(
                f"{name}: floating-point values reach {values.max():g}, and only those from 0 to 1 have a known range. "
                "Fix: save the image with 8 bits, or its range in the TIFF tag SMaxSampleValue."
            )
    elif top is None and (image.mode != "I" or image.format in _SIXTEEN_BITS_IN_INT32):
        top = _FULL_16_BITS
        _check_bits(name, int(values.max()))
    elif top is None:
        raise DatasetError(
            f"{name}: the range of its 32-bit integers is not known. "
            "Fix: save the image with 8 bits, or its range in the TIFF tag MaxSampleValue."
        )
    if values.max() > top:
        raise DatasetError(
            f"{name}: has the value {values.max():g}, and says that its largest is {top:g}. Fix: save it with 8 bits."
        )
    grey = (values >> 8 if top == _FULL_16_BITS else np.rint(values * (255.0 / top))).astype(np.uint8)
    return 255 - grey if _tag(image, _PHOTOMETRIC) == 0 else grey


def _check_bits(name: str, largest: int) -> None:
    if 0 < largest < 1 << _TELLING_BITS:
        raise DatasetError(
            f"{name}: has 16 bits, but its values fit in {_TELLING_BITS}, so that its range is not known. "
            "Fix: save the image with 8 bits, or its range in the TIFF tag MaxSampleValue."
        )


def _told_range(image: Image.Image) -> float | None:
    """Return the value of white that a TIFF gives for grey of more than 8 bits; None if it gives none."""
    values = [value for value in (_tag(image, tag) for tag in _MAX_VALUES) if value]
    return values[0] if values else None


def _tag(image: Image.Image, tag: int) -> float | None:
    """Return a number that a TIFF gives, the first of several; None if there is none."""
    value = getattr(image, "tag_v2", {}).get(tag)
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, int | float) else None
