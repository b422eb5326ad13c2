"""A CNN for scikit-learn's scans of digits. Tests import it, and publish it as the code beside weights."""

from __future__ import annotations

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """Images [batch, 8, 8] → `logits` [batch, 10] and `digit` [batch]."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(channels * 16, 10),
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layers(image.unsqueeze(1))
        return {"logits": logits, "digit": logits.argmax(1)}


def build(config: dict[str, int] | None = None) -> nn.Module:
    return DigitsCNN(**(config or {}))
