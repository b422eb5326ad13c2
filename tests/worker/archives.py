"""TorchServe archives, made by torch-model-archiver as people make them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

SUFFIXES = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}


@dataclass(frozen=True, slots=True)
class Maker:
    """Packs files of a folder."""

    folder: Path

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def script(self, module: torch.nn.Module, name: str = "model.pt") -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jit: Any = torch.jit
            jit.script(module.eval()).save(str(self.folder / name))
        return str(self.folder / name)

    def __call__(self, handler: str, archive_format: str = "default", **options: str) -> Path:
        out, tmp = self.folder / "out", self.folder / "tmp"
        for folder in (out, tmp):
            folder.mkdir()
        options |= {"model_name": "tiny", "version": "1.0", "export_path": str(out), "handler": handler}
        options["archive_format"] = archive_format
        said = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = [str(Path(sys.executable).with_name("torch-model-archiver")), *said]
        # It copies everything to a folder of the model's name first.
        subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(tmp)})
        return out / f"tiny{SUFFIXES[archive_format]}"


@pytest.fixture
def archiver(tmp_path: Path) -> Maker:
    """Makes archives; what it needs for that lies in the test's own folder."""
    (tmp_path / "sources").mkdir()
    return Maker(tmp_path / "sources")


class Shades(torch.nn.Module):
    """A classifier of seven classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.filters = torch.nn.Conv2d(3, 7, 5, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.filters(x)).mean((2, 3)) * 9


def picture(seed: int, width: int = 320, height: int = 300) -> bytes:
    """A PNG with something in it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "png")
    return buffer.getvalue()


def as_imagenet(encoded: bytes) -> torch.Tensor:
    """What torchvision's Resize(256), CenterCrop(224), ToTensor and Normalize make of a picture: [3, 224, 224]."""
    image: Image.Image = Image.open(io.BytesIO(encoded))
    width, height = image.size
    scale = 256 / min(width, height)
    image = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    scaled = (pixels - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    return torch.from_numpy(scaled.transpose(2, 0, 1).copy())
