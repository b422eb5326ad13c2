"""The demo's model: a small CNN on scikit-learn's digits, which are scans of real handwriting (8 by 8 pixels)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

MAX_BATCH = 128


@dataclass(frozen=True)
class Split:
    """Images, float32 [n, 8, 8] from 0 to 1, and what they show, int64 [n]."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_splits() -> tuple[Split, Split]:
    """The training half, and the half that training never sees."""
    data = load_digits()
    images, labels = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.5, random_state=0, stratify=labels)
    return Split(parts[0], parts[2]), Split(parts[1], parts[3])


class DigitsCNN(nn.Module):
    """Images [batch, 8, 8] → `logits` [batch, 10] and `digit` [batch]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 10),
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Classify a batch."""
        logits = self.layers(image.unsqueeze(1))
        return {"logits": logits, "digit": logits.argmax(1)}


def train(split: Split, *, seed: int, epochs: int) -> DigitsCNN:
    """Train from scratch; the same seed gives the same model."""
    torch.manual_seed(seed)
    model = DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), 64):
            loss = nn.functional.cross_entropy(model(images[rows])["logits"], labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def export(model: DigitsCNN, path: Path) -> None:
    """Write a `.pt2` whose first dimension is free."""
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    program = torch.export.export(model, (torch.zeros(2, 8, 8),), dynamic_shapes={"image": {0: batch}})
    torch.export.save(program, path)


def classify(model: DigitsCNN, split: Split) -> NDArray[np.int64]:
    """What the model says of each image, in this process."""
    with torch.inference_mode():
        answer: NDArray[np.int64] = model(torch.from_numpy(split.images))["digit"].numpy()
    return answer
