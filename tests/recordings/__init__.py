"""Small recordings of the published FC-CLIP, and how they were made."""

import zsseg_d2  # noqa: F401  (first: it makes the pure-Python Detectron2 importable)
