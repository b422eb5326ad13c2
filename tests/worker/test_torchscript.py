from __future__ import annotations

import json
import warnings
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


class Steps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if bool((x > 0).all()) else x


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"best": x.argmax(1), "all": x.softmax(1)}


class Numbers(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> int:
        return x.size(0)


Save = Callable[..., Path]
INPUTS = {"x": "FP32[batch,4]"}


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a module as TorchScript, with the signature beside it, inside it, or nowhere."""

    def make(module: torch.nn.Module, *, trace: bool = False, beside: object = None, inside: object = None) -> Path:
        extra = {} if inside is None else {"signature.json": json.dumps(inside)}
        if beside is not None:
            (tmp_path / "signature.json").write_text(beside if isinstance(beside, str) else json.dumps(beside))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jit: Any = torch.jit
            script = jit.trace(module, torch.zeros(2, 4)) if trace else jit.script(module)
            script.save(str(tmp_path / "model.pt"), _extra_files=extra)
        return tmp_path

    return make


def read(folder: Path) -> Loaded:
    return load("torchscript", folder, "model.pt", "cpu")


async def answer(loaded: Loaded, thread: ModelThread, x: Any) -> list[Any]:
    made = Executor(loaded, "cpu", 8, thread, lambda: None)
    await prove(made, loaded)
    [outputs] = await run(made, job(x))
    assert isinstance(outputs, list)
    return outputs


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_traced_model_with_its_signature_beside_it(save: Save, thread: ModelThread, rows: int) -> None:
    module = torch.nn.Linear(4, 3)
    loaded = read(save(module, trace=True, beside={"inputs": INPUTS}))
    assert str(loaded.signature.outputs[0]) == "FP32[batch, 3]"
    assert (loaded.signature.outputs[0].name, loaded.signature.batch) == ("output", "batch")
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    [y] = await answer(loaded, thread, x)
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), rtol=1e-5)


async def test_a_scripted_model_with_its_signature_inside(save: Save, thread: ModelThread) -> None:
    loaded = read(save(Steps(), inside={"inputs": INPUTS}))
    [y] = await answer(loaded, thread, np.ones((2, 4), np.float32))
    assert y.tolist() == [[2.0] * 4] * 2


async def test_the_signature_beside_a_model_is_stronger_than_the_one_inside(save: Save) -> None:
    loaded = read(save(Steps(), inside={"inputs": {"old": "FP32[batch,4]"}}, beside={"inputs": INPUTS}))
    assert loaded.signature.inputs[0].name == "x"


async def test_the_outputs_of_a_dict_keep_their_names(save: Save, thread: ModelThread) -> None:
    loaded = read(save(Named(), beside={"inputs": INPUTS}))
    assert {spec.name: str(spec) for spec in loaded.signature.outputs} == {
        "best": "INT64[batch]",
        "all": "FP32[batch, 4]",
    }
    outputs = await answer(loaded, thread, np.eye(4, dtype=np.float32))
    best = [spec.name for spec in loaded.signature.outputs].index("best")
    assert outputs[best].tolist() == [0, 1, 2, 3]


def test_a_model_of_fixed_shapes_is_not_batched(save: Save) -> None:
    loaded = read(save(Steps(), beside={"inputs": {"x": "FP32[2,4]"}}))
    assert (str(loaded.signature.outputs[0]), loaded.signature.batch) == ("FP32[2, 4]", "")


def test_without_a_signature_the_message_says_how_to_give_one(save: Save) -> None:
    with pytest.raises(ModelLoadFailed, match=r"publish with --input .* --input x=FP32\[batch,64\]"):
        read(save(Steps()))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"inputs": []}', '{"inputs": {"x": "FP33[batch]"}}', '"x"'])
def test_a_signature_that_cannot_be_read_is_refused_with_an_example(save: Save, text: str) -> None:
    with pytest.raises(ModelLoadFailed, match=r"signature\.json must be like"):
        read(save(Steps(), beside=text))


def test_an_input_of_bytes_is_refused(save: Save) -> None:
    with pytest.raises(ModelLoadFailed, match="'x' is BYTES, which torch does not have"):
        read(save(Steps(), beside={"inputs": {"x": "BYTES[batch]"}}))


def test_a_model_that_gives_no_tensors_is_refused(save: Save) -> None:
    with pytest.raises(ModelLoadFailed, match="gives a int; it must give tensors"):
        read(save(Numbers(), beside={"inputs": INPUTS}))


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_a_broken_file_says_what_could_not_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=r"model\.pt cannot be read by torch\.jit\.load"):
        read(tmp_path)
