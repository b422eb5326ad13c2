"""What every pixel of an image belongs to."""

from __future__ import annotations

from typing import Any

import torch

from ._transforms import imagenet
from .vision_handler import VisionHandler


class ImageSegmenter(VisionHandler):
    """For each pixel the most probable class and its probability: [height, width, 2] for each image."""

    image_processing = imagenet()

    def postprocess(self, data: Any) -> Any:
        """`data["out"]` is [batch, classes, height, width]."""
        best = torch.max(torch.nn.functional.softmax(data["out"], dim=1), dim=1)
        return torch.stack([best.indices.type(best.values.dtype), best.values], dim=3).tolist()
