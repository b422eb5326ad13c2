from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim

from penstock.errors import ModelLoadFailed
from penstock.signature import TensorShape, fit
from penstock.worker.engine import ServiceTimes
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, warm_up

from .conftest import job, run


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)


class Pair(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return {"sum": a + b, "more": {"difference": a - b, "list": [a, b * 2]}}


class Text(torch.nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        return (ids * mask).sum(1), ids.to(torch.bfloat16)


Export = Callable[..., Loaded]
BATCH = Dim("batch")


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports a module, saves it, and loads it as a worker does."""

    def make(module: torch.nn.Module, *example: torch.Tensor, shapes: Any = None, strict: bool = False) -> Loaded:
        program = torch.export.export(module.eval(), example, dynamic_shapes=shapes, strict=strict)
        torch.export.save(program, tmp_path / "model.pt2")
        return load("torch_export", tmp_path, "model.pt2", "cpu")

    return make


def arrays(rows: int, *shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(rows, *shape)).astype(np.float32)


def described(loaded: Loaded) -> tuple[list[str], list[str]]:
    signature = loaded.signature
    inputs, outputs = ([f"{spec.name}={spec}" for spec in specs] for specs in (signature.inputs, signature.outputs))
    return inputs, outputs


async def serve(loaded: Loaded, thread: ModelThread, *inputs: Any) -> list[Any]:
    made = Executor(loaded, "cpu", 8, thread, lambda: None)
    await warm_up(made, loaded, 8, ServiceTimes())
    await prove(made, loaded)
    [outputs] = await run(made, job(*inputs))
    assert isinstance(outputs, list)
    return outputs


@pytest.mark.parametrize("rows", [1, 2, 5])
async def test_a_single_tensor_is_called_output_and_equals_the_module(
    export: Export, thread: ModelThread, rows: int
) -> None:
    module = Linear()
    loaded = export(module, torch.zeros(2, 4), shapes={"x": {0: BATCH}})
    assert described(loaded) == (["x=FP32[batch, 4]"], ["output=FP32[batch, 3]"])
    assert (loaded.signature.batch, loaded.min_rows, loaded.max_rows) == ("batch", 1, None)
    x = arrays(rows, 4)
    [y] = await serve(loaded, thread, x)
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), rtol=1e-5)


async def test_outputs_are_named_as_the_module_names_them(export: Export, thread: ModelThread) -> None:
    both = {0: BATCH}
    loaded = export(Pair(), torch.zeros(2, 4), torch.zeros(2, 4), shapes={"a": both, "b": both})
    inputs, outputs = described(loaded)
    assert inputs == ["a=FP32[batch, 4]", "b=FP32[batch, 4]"]
    assert outputs == [f"{name}=FP32[batch, 4]" for name in ("sum", "more.difference", "more.list.0", "more.list.1")]
    a, b = arrays(3, 4), arrays(3, 4) + 1
    for got, expected in zip(await serve(loaded, thread, a, b), (a + b, a - b, a, b * 2), strict=True):
        np.testing.assert_allclose(got, expected)


async def test_tuples_integers_and_a_second_free_dimension(export: Export, thread: ModelThread) -> None:
    shape = {0: BATCH, 1: Dim("length", min=2, max=128)}
    ids = torch.ones(2, 5, dtype=torch.int64)
    loaded = export(Text(), ids, ids.clone(), shapes={"ids": shape, "mask": shape})
    length = loaded.signature.inputs[0].shape[1]
    assert not isinstance(length, int)
    assert (length.minimum, length.maximum) == (2, 128)
    assert described(loaded)[1] == ["output_0=INT64[batch]", f"output_1=BF16[batch, {length}]"]
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, 9]])
    total, halves = await serve(loaded, thread, x, np.ones_like(x))
    assert total.tolist() == [10, 26, 36]
    assert halves.tolist() == torch.from_numpy(x).to(torch.bfloat16).view(torch.uint16).tolist()
    long = [TensorShape(name, None, (1, 129)) for name in ("ids", "mask")]
    assert "must be at most 128" in fit(loaded.signature, long).violations[0].description


class Encoder(torch.nn.Module):
    """A small transformer: words attend to each other, as far as a mask lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(100, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        words = self.layer(self.embed(ids), src_key_padding_mask=~mask)
        pairs = torch.cat([words, words], 1)
        return {"words": self.head(words), "twice": pairs.sum(2), "class": self.head(words[:, 0]).argmax(1)}


async def test_a_transformer_with_two_free_dimensions_answers_as_in_this_process(
    export: Export, thread: ModelThread
) -> None:
    free = {0: Dim("batch", max=64), 1: Dim("length", min=2, max=128)}
    example = torch.ones(3, 5, dtype=torch.int64)
    module = Encoder()
    loaded = export(module, example, example.bool(), shapes={"ids": free, "mask": free})
    assert described(loaded) == (
        ["ids=INT64[batch, ids_1]", "mask=BOOL[batch, ids_1]"],
        ["words=FP32[batch, ids_1, 3]", "twice=FP32[batch, 2*ids_1]", "class=INT64[batch]"],
    )
    length = loaded.signature.inputs[0].shape[1]
    assert not isinstance(length, int)
    assert (length.minimum, length.maximum, loaded.max_rows) == (2, 128, 64)
    uneven = [TensorShape("ids", None, (1, 7)), TensorShape("mask", None, (1, 8))]
    assert "ids_1 is 7 in inputs[0].shape[1], here 8" in fit(loaded.signature, uneven).violations[0].description
    for rows, size in ((1, 2), (4, 31)):
        ids = np.random.default_rng(0).integers(0, 100, (rows, size))
        mask = np.ones((rows, size), bool)
        wanted = module(torch.from_numpy(ids), torch.from_numpy(mask))
        for got, tensor in zip(await serve(loaded, thread, ids, mask), wanted.values(), strict=True):
            np.testing.assert_allclose(got, tensor.detach().numpy(), rtol=1e-3, atol=1e-4)


class Pictures(torch.nn.Module):
    """A CNN for pictures of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.ReLU())

    def forward(self, picture: torch.Tensor) -> Any:
        maps = self.layers(picture)
        return maps, maps.mean((2, 3))


async def test_a_cnn_for_pictures_of_any_size_answers_as_in_this_process(export: Export, thread: ModelThread) -> None:
    free = {0: BATCH, 2: Dim("height", min=8, max=256), 3: Dim("width", min=8, max=256)}
    module = Pictures()
    loaded = export(module, torch.zeros(2, 3, 20, 24), shapes={"picture": free})
    inputs, outputs = described(loaded)
    assert inputs == ["picture=FP32[batch, 3, picture_2, picture_3]"]
    assert outputs[1] == "output_1=FP32[batch, 4]"
    x = arrays(2, 3, 33, 8)
    for got, wanted in zip(await serve(loaded, thread, x), module(torch.from_numpy(x)), strict=True):
        np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-3, atol=1e-5)


async def test_the_greatest_batch_is_read_from_the_export(export: Export) -> None:
    loaded = export(Linear(), torch.zeros(2, 4), shapes={"x": {0: Dim("batch", max=16)}})
    assert loaded.max_rows == 16


@pytest.mark.parametrize("dim", [Dim("batch", min=2, max=16), Dim.AUTO])
async def test_one_row_is_taken_by_a_model_that_was_exported_for_two(
    export: Export, thread: ModelThread, dim: Any
) -> None:
    module = Linear()
    loaded = export(module, torch.zeros(4, 4), shapes={"x": {0: dim}})
    assert loaded.min_rows == 2
    assert fit(loaded.signature, [TensorShape("x", None, (1, 4))]).violations == []
    x = arrays(1, 4)
    [y] = await serve(loaded, thread, x)
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), rtol=1e-5)


async def test_a_static_model_is_not_batched(export: Export, thread: ModelThread) -> None:
    loaded = export(Linear(), torch.zeros(3, 4))
    assert described(loaded) == (["x=FP32[3, 4]"], ["output=FP32[3, 3]"])
    assert loaded.signature.batch == ""


async def test_inputs_with_batches_of_their_own_are_not_joined(export: Export) -> None:
    class Table(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
            return a @ b.T

    loaded = export(Table(), torch.zeros(2, 4), torch.zeros(3, 4), shapes={"a": {0: Dim("m")}, "b": {0: Dim("n")}})
    assert loaded.signature.batch == ""


@pytest.mark.parametrize("extra", [None, 7])
async def test_outputs_that_are_not_tensors_are_refused(export: Export, extra: object) -> None:
    class Mixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x * 2, extra

    with pytest.raises(ModelLoadFailed, match=r"'output_1' is .*not a tensor; export the model with tensors only"):
        export(Mixed(), torch.zeros(2, 4), shapes={"x": {0: BATCH}})


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 half of one"])
def test_a_broken_file_says_what_could_not_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=r"model\.pt2 cannot be read by torch\.export\.load"):
        load("torch_export", tmp_path, "model.pt2", "cpu")


def test_an_unknown_format_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="format 'keras' is not known to this release; it knows torch_export, "):
        load("keras", tmp_path, "model.h5", "cpu")
