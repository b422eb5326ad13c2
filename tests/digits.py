"""Two real models on scikit-learn's scans of digits: small, and trained in a second or two."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from penstock.worker.compiled.aot import compiled_program
from penstock.worker.compiled.cache import CompiledCache

MOST = 32
"""Rows that run together."""


class Convolutions(torch.nn.Module):
    """A CNN: scans of 8 x 8 in, a score for each digit out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.last = torch.nn.Linear(16 * 2 * 2, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.max_pool2d(self.first(image[:, None]).relu(), 2)
        x = torch.max_pool2d(self.second(x).relu(), 2)
        return {"scores": self.last(x.flatten(1))}


class Layers(torch.nn.Module):
    """An MLP with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(64, 32)
        self.last = torch.nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.last(self.hidden(image.flatten(1)).relu())
        return {"scores": scores, "digit": scores.argmax(1)}


@cache
def scans() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All scans, [1797, 8, 8] from 0 to 1, and which digits they are."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8).astype(np.float32) / 16, digits.astype(np.int64)


def trained(kind: type[torch.nn.Module], epochs: int = 15) -> torch.nn.Module:
    """A model that is right nine times out of ten; the same at each call."""
    torch.manual_seed(0)
    model = kind()
    images, digits = map(torch.from_numpy, scans())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        order: Any = torch.randperm(len(images))
        for rows in order.split(128):
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(images[rows])["scores"], digits[rows])
            loss.backward()
            optimizer.step()
    return model.eval()


def export(model: torch.nn.Module, path: Path) -> Path:
    """As an exported program for batches of 1 to MOST scans."""
    batch = torch.export.Dim("batch", min=1, max=MOST)
    program = torch.export.export(model, (torch.zeros(4, 8, 8),), dynamic_shapes={"image": {0: batch}})
    torch.export.save(program, path)
    return path


def answers(model: torch.nn.Module, images: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What the model itself says."""
    with torch.inference_mode():
        return {name: value.numpy() for name, value in model(torch.from_numpy(images)).items()}


def save_golden(model: torch.nn.Module, images: NDArray[np.float32], path: Path) -> Path:
    """A golden example from what the model says."""
    arrays: Any = {f"output.{name}": value for name, value in answers(model, images).items()}
    np.savez(path, **arrays | {"input.image": images})
    return path


@dataclass(frozen=True, slots=True)
class Compiled:
    """An exported program that AOTInductor has compiled once for the whole test run: that takes a minute or two."""

    model: torch.nn.Module
    program: Path
    cache: Path
    """Where the package is kept."""

    def package(self, path: Path) -> Path:
        """The package as AOTInductor writes it."""
        [place] = [place for place in self.cache.iterdir() if place.is_dir()]
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((place / "data").rglob("*")):
                archive.write(file, Path("model") / file.relative_to(place))
        return path

    def copy_cache(self, cache: Path) -> None:
        """To where other workers will look for it."""
        shutil.copytree(self.cache, cache)


def compile_digits(folder: Path) -> Compiled:
    """Train, export and compile the CNN, for one thread."""
    model = trained(Convolutions)
    program = export(model, folder / "digits.pt2")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        compiled_program(program, "cpu", CompiledCache(folder / "compiled"))
    finally:
        torch.set_num_threads(threads)
    return Compiled(model, program, folder / "compiled")
