"""A real model with real data, small enough to be trained by each test run: made once, never changed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from .digits_model import DigitsCNN

CODE = Path(__file__).with_name("digits_model.py").read_text()
SHAPE = "FP32[batch,8,8]"


@cache
def images() -> Any:
    """All scans, float32 [n, 8, 8]."""
    return (load_digits().images / 16).astype(np.float32)


@cache
def trained() -> DigitsCNN:
    """In eval mode; right about nine of ten scans and more."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    given, labels = torch.from_numpy(images()), torch.from_numpy(load_digits().target)
    for rows in torch.split(torch.randperm(len(given), generator=generator), 64):
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(given[rows])["logits"], labels[rows])
        loss.backward()
        optimizer.step()
    return model.eval()


def expected(rows: Any) -> Any:
    """What the model says in this process: logits and digits."""
    with torch.inference_mode():
        answer = trained()(torch.from_numpy(rows))
    return answer["logits"].numpy(), answer["digit"].numpy()
