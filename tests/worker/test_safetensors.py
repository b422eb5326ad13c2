from __future__ import annotations

import json
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from penstock.errors import ModelLoadFailed
from penstock.worker.engine import ServiceTimes
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, warm_up

from .conftest import job, run
from .digits import CODE, SHAPE, expected, images, trained
from .digits_model import DigitsCNN

TIED = """
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.last = nn.Linear(8, 8, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x))
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A version's folder: the digits model, but for what is said."""

    def make(code: str = CODE, inputs: Any = None, config: object = None, **weights: bytes) -> Path:
        (tmp_path / "model.py").write_text(code)
        (tmp_path / "signature.json").write_text(json.dumps({"inputs": inputs or {"image": SHAPE}}))
        if config is not None:
            (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        for name, content in weights.items():
            (tmp_path / f"{name}.safetensors").write_bytes(content)
        if not weights:
            save_file(trained().state_dict(), tmp_path / "model.safetensors")
        return tmp_path

    return make


def read(folder: Path, entry: str = "model.py:build") -> Loaded:
    return load("safetensors", folder, entry, "cpu")


async def answer(loaded: Loaded, thread: ModelThread, *inputs: Any) -> list[Any]:
    made = Executor(loaded, "cpu", 64, thread, lambda: None)
    await warm_up(made, loaded, 64, ServiceTimes())
    await prove(made, loaded)
    [outputs] = await run(made, job(*inputs))
    assert isinstance(outputs, list)
    return outputs


@pytest.mark.parametrize(
    ("entry", "config"),
    [("model.py:build", None), ("model.py:DigitsCNN", None), ("model.py:build", {}), ("model.py:DigitsCNN", {})],
)
async def test_a_real_model_answers_as_in_this_process(
    write: Write, thread: ModelThread, entry: str, config: object
) -> None:
    loaded = read(write(config=config), entry)
    assert [f"{s.name}={s}" for s in loaded.signature.inputs] == ["image=FP32[batch, 8, 8]"]
    assert [f"{s.name}={s}" for s in loaded.signature.outputs] == ["logits=FP32[batch, 10]", "digit=INT64[batch]"]
    logits, digits = await answer(loaded, thread, images()[:50])
    np.testing.assert_allclose(logits, expected(images()[:50])[0], rtol=1e-4, atol=1e-5)
    assert digits.tolist() == expected(images()[:50])[1].tolist()


@pytest.mark.parametrize("entry", ["model.py:build", "model.py:DigitsCNN"])
def test_the_factory_is_given_the_configuration(write: Write, entry: str) -> None:
    folder = write(config={"channels": 3}, model=b"")
    save_file(DigitsCNN(channels=3).state_dict(), folder / "model.safetensors")
    assert read(folder, entry).signature.batch == "batch"


async def test_weights_in_several_files_are_read_by_their_index(write: Write, thread: ModelThread) -> None:
    folder = write(first=b"", second=b"")
    state = trained().state_dict()
    names = sorted(state)
    parts = {"first.safetensors": names[::2], "second.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: state[name].clone() for name in part}, folder / file)
    places = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    [logits, _] = await answer(read(folder), thread, images()[:4])
    np.testing.assert_allclose(logits, expected(images()[:4])[0], rtol=1e-4, atol=1e-5)


async def test_weights_that_are_tied_stand_in_the_file_once(write: Write, thread: ModelThread) -> None:
    folder = write(TIED, {"x": "FP32[batch,8]"}, model=b"")
    scope: dict[str, Any] = {}
    exec(TIED, scope)
    module = scope["Tied"]()
    save_model(module, str(folder / "model.safetensors"))
    x = torch.randn(3, 8)
    [y] = await answer(read(folder, "model.py:Tied"), thread, x.numpy())
    np.testing.assert_allclose(y, module(x).detach().numpy(), rtol=1e-5)


def saved(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = trained().state_dict() | {key.replace("__", "."): value for key, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (saved(layers__5__bias=None), r"missing 'layers\.5\.bias'$"),
        (saved(extra=torch.zeros(1)), r"unknown 'extra'$"),
        (saved(layers__5__bias=None, extra=torch.zeros(1)), r"missing 'layers\.5\.bias'; unknown 'extra'$"),
        (saved(layers__5__bias=torch.zeros(11)), r"size mismatch for layers\.5\.bias"),
        ({f"t{i:03}": torch.zeros(1) for i in range(100)}, r"missing .* and 3 more; unknown .*'t004' and 95 more$"),
    ],
)
def test_weights_that_are_not_those_of_the_module_are_named(
    write: Write, weights: dict[str, torch.Tensor], message: str
) -> None:
    folder = write(model=b"")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelLoadFailed, match=f"model.safetensors does not fit the module: .*{message}"):
        read(folder)


def test_without_a_signature_the_message_says_how_to_give_one(write: Write) -> None:
    folder = write()
    (folder / "signature.json").unlink()
    with pytest.raises(ModelLoadFailed, match=r"no shapes; publish with --input .* or with --example x\.npy"):
        read(folder)


@pytest.mark.parametrize(
    ("entry", "config", "message"),
    [
        ("model.py:Missing", None, "model.py has no 'Missing' that makes the module"),
        ("model.py:CODE", None, "model.py has no 'CODE' that makes the module"),
        ("model.py:dict", None, "makes a dict; it must make a torch.nn.Module"),
        ("other.py:build", None, "no Python file 'other.py'"),
        ("model.py:build", "{", "config.json is not JSON"),
        ("model.py:build", [1], "config.json must be an object"),
    ],
)
def test_code_that_makes_no_module_is_refused(write: Write, entry: str, config: object, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        read(write(CODE + "\ndict = dict\nCODE = 1\n", config=config), entry)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.safetensors": "", "b.safetensors": ""},
            "one index of several; this one has: a.safetensors, b.safetensors",
        ),
        ({}, "this one has: none"),
        ({"m.safetensors.index.json": "[]"}, "must be like"),
        ({"m.safetensors.index.json": '{"weight_map": {"x": "../x.safetensors"}}'}, "which is not a file beside it"),
        ({"m.safetensors.index.json": '{"weight_map": {"x": "gone.safetensors"}}'}, "which is not a file beside it"),
    ],
)
def test_files_that_are_not_one_model_are_refused(write: Write, files: dict[str, str], message: str) -> None:
    folder = write()
    (folder / "model.safetensors").unlink()
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(ModelLoadFailed, match=message):
        read(folder)


