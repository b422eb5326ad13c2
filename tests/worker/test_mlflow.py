from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import InvalidInput, ModelError, ModelLoadFailed
from penstock.signature import BATCH, Dim, DType
from penstock.worker.executor import Executor
from penstock.worker.formats.mlflow_schema import read_schema
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove

from .conftest import job, run

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and pandas' own

DOUBLE = """
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        {body}

mlflow.models.set_model(Model())
"""
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Has MLflow save a python_function with the schemas that are given."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

    def make(body: str, inputs: list[Any], outputs: list[Any] | None) -> Path:
        from mlflow import pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import Schema

        (tmp_path / "code.py").write_text(DOUBLE.format(body=body))
        signature = ModelSignature(Schema(inputs), Schema(outputs) if outputs else None)
        folder = tmp_path / "saved"
        pyfunc.save_model(str(folder), python_model=str(tmp_path / "code.py"), signature=signature, pip_requirements=[])
        return folder

    return make


def tensor(dtype: str, shape: tuple[int, ...], name: str | None = None) -> Any:
    return importlib.import_module("mlflow.types").TensorSpec(np.dtype(dtype), shape, name)


def columns(type_: str, name: str | None = None) -> Any:
    return importlib.import_module("mlflow.types").ColSpec(type_, name)


def open_(folder: Path) -> Loaded:
    return load("mlflow", folder, "MLmodel", "cpu")


async def answer(loaded: Loaded, thread: ModelThread, *inputs: Any) -> Any:
    """What the worker makes of one request, proved first."""
    made = Executor(loaded, "cpu", 8, thread, lambda: None)
    await prove(made, loaded)
    [outputs] = await run(made, job(*inputs))
    return outputs


def specs(loaded: Loaded) -> list[str]:
    return [f"{spec.name}={spec}" for spec in (*loaded.signature.inputs, *loaded.signature.outputs)]


def texts(*values: bytes) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


async def test_a_python_function_that_takes_one_array(save: Save, thread: ModelThread) -> None:
    folder = save("return model_input * 2", [tensor("float32", (-1, 4))], [tensor("float32", (-1, 4))])
    loaded = open_(folder)
    assert specs(loaded) == ["input=FP32[batch, 4]", "output=FP32[batch, 4]"]
    assert (loaded.signature.batch, loaded.own_thread) == (BATCH, True)
    [y] = await answer(loaded, thread, np.ones((3, 4), np.float32))
    assert y.tolist() == [[2.0] * 4] * 3


async def test_named_arrays_come_and_go_as_dicts(save: Save, thread: ModelThread) -> None:
    folder = save(
        "return {'sum': model_input['a'] + model_input['b'].sum(1), 'b': model_input['b']}",
        [tensor("int64", (-1,), "a"), tensor("int64", (-1, -1), "b")],
        [tensor("int64", (-1,), "sum"), tensor("int64", (-1, -1), "b")],
    )
    loaded = open_(folder)
    assert specs(loaded) == ["a=INT64[batch]", "b=INT64[batch, b_1]", "sum=INT64[batch]", "b=INT64[batch, b_1]"]
    total, b = await answer(loaded, thread, np.array([1, 2]), np.array([[1, 1, 1], [2, 2, 2]]))
    assert (total.tolist(), b.tolist()) == ([4, 8], [[1, 1, 1], [2, 2, 2]])


async def test_a_table_has_an_input_for_each_column(save: Save, thread: ModelThread) -> None:
    folder = save(
        "return {'label': model_input['text'].str.upper(), 'value': model_input['x'] * 2}",
        [columns("double", "x"), columns("long", "n"), columns("boolean", "yes"), columns("string", "text")],
        [columns("string", "label"), columns("double", "value")],
    )
    loaded = open_(folder)
    assert specs(loaded) == [
        *("x=FP64[batch]", "n=INT64[batch]", "yes=BOOL[batch]", "text=BYTES[batch]"),
        *("label=BYTES[batch]", "value=FP64[batch]"),
    ]
    given = [np.array([1.5, 2]), np.array([1, 2]), np.array([True, False]), texts("ä".encode(), b"b")]
    label, value = await answer(loaded, thread, *given)
    assert (label.tolist(), value.tolist()) == (["Ä".encode(), b"B"], [3.0, 4.0])


async def test_an_answer_may_be_a_table(save: Save, thread: ModelThread) -> None:
    folder = save(
        "return model_input[['b', 'a']]", [columns("long", "a"), columns("double", "b")], [columns("long", "a")]
    )
    [a] = await answer(open_(folder), thread, np.array([1, 2]), np.array([0.5, 1]))
    assert a.tolist() == [1, 2]


