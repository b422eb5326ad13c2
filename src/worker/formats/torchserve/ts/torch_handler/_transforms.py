"""Steps from an image to a tensor: torchvision's where it is installed, else the same with Pillow alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

_KINDS = {"I": np.int32, "I;16": np.int16, "F": np.float32}


class Compose:
    """One after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """The shorter side becomes `size`."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Any) -> Any:
        from PIL import Image

        width, height = image.size
        short, long = self.size, int(self.size * max(image.size) / min(image.size))
        size = (short, long) if width <= height else (long, short)
        return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


class CenterCrop:
    """A square from the middle."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Any) -> Any:
        left, top = (round((side - self.size) / 2) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))


class ToTensor:
    """[channels, height, width]; bytes become 0 to 1."""

    def __call__(self, image: Any) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image, _KINDS.get(image.mode, np.uint8), copy=True))
        if image.mode == "1":
            pixels = 255 * pixels
        width, height = image.size
        tensor = pixels.view(height, width, len(image.getbands())).permute(2, 0, 1).contiguous()
        return tensor.to(torch.get_default_dtype()).div(255) if tensor.dtype is torch.uint8 else tensor


class Normalize:
    """Each channel minus its mean, through its deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = mean, std

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.as_tensor(values, dtype=tensor.dtype).view(-1, 1, 1) for values in (self.mean, self.std))
        return tensor.clone().sub_(mean).div_(std)


def _chosen() -> Any:
    try:
        return importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError):  # RuntimeError: it was built for another torch
        return sys.modules[__name__]


transforms = _chosen()
"""Has Compose, Resize, CenterCrop, ToTensor and Normalize."""


def imagenet() -> Any:
    """What models that were trained on ImageNet expect."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    steps = (transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor())
    return transforms.Compose([*steps, transforms.Normalize(mean=mean, std=std)])