def tensor(start: int, end: int, shape: Any = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def container(header: object, data: int = 0, *, length: int | None = None) -> bytes:
    """A file of this header and so many bytes of zeros."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


TWICE = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
MALFORMED = {
    "empty": (b"", "the end of the file is missing"),
    "shorter than its length": (b"abc", "the end of the file is missing"),
    "a header that is longer than the file": (container(b"{}", length=100), "the end of the file is missing"),
    "a header of 2**63 bytes": (container(b"{}", length=2**63), "the end of the file is missing"),
    "a header of 100 MB and one byte": (container(b" " * 100_000_001), "has a header of 100000001 bytes"),
    "no JSON": (container(b"{"), "header that cannot be read"),
    "JSON of a million brackets": (container(b"[" * 1_000_000), "header that cannot be read"),
    "not an object": (container([1]), "cannot be read as safetensors"),
    "a name that is there twice": (container(TWICE, 16), "a name is there twice"),
    "tensors that overlap": (container({"a": tensor(0, 16), "b": tensor(8, 24)}, 24), "invalid offset"),
    "bytes that nobody owns": (container({"a": tensor(8, 24)}, 24), "invalid offset"),
    "truncated": (container({"a": tensor(0, 16)}, 8), "not fully covered"),
    "bytes after the end": (container({"a": tensor(0, 16)}, 32), "not fully covered"),
    "a shape that overflows": (container({"a": tensor(0, 16, (2**62, 8))}, 16), "overflow"),
    "a negative size": (container({"a": tensor(0, 16, (-4,))}, 16), "cannot be read as safetensors"),
    "another shape than bytes": (container({"a": tensor(0, 16, (5,))}, 16), "cannot be read as safetensors"),
    "an unknown type": (container({"a": tensor(0, 16, (4,), "F99")}, 16), "cannot be read as safetensors"),
    "100,000 tensors": (
        container({f"t{i}": tensor(4 * i, 4 * i + 4, (1,)) for i in range(100_000)}, 400_000),
        "unknown 't0', 't1', 't2', 't3', 't4' and 99995 more",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_refused_soon_and_in_bounded_memory(write: Write, kind: str) -> None:
    content, message = MALFORMED[kind]
    folder = write(model=content)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ModelLoadFailed, match=message):
        read(folder)
    assert time.process_time() - began < 2  # seconds of this process, whatever else runs
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
