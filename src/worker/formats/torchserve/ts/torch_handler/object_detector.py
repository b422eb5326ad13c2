"""Where in an image is what."""

from __future__ import annotations

from typing import Any

from ..utils.util import map_class_to_label
from ._transforms import transforms
from .vision_handler import VisionHandler


class ObjectDetector(VisionHandler):
    """For each image the boxes of what is there with more than `threshold`, by label, with the score."""

    image_processing = transforms.Compose([transforms.ToTensor()])
    threshold = 0.5

    def postprocess(self, data: Any) -> Any:
        """A dict of `boxes`, `labels` and `scores` for each image → a list of dicts for each image."""
        return [self._found(row) for row in data]

    def _found(self, row: Any) -> list[dict[str, Any]]:
        sure = row["scores"] >= self.threshold
        every = zip(*(row[key][sure].tolist() for key in ("labels", "boxes", "scores")), strict=True)
        return [
            map_class_to_label([[box]], self.mapping, [[label]])[0] | {"score": score} for label, box, score in every
        ]