async def test_text_that_is_not_utf_8_is_the_callers_mistake(save: Save, thread: ModelThread) -> None:
    folder = save("return model_input['text']", [columns("string", "text")], [columns("string")])
    error = await _one(open_(folder), thread, texts(b"\xff"))
    assert isinstance(error, InvalidInput)
    assert "'text' takes text in UTF-8" in error.message


async def _one(loaded: Loaded, thread: ModelThread, *inputs: Any) -> Any:
    made = Executor(loaded, "cpu", 8, thread, lambda: None)
    [outcome] = await run(made, job(*inputs))
    return outcome


async def test_what_a_model_without_an_output_schema_gives_is_found_by_running_it(
    save: Save, thread: ModelThread
) -> None:
    folder = save(
        "return {'twice': model_input * 2, 'names': [str(r.sum()) for r in model_input]}",
        [tensor("float32", (-1, 2))],
        None,
    )
    loaded = open_(folder)
    assert specs(loaded) == ["input=FP32[batch, 2]", "twice=FP32[batch, 2]", "names=BYTES[batch]"]
    twice, names = await answer(loaded, thread, np.ones((2, 2), np.float32))
    assert (twice.tolist(), names.tolist()) == ([[2.0, 2.0]] * 2, [b"2.0"] * 2)


async def test_an_answer_is_brought_to_the_type_that_the_schema_says(save: Save, thread: ModelThread) -> None:
    folder = save("return model_input.astype('float64')", [tensor("float32", (-1, 2))], [tensor("float32", (-1, 2))])
    [y] = await answer(open_(folder), thread, np.ones((1, 2), np.float32))
    assert y.dtype == np.float32


async def test_an_answer_of_another_kind_is_the_models_error(save: Save, thread: ModelThread) -> None:
    folder = save("return model_input + 0.5", [tensor("int64", (-1,))], [tensor("int64", (-1,))])
    assert isinstance(await _one(open_(folder), thread, np.array([1])), ModelError)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(x)
        return result


@pytest.mark.parametrize("form", ["pt2", "pickle"])
async def test_the_pytorch_flavour_is_run_as_a_torch_model(tmp_path: Path, thread: ModelThread, form: str) -> None:
    pytorch: Any = importlib.import_module("mlflow.pytorch")
    from mlflow.models import infer_signature

    model, x = Net(), np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    expected = model(torch.from_numpy(x)).detach().numpy()
    more = {"input_example": x} if form == "pt2" else {}
    signature = infer_signature(x, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytorch.save_model(
            model, str(tmp_path / "m"), signature=signature, serialization_format=form, pip_requirements=[], **more
        )
    loaded = open_(tmp_path / "m")
    assert [str(spec) for spec in (*loaded.signature.inputs, *loaded.signature.outputs)] == [
        *("FP32[batch, 4]", "FP32[batch, 3]")
    ]
    assert not loaded.own_thread
    [y] = await answer(loaded, thread, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("flavors: [", "is not YAML"),
        ("- 1", "names no flavors"),
        ("flavors: {python_function: {}}", "has no signature"),
        ("flavors: {python_function: {}}\nsignature: {inputs: '[{}]'}", "cannot be understood"),
        ("flavors: {python_function: {}}\nsignature: {inputs: '{'}", "cannot be understood"),
        (
            """flavors: {python_function: {}}\nsignature: {inputs: '[{"type": "datetime", "name": "when"}]'}""",
            "'when' has the type datetime",
        ),
    ],
)
def test_an_mlmodel_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(ModelLoadFailed, match=message):
        open_(tmp_path)


def test_what_is_not_installed_is_named(save: Save) -> None:
    folder = save("return model_input", [tensor("float32", (-1,))], [tensor("float32", (-1,))])
    code = folder / "code.py"
    code.write_text("import surely_not_installed\n" + code.read_text())
    with pytest.raises(ModelLoadFailed, match=r"needs surely_not_installed.*does not install its requirements"):
        open_(folder)


def test_a_schema_without_names_is_numbered_and_a_fixed_first_size_is_no_batch() -> None:
    spec = {"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [2, -1]}}
    first, second = read_schema(json.dumps([spec, spec]), "input")
    assert (first.spec.name, second.spec.name, first.key) == ("input_0", "input_1", None)
    assert (first.spec.dtype, first.spec.shape) == (DType.INT8, (2, Dim("input_0_1")))
    assert read_schema(None, "output") == ()
