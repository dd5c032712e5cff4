"""Where the files of a split of a semantic dataset are."""

from __future__ import annotations

from ..panoptic.registration import PanopticPaths


class SemanticPaths(PanopticPaths):
    """Image folder and folder of the label maps, which stands in for both places of a panoptic annotation."""

    def as_metadata(self) -> dict[str, str]:
        """Return the paths as strings, under the names that Detectron2 uses."""
        return {"image_root": str(self.image_root), "sem_seg_root": str(self.panoptic_root)}
