from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from penstock.errors import InvalidInput, ModelLoadFailed
from penstock.signature import DType, TensorSpec
from penstock.worker.engine import ServiceTimes
from penstock.worker.executor import Executor
from penstock.worker.formats.onnx_run import runner
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, warm_up

from .conftest import job, run
from .digits import expected, images, trained

Save = Callable[..., Path]
Shape = Sequence[Any] | None
FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a model of one or more operators, and what is declared beside it."""

    def make(nodes: Sequence[Any], inputs: dict[str, Any], outputs: dict[str, Any], declared: object = None) -> Path:
        given, gives = (
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph([helper.make_node(op, *of, **more) for op, *of, more in nodes], "g", given, gives)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.save(model, tmp_path / "model.onnx")
        if declared is not None:
            (tmp_path / "signature.json").write_text(json.dumps(declared))
        return tmp_path

    return make


def relu(given: Shape, gives: Shape, kind: int = FLOAT) -> Any:
    return [("Relu", ["x"], ["y"], {})], {"x": (kind, given)}, {"y": (kind, gives)}


def read(folder: Path, device: str = "cpu") -> Loaded:
    return load("onnx", folder, "model.onnx", device)


def described(loaded: Loaded) -> tuple[list[str], list[str], str]:
    signature = loaded.signature
    inputs, outputs = ([f"{s.name}={s}" for s in specs] for specs in (signature.inputs, signature.outputs))
    return inputs, outputs, signature.batch


async def answer(loaded: Loaded, thread: ModelThread, *inputs: Any) -> list[Any]:
    made = Executor(loaded, "cpu", 64, thread, lambda: None)
    await warm_up(made, loaded, 64, ServiceTimes())
    await prove(made, loaded)
    [outputs] = await run(made, job(*inputs))
    if not isinstance(outputs, list):
        assert isinstance(outputs, Exception)
        raise outputs
    return outputs


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model as torch exports it."""
    folder = tmp_path_factory.mktemp("digits")
    shapes = {"image": {0: torch.export.Dim("batch", min=1, max=1024)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(trained(), (torch.zeros(2, 8, 8),), dynamic_shapes=shapes, verbose=False)
        assert program is not None
        program.save(folder / "model.onnx", external_data=True)
    return folder


@pytest.mark.parametrize("rows", [1, 50])
async def test_a_real_model_answers_as_in_this_process(digits: Path, thread: ModelThread, rows: int) -> None:
    loaded = read(digits)
    inputs, outputs, batch = described(loaded)
    assert (inputs, batch) == (["image=FP32[batch, 8, 8]"], "batch")
    assert [spec.partition("=")[2] for spec in outputs] == ["FP32[batch, 10]", "INT64[batch]"]
    logits, best = await answer(loaded, thread, images()[:rows])
    np.testing.assert_allclose(logits, expected(images()[:rows])[0], rtol=1e-4, atol=1e-4)
    assert best.tolist() == expected(images()[:rows])[1].tolist()


async def test_outputs_that_the_model_leaves_open_are_found_by_running_it(save: Save, thread: ModelThread) -> None:
    nodes: list[Any] = [("Concat", ["x", "x"], ["y"], {"axis": 1}), ("Shape", ["x"], ["z"], {})]
    inputs = {"x": (FLOAT, ["N", "T"])}
    loaded = read(save(nodes, inputs, {"y": (FLOAT, [None, None]), "z": (TensorProto.INT64, [2])}))
    assert described(loaded) == (["x=FP32[batch, T]"], ["y=FP32[batch, y_1]", "z=INT64[2]"], "")
    loaded = read(save(nodes[:1], inputs, {"y": (FLOAT, None)}))
    assert described(loaded) == (["x=FP32[batch, T]"], ["y=FP32[batch, y_1]"], "batch")
    [y] = await answer(loaded, thread, np.ones((2, 3), np.float32))
    assert y.shape == (2, 6)


async def test_inputs_whose_unnamed_dimensions_depend_on_each_other_get_one_name(save: Save) -> None:
    nodes: list[Any] = [("Mul", ["a", "b"], ["c"], {}), ("ReduceSum", ["c"], ["y"], {"keepdims": 1})]
    loaded = read(save(nodes[:1], {"a": (FLOAT, [None, None]), "b": (FLOAT, [None, None])}, {"c": (FLOAT, None)}))
    # Of one element each could be stretched, so zeros of 8 and 16 do not go together.
    assert described(loaded)[0] == ["a=FP32[batch, a_1]", "b=FP32[batch, a_1]"]
    assert described(loaded)[1:] == (["c=FP32[batch, a_1]"], "batch")


async def test_rows_that_look_at_each_other_are_not_joined(save: Save) -> None:
    nodes: list[Any] = [("Transpose", ["x"], ["t"], {}), ("MatMul", ["x", "t"], ["y"], {})]
    loaded = read(save(nodes, {"x": (FLOAT, [None, 4])}, {"y": (FLOAT, [None, None])}))
    assert described(loaded)[2] == ""


async def test_a_model_without_shapes_takes_them_from_what_is_declared(save: Save, thread: ModelThread) -> None:
    with pytest.raises(
        ModelLoadFailed, match=r"not say what shape 'x' has; publish with --input .* --input x=FP32\[\]"
    ):
        read(save(*relu(None, None)))
    loaded = read(save(*relu(None, None), {"inputs": {"": "FP32[batch,3]"}}))
    assert described(loaded) == (["x=FP32[batch, 3]"], ["y=FP32[batch, 3]"], "batch")
    [y] = await answer(loaded, thread, np.array([[-1, 0, 1]], np.float32))
    assert y.tolist() == [[0, 0, 1]]


async def test_a_scalar_is_declared_as_one(save: Save, thread: ModelThread) -> None:
    loaded = read(save(*relu([], []), {"inputs": {"x": "FP32[]"}}))
    assert described(loaded) == (["x=FP32[]"], ["y=FP32[]"], "")


def test_what_is_declared_chooses_outputs(save: Save) -> None:
    nodes: list[Any] = [("Relu", ["x"], ["y"], {}), ("Neg", ["x"], ["z"], {})]
    sides = {"x": (FLOAT, ["N"])}, {"y": (FLOAT, ["N"]), "z": (FLOAT, ["N"])}
    declared = {"inputs": {"x": "FP32[batch]"}, "outputs": {"z": "FP32[batch]"}}
    assert described(read(save(nodes, *sides, declared)))[1] == ["z=FP32[batch]"]
    declared["outputs"] = {"w": "FP32[batch]"}
    with pytest.raises(ModelLoadFailed, match=r"\['w'\] are declared, and the model gives \['y', 'z'\]"):
        read(save(nodes, *sides, declared))


async def test_texts_come_and_go_as_bytes(save: Save, thread: ModelThread) -> None:
    nodes: list[Any] = [("StringConcat", ["x", "x"], ["y"], {})]
    loaded = read(save(nodes, {"x": (TEXT, ["N", 2])}, {"y": (TEXT, ["N", 2])}))
    assert described(loaded) == (["x=BYTES[batch, 2]"], ["y=BYTES[batch, 2]"], "batch")
    given = np.array([[b"ab", b""], ["\u00e4".encode(), b"\0"]], object)
    [y] = await answer(loaded, thread, given)
    assert y.tolist() == [[b"abab", b""], ["\u00e4\u00e4".encode(), b"\0\0"]]
    with pytest.raises(InvalidInput, match="not UTF-8"):
        await answer(loaded, thread, np.array([[b"\xff", b""]], object))


@pytest.mark.parametrize(
    ("kind", "name", "dtype"),
    [
        (TensorProto.FLOAT16, "FP16", torch.float16),
        (TensorProto.BFLOAT16, "BF16", torch.bfloat16),
        (TensorProto.DOUBLE, "FP64", torch.float64),
        (TensorProto.BOOL, "BOOL", torch.bool),
        (TensorProto.UINT8, "UINT8", torch.uint8),
        (TensorProto.UINT16, "UINT16", torch.uint16),
        (TensorProto.UINT32, "UINT32", torch.uint32),
        (TensorProto.UINT64, "UINT64", torch.uint64),
        (TensorProto.INT8, "INT8", torch.int8),
        (TensorProto.INT64, "INT64", torch.int64),
    ],
)
def test_every_type_comes_back_as_it_went(save: Save, kind: int, name: str, dtype: torch.dtype) -> None:
    loaded = read(save([("Identity", ["x"], ["y"], {})], {"x": (kind, ["N", 3])}, {"y": (kind, ["N", 3])}))
    assert described(loaded)[0] == [f"x={name}[batch, 3]"]
    x = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    [y] = loaded.run([x])  # type: ignore[misc]
    assert y.tolist() == x.tolist()


async def test_bf16_is_computed_and_sent_as_bf16(save: Save, thread: ModelThread) -> None:
    nodes: list[Any] = [("Cast", ["x"], ["y"], {"to": TensorProto.BFLOAT16})]
    loaded = read(save(nodes, {"x": (FLOAT, ["N", 2])}, {"y": (TensorProto.BFLOAT16, ["N", 2])}))
    [y] = await answer(loaded, thread, np.array([[1, 3.14159]], np.float32))
    assert y.tolist() == torch.tensor([[1, 3.14159]]).bfloat16().view(torch.uint16).tolist()


def test_on_the_cpu_inputs_are_not_copied_on_their_way(save: Save) -> None:
    class Session:
        def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
            self.address = feed["x"].ctypes.data
            return [feed["x"]]

    session, x = Session(), torch.ones(4, 3)
    runner(session, [TensorSpec("FP32", ["batch", 3], "x")], [("y", DType.FP32)], "cpu")([x[1:3]])
    assert session.address == x.data_ptr() + 12


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
def test_a_broken_file_says_what_could_not_be_read_and_not_where_it_lies(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=r"model\.onnx cannot be read by onnxruntime") as failed:
        read(tmp_path)
    assert str(tmp_path) not in failed.value.message


def test_half_a_file_is_refused(digits: Path, tmp_path: Path) -> None:
    content = (digits / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadFailed, match=r"model\.onnx cannot be read by onnxruntime"):
        read(tmp_path)


def test_what_is_not_a_tensor_is_refused_with_what_to_do(save: Save, tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, [None])
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [None])],
        [sequence],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelLoadFailed, match=r"'y' is seq\(tensor\(float\)\); only tensors can be served"):
        read(tmp_path)


def test_a_gpu_that_onnxruntime_cannot_use_is_said_so_with_what_to_do(save: Save) -> None:
    with pytest.raises(ModelLoadFailed, match=r"has no CUDAExecutionProvider: install onnxruntime-gpu .* --device cpu"):
        read(save(*relu(["N"], ["N"])), "cuda:0")


def test_without_onnxruntime_the_message_says_what_to_install(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelLoadFailed, match=r"pip install 'penstock\[onnx\]'"):
        read(save(*relu(["N"], ["N"])))
