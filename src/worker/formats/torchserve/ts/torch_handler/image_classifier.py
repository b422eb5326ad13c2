"""What an image shows: the most probable classes."""

from __future__ import annotations

from typing import Any

import torch

from ..handler_utils.timer import timed
from ..utils.util import map_class_to_label
from ._transforms import imagenet
from .vision_handler import VisionHandler


class ImageClassifier(VisionHandler):
    """For each image the `topk` most probable classes with their probabilities, by label."""

    topk = 5
    image_processing = imagenet()

    def set_max_result_classes(self, topk: int) -> None:
        """How many classes are told."""
        self.topk = topk

    def get_max_result_classes(self) -> int:
        """How many classes are told."""
        return self.topk

    @timed
    def postprocess(self, data: Any) -> Any:
        """[batch, classes] → dicts."""
        probs, classes = torch.topk(torch.nn.functional.softmax(data, dim=1), self.topk, dim=1)
        return map_class_to_label(probs.tolist(), self.mapping, classes.tolist())
