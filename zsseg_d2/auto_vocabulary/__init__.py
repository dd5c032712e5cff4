"""Words for an image without being given any: cells, clusters, captions, nouns (AutoSeg, arXiv 2312.04539)."""

from . import blip, mini_captioner  # noqa: F401  (captioners register themselves)
