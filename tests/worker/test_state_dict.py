from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import ModelLoadFailed
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove

from .conftest import job, run
from .digits import CODE, SHAPE, expected, images, trained


class Command:
    """What a pickle of it does when it is loaded is to make a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._marker}",)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A version's folder with what is to be saved, or bytes as they are."""

    def make(content: object, name: str = "weights.pth", **more: Any) -> Path:
        (tmp_path / "model.py").write_text(CODE)
        (tmp_path / "signature.json").write_text(json.dumps({"inputs": {"image": SHAPE}}))
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            torch.save(content, tmp_path / name, **more)
        return tmp_path

    return make


def read(folder: Path) -> Loaded:
    return load("state_dict", folder, "model.py:build", "cpu")


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "pytorch_model.bin"])
@pytest.mark.parametrize("wrapped", ["", "state_dict", "model_state_dict"])
async def test_a_real_model_answers_as_in_this_process(
    write: Write, thread: ModelThread, name: str, wrapped: str
) -> None:
    state = trained().state_dict()
    loaded = read(write({wrapped: state, "epoch": 3} if wrapped else state, name))
    made = Executor(loaded, "cpu", 64, thread, lambda: None)
    await prove(made, loaded)
    [outputs] = await run(made, job(images()[:20]))
    assert isinstance(outputs, list)
    np.testing.assert_allclose(outputs[0], expected(images()[:20])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_a_command_is_refused_and_the_command_not_run(
    write: Write, tmp_path: Path, zipped: bool
) -> None:
    marker = tmp_path / "marker"
    folder = write({"w": Command(marker)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelLoadFailed, match=r"it holds posix\.system, and only tensors are read"):
        read(folder)
    assert not marker.exists()
    torch.load(folder / "weights.pth", weights_only=False)  # it is such a file
    assert marker.exists()


def test_a_bare_pickle_that_runs_a_command_is_refused_and_the_command_not_run(write: Write, tmp_path: Path) -> None:
    folder = write(pickle.dumps({"w": Command(tmp_path / "marker")}, protocol=2))
    with pytest.raises(ModelLoadFailed, match="cannot be read as a state dict"):
        read(folder)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (trained(), r"it holds .*DigitsCNN, and only tensors are read; write it with torch.save\(model.state_dict"),
        (b"", "it is none, or is damaged"),
        (b"junk", "it is none, or is damaged"),
        (b"PK\x03\x04 half of one", "it is none, or is damaged"),
        (torch.zeros(3), "holds a Tensor; write it with"),
        ({1: torch.zeros(3)}, "holds a dict; write it with"),
        ({"w": torch.zeros(3)}, "weights.pth does not fit the module: missing 'layers.0.weight', .*; unknown 'w'"),
    ],
)
def test_what_is_no_state_dict_of_the_module_is_refused(write: Write, content: object, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        read(write(content))


def test_two_files_of_weights_are_refused(write: Write) -> None:
    folder = write({}, "a.pt")
    write({}, "b.pth")
    with pytest.raises(ModelLoadFailed, match=r"this one has: a\.pt, b\.pth"):
        read(folder)
