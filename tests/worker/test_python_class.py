from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from penstock.errors import ModelLoadFailed
from penstock.servable import Padding
from penstock.worker.loaded import Later, Loaded, load

HEAD = "from penstock import Servable, TensorSpec\n"
SCALE = f"""{HEAD}
class Scale(Servable):
    inputs = {{"x": TensorSpec("FP32", ["batch", 2])}}
    outputs = {{"y": TensorSpec("FP32", ["batch", 2])}}

    def predict(self, x):
        return {{"y": x * 2 + 1}}
"""
Write = Callable[..., Path]


def read(folder: Path, entry: str = "scale.py:Scale") -> Loaded:
    return load("python", folder, entry, "cpu")


def ask(loaded: Loaded, x: torch.Tensor) -> Any:
    given = loaded.run([x])
    [answer] = given.result() if isinstance(given, Later) else given
    return answer.tolist()


def test_five_lines_are_a_model(write: Write) -> None:
    loaded = read(write(scale=SCALE))
    assert [f"{spec.name}={spec}" for spec in loaded.signature.inputs] == ["x=FP32[batch, 2]"]
    assert [f"{spec.name}={spec}" for spec in loaded.signature.outputs] == ["y=FP32[batch, 2]"]
    assert loaded.signature.batch == "batch"
    assert ask(loaded, torch.ones(1, 2)) == [[3, 3]]
    assert loaded.stream is None


def test_load_is_called_once_with_device_and_files(write: Write) -> None:
    text = f"""{HEAD}
class Weighted(Servable):
    inputs = {{"x": TensorSpec("FP32", ["batch"])}}
    outputs = {{"y": TensorSpec("FP32", ["batch"])}}
    loads = 0

    def load(self):
        self.loads += 1
        self.factor = int((self.files / "factor.txt").read_text())

    def predict(self, x):
        assert (self.loads, self.device) == (1, "cpu")
        return {{"y": x * self.factor}}
"""
    folder = write(weighted=text)
    (folder / "factor.txt").write_text("7")
    assert ask(read(folder, "weighted.py:Weighted"), torch.ones(2)) == [7, 7]


def test_modules_beside_the_file_can_be_imported(write: Write) -> None:
    folder = write(helper_beside="FACTOR = 2", scale="import helper_beside\n" + SCALE.replace("* 2", "* 2"))
    assert ask(read(folder), torch.ones(1, 2)) == [[3, 3]]


def test_modules_beside_a_file_in_a_folder_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "helper_deeper.py").write_text("")
    (tmp_path / "code" / "scale.py").write_text("import helper_deeper\n" + SCALE)
    assert ask(read(tmp_path, "code/scale.py:Scale"), torch.ones(1, 2)) == [[3, 3]]


def test_a_file_with_the_name_of_another_module_does_not_take_its_place(write: Write) -> None:
    before = sys.modules["json"]
    assert ask(read(write(json=SCALE), "json.py:Scale"), torch.ones(1, 2)) == [[3, 3]]
    assert sys.modules["json"] is before is json


def test_a_generator_answers_many_times(write: Write) -> None:
    text = SCALE.replace('return {"y": x * 2 + 1}', 'yield {"y": x}\n        yield {"y": x * 2}')
    loaded = read(write(scale=text))
    assert loaded.stream is not None
    assert [answer[0].tolist() for answer in loaded.stream([torch.ones(1, 2)])] == [[[1, 1]], [[2, 2]]]


def test_a_future_is_an_answer_that_comes_later(write: Write) -> None:
    text = SCALE.replace("return {", "return SimulatedAnswer({").replace(
        "+ 1}", "+ 1}, 0, clock=lambda: 1, sleep=None)"
    )
    loaded = read(write(scale=f"from penstock.testing.simulated import SimulatedAnswer\n{text}"))
    assert isinstance(loaded.run([torch.ones(1, 2)]), Later)
    assert ask(loaded, torch.ones(1, 2)) == [[3, 3]]


def test_a_future_of_something_else_is_an_error_of_the_model(write: Write) -> None:
    text = SCALE.replace('return {"y": x * 2 + 1}', "return SimulatedAnswer(x, 0, clock=lambda: 1, sleep=None)")
    loaded = read(write(scale=f"from penstock.testing.simulated import SimulatedAnswer\n{text}"))
    with pytest.raises(TypeError, match="a mapping of outputs, not a Tensor"):
        ask(loaded, torch.ones(1, 2))


def test_padding_is_declared_beside_inputs_and_outputs(write: Write) -> None:
    declared = "from penstock.servable import Padding\n" + SCALE.replace(
        "    inputs =", "    padding = Padding(3)\n    inputs ="
    )
    assert read(write(scale=declared)).padding == Padding(value=3)
    assert read(write(scale=SCALE)).padding is None


def test_a_model_whose_shapes_do_not_begin_with_batch_is_not_batched(write: Write) -> None:
    loaded = read(write(scale=SCALE.replace('["batch", 2]', '["rows", 2]')))
    assert loaded.signature.batch == ""


@pytest.mark.parametrize(
    ("text", "entry", "message"),
    [
        (SCALE, "scale.py:Other", "'Other' is not a subclass of penstock.Servable in scale.py"),
        (SCALE, "scale.py", "'' is not a subclass of penstock.Servable"),
        (SCALE, "other.py:Scale", "the version has no Python file 'other.py'"),
        ("class Scale: ...", "scale.py:Scale", "'Scale' is not a subclass of penstock.Servable"),
        (f"{HEAD}class Scale(Servable): ...", "scale.py:Scale", "must declare inputs, as in inputs = "),
        (SCALE.replace("outputs =", "outs ="), "scale.py:Scale", "must declare outputs, as in outputs = "),
        (SCALE.replace('TensorSpec("FP32", ["batch", 2])', '"FP32"'), "scale.py:Scale", "must declare inputs"),
        (
            SCALE.replace("    inputs =", "    padding = 0\n    inputs ="),
            "scale.py:Scale",
            "must declare padding as in",
        ),
    ],
)
def test_what_is_not_a_servable_is_refused(write: Write, text: str, entry: str, message: str) -> None:
    with pytest.raises(ModelLoadFailed) as caught:
        read(write(scale=text), entry)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("x", TypeError, "a mapping of outputs, not a Tensor"),
        ("None", TypeError, "a mapping of outputs, not a NoneType"),
        ('{"z": x}', KeyError, "predict gave no y"),
    ],
)
def test_a_wrong_answer_is_an_error_of_the_model(
    write: Write, answer: str, error: type[Exception], message: str
) -> None:
    loaded = read(write(scale=SCALE.replace('{"y": x * 2 + 1}', answer)))
    with pytest.raises(error, match=message):
        loaded.run([torch.ones(1, 2)])


def test_what_the_code_raises_while_loading_is_passed_on(write: Write) -> None:
    with pytest.raises(RuntimeError, match="no weights"):
        read(write(scale=SCALE + "\n    def load(self):\n        raise RuntimeError('no weights')\n"))
