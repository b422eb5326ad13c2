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
from .digits import SHAPE, expected, images, trained


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


async def answer(loaded: Loaded, thread: ModelThread, *inputs: Any) -> list[Any]:
    made = Executor(loaded, "cpu", 8, thread, lambda: None)
    await prove(made, loaded)
    [outputs] = await run(made, job(*inputs))
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


async def test_a_real_traced_model_answers_as_in_this_process(tmp_path: Path, thread: ModelThread) -> None:
    trace: Any = torch.jit.trace
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace(trained(), torch.zeros(2, 8, 8), strict=False).save(str(tmp_path / "model.pt"))
    (tmp_path / "signature.json").write_text(json.dumps({"inputs": {"": SHAPE}}))
    loaded = read(tmp_path)
    assert loaded.signature.inputs[0].name == "image"  # the module's own name for it
    outputs = await answer(loaded, thread, images()[:20])
    found = dict(zip([spec.name for spec in loaded.signature.outputs], outputs, strict=True))
    np.testing.assert_allclose(found["logits"], expected(images()[:20])[0], rtol=1e-4, atol=1e-5)
    assert found["digit"].tolist() == expected(images()[:20])[1].tolist()


class Texts(torch.nn.Module):
    """An encoder with attention over as many words as there are, scripted: with control flow."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 8)
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.embed(ids)
        weights = (words @ words.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -1e9).softmax(2)
        if bool(mask.all()):
            words = words * 2
        words = self.layer(weights @ words)
        return words, words.mean(1)


TEXTS = {"ids": "INT64[batch,length]", "mask": "BOOL[batch,length]"}


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (TEXTS, ["ids", "mask"]),
        (dict(reversed(TEXTS.items())), ["mask", "ids"]),
        ({"INPUT__1": TEXTS["mask"], "INPUT__0": TEXTS["ids"]}, ["INPUT__1", "INPUT__0"]),
        ({"first": TEXTS["ids"], "second": TEXTS["mask"]}, ["first", "second"]),
        ({"ids": "INT64[batch,ids_1]", "mask": "BOOL[batch,mask_1]"}, ["ids", "mask"]),
    ],
)
async def test_inputs_find_their_parameters_by_name_by_number_or_by_order(
    save: Save, thread: ModelThread, inputs: dict[str, str], names: list[str]
) -> None:
    module = Texts().eval()
    loaded = read(save(module, beside={"inputs": inputs}))
    assert [spec.name for spec in loaded.signature.inputs] == names
    length = next(spec for spec in loaded.signature.inputs if spec.dtype.name == "INT64").shape[1]
    assert [str(spec) for spec in loaded.signature.outputs] == [f"FP32[batch, {length}, 8]", "FP32[batch, 8]"]
    for size in (3, 11):
        given = {"INT64": np.arange(2 * size).reshape(2, size), "BOOL": np.ones((2, size), bool)}
        words, mean = await answer(loaded, thread, *(given[spec.dtype.name] for spec in loaded.signature.inputs))
        wanted = module(*map(torch.from_numpy, given.values()))
        np.testing.assert_allclose(words, wanted[0].detach().numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mean, wanted[1].detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"OUTPUT__1": "FP32[batch,8]"}, ["OUTPUT__1=FP32[batch, 8]"]),
        ({"OUTPUT__1": "FP32[batch,8]", "OUTPUT__0": "FP32[batch,n,8]"}, ["OUTPUT__1", "OUTPUT__0"]),
        ({"words": "FP32[batch,n,8]", "mean": "FP32[batch,8]"}, ["words=FP32[batch, length, 8]", "mean"]),
    ],
)
def test_outputs_get_the_names_that_are_declared(save: Save, outputs: dict[str, str], expected: list[str]) -> None:
    loaded = read(save(Texts(), beside={"inputs": TEXTS, "outputs": outputs}))
    found = [f"{spec.name}={spec}" for spec in loaded.signature.outputs]
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"outputs": {"mean": "FP32[batch,8]"}},
            "the outputs mean are declared, and the model gives output_0, output_1",
        ),
        ({"outputs": {"OUTPUT__2": "FP32[batch,8]"}}, "OUTPUT__2 are declared, and the model gives output_0, output_1"),
        (
            {"outputs": {"OUTPUT__1": "FP16[batch,8]"}},
            r"declared FP16\[batch, 8\], and the model gives FP32\[batch, 8\]",
        ),
        ({"outputs": {"OUTPUT__1": "FP32[batch,9]"}}, r"declared FP32\[batch, 9\], and the model gives"),
        ({"inputs": {"I__0": "INT64[batch,n]", "I__2": "BOOL[batch,n]"}}, "numbered from 0 without gaps"),
        ({"inputs": {"ids": "INT64[batch,n]"}}, "cannot be run on zeros of ids="),
        ({"inputs": {"": "INT64[batch,n]", "mask": "BOOL[batch,n]"}}, "one has no name"),
    ],
)
def test_what_is_declared_and_does_not_fit_is_refused(save: Save, declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        read(save(Texts(), beside={"inputs": TEXTS, **declared}))


def test_weights_that_are_called_pt_are_said_to_be_weights(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ModelLoadFailed, match=r"publish them with --factory FILE\.py:NAME"):
        read(tmp_path)
