"""What real compilers make of real models."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import ModelLoadFailed
from penstock.optimization import Optimization
from penstock.worker.agreement import Tolerance
from penstock.worker.compiled.compiling import CompilationFailed, compile_program
from penstock.worker.compiled.host import NoCompiler, compiler, this_host
from penstock.worker.compiled.package import is_package, unpack
from penstock.worker.examples import Examples
from penstock.worker.executor import Executor
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.samples import Samples
from penstock.worker.trial import Place, optimized

from ...digits import MOST, Compiled, Layers, answers, export, scans, trained
from ..conftest import job, run

pytestmark = pytest.mark.timeout(600)
IMAGES = scans()[0]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Compilers change their process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


def loaded_from(path: Path) -> Loaded:
    return load("torch_export", path.parent, path.name, "cpu")


async def answered(loaded: Loaded, thread: ModelThread, rows: int) -> Any:
    made = Executor(loaded, "cpu", MOST, thread, lambda: None)
    [outputs] = await run(made, job(IMAGES[:rows]))
    return outputs


def with_run(loaded: Loaded, cache: Path) -> Loaded:
    """As AOTInductor computes it."""
    return Loaded(loaded.signature, loaded.faster["aot"](cache))


@pytest.mark.parametrize("rows", [1, 2, 7, MOST])
async def test_a_compiled_program_answers_as_the_module(
    compiled_digits: Compiled, thread: ModelThread, rows: int
) -> None:
    loaded = with_run(loaded_from(compiled_digits.program), compiled_digits.cache)
    [scores] = await answered(loaded, thread, rows)
    np.testing.assert_allclose(scores, answers(compiled_digits.model, IMAGES[:rows])["scores"], rtol=1e-4, atol=1e-5)


def test_a_program_is_not_compiled_twice(compiled_digits: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # whoever would compile cannot
    loaded_from(compiled_digits.program).faster["aot"](compiled_digits.cache)
    torch.set_num_threads(2)  # other code
    with pytest.raises(CompilationFailed, match="the compiler ended with status 1"):
        loaded_from(compiled_digits.program).faster["aot"](compiled_digits.cache)


def test_without_a_compiler_it_is_said_what_to_install(
    compiled_digits: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoCompiler, match=r"install g\+\+, or set CXX"):
        loaded_from(compiled_digits.program).faster["aot"](compiled_digits.cache)


def test_what_cannot_be_compiled_says_what_the_compiler_said(tmp_path: Path) -> None:
    (tmp_path / "program.pt2").write_bytes(b"not a program")
    with pytest.raises(CompilationFailed, match=r"the compiler ended with status 1: \w+"):
        compile_program(tmp_path / "program.pt2", tmp_path / "package.pt2", "cpu", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["program.pt2"]


def test_a_compiler_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(CompilationFailed, match=r"the compiler took more than 0\.01 s"):
        compile_program(tmp_path / "program.pt2", tmp_path / "package.pt2", "cpu", 1, limit=0.01)


def test_sizes_that_depend_on_each_other_are_not_compiled(tmp_path: Path) -> None:
    class Halves(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.reshape(len(x), -1, 2).sum(2) + y

    half = torch.export.Dim("half", min=2, max=64)
    program = torch.export.export(
        Halves(), (torch.zeros(3, 8), torch.zeros(3, 4)), dynamic_shapes={"x": {1: 2 * half}, "y": {1: half}}
    )
    torch.export.save(program, tmp_path / "halves.pt2")
    with pytest.raises(ModelLoadFailed, match="sizes of input 'x' depend on each other"):
        loaded_from(tmp_path / "halves.pt2").faster["aot"](tmp_path)


async def test_torch_compile_is_tried_and_compiles_nothing_once_there_are_callers(
    tmp_path: Path, thread: ModelThread
) -> None:
    model = trained(Layers, 1)
    loaded = loaded_from(export(model, tmp_path / "layers.pt2"))
    samples = Samples(loaded.signature, [IMAGES[:8]])
    place = Place("cpu", MOST, thread, lambda: None, tmp_path)
    found, what = await optimized(loaded, Optimization.COMPILE, Examples(samples, None, Tolerance()), place)
    assert (what.chosen, [one.problem for one in what.candidates]) == ("compile", ["", ""])
    before = dict(torch._dynamo.utils.counters["stats"])
    for rows in (1, 2, 13, MOST):
        scores, digit = await answered(found, thread, rows)
        np.testing.assert_allclose(scores, answers(model, IMAGES[:rows])["scores"], rtol=1e-4, atol=1e-5)
        assert digit.tolist() == answers(model, IMAGES[:rows])["digit"].tolist()
    assert dict(torch._dynamo.utils.counters["stats"]) == before


@pytest.fixture
def published(compiled_digits: Compiled, tmp_path: Path) -> Path:
    """The folder of a version that is a package; its shapes are declared beside it."""
    compiled_digits.package(tmp_path / "digits.pt2")
    (tmp_path / "signature.json").write_text(json.dumps({"inputs": {"image": "FP32[batch,8,8]"}}))
    return tmp_path


@pytest.mark.parametrize("rows", [1, 2, MOST])
async def test_a_package_that_was_published_answers_as_the_module(
    published: Path, compiled_digits: Compiled, thread: ModelThread, rows: int
) -> None:
    assert is_package(published / "digits.pt2")
    assert not is_package(compiled_digits.program)
    loaded = load("aot_inductor", published, "digits.pt2", "cpu")
    assert [f"{spec.name}={spec}" for spec in loaded.signature.outputs] == ["scores=FP32[batch, 10]"]
    [scores] = await answered(loaded, thread, rows)
    np.testing.assert_allclose(scores, answers(compiled_digits.model, IMAGES[:rows])["scores"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("declared", ["FP32[batch,8,9]", "FP64[batch,8,8]", "FP32[batch,8]"])
def test_a_package_that_is_declared_wrongly_is_refused_before_it_reads_other_memory(
    published: Path, declared: str
) -> None:
    (published / "signature.json").write_text(json.dumps({"inputs": {"image": declared}}))
    with pytest.raises(
        ModelLoadFailed, match=r"cannot be run on zeros of image=.*are the inputs declared as it takes them"
    ):
        load("aot_inductor", published, "digits.pt2", "cpu")


def test_a_package_for_another_device_says_so(published: Path) -> None:
    unpacked = published / "unpacked"
    unpack(published / "digits.pt2", unpacked)
    for file in unpacked.rglob("*_metadata.json"):
        file.write_text(file.read_text().replace('"cpu"', '"cuda"'))
    (published / "digits.pt2").unlink()
    (unpacked / "model").mkdir()
    (unpacked / "data").rename(unpacked / "model" / "data")
    shutil.make_archive(str(published / "digits"), "zip", unpacked)
    (published / "digits.zip").rename(published / "digits.pt2")
    with pytest.raises(ModelLoadFailed, match=r"compiled for cuda, and this worker runs on cpu; .* --optimize aot"):
        load("aot_inductor", published, "digits.pt2", "cpu")


def test_a_package_that_is_broken_says_so(published: Path) -> None:
    content = (published / "digits.pt2").read_bytes()
    (published / "digits.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelLoadFailed, match=r"digits\.pt2 cannot be loaded as a package of AOTInductor"):
        load("aot_inductor", published, "digits.pt2", "cpu")


def test_this_host_knows_its_processor() -> None:
    host = this_host("cpu")
    assert (host.platform, host.device, host.capability, host.torch) == (sys.platform, "cpu", "", torch.__version__)
    assert host.cpu_flags
