"""Callers of other teams: stubs made from protos/ alone, against a real `penstock up` that asks for API keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
PYTHON_STUB = ROOT / "scripts/callers/python_stub"
GO_STUB = ROOT / "scripts/callers/go_stub"
GO_PROGRAMS = ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
GO_LIBRARIES = ("grpc", "protobuf", "genproto")
SERVABLES = """
from penstock import Servable, TensorSpec

TYPES = ("FP16", "BF16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT32", "BOOL", "BYTES")


class Scale(Servable):
    inputs = {"x": TensorSpec("FP32", ["batch", 4])}
    outputs = {"y": TensorSpec("FP32", ["batch", 4])}

    def predict(self, x):
        return {"y": x * 2 + 1}


class Echo(Servable):
    inputs = {name.lower(): TensorSpec(name, ["batch", 2]) for name in TYPES}
    outputs = {f"{name.lower()}_out": TensorSpec(name, ["batch", 2]) for name in TYPES}

    def predict(self, **inputs):
        return {f"{name}_out": value for name, value in inputs.items()}
"""


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    api_key: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves `scale` and `echo`."""
    folder = tmp_path_factory.mktemp("server")
    with _up(folder) as address:
        running = Server(address, (folder / "data/admin.key").read_text().strip())
        (folder / "servables.py").write_text(SERVABLES)
        for name in ("Scale", "Echo"):
            source = str(folder / f"servables.py:{name}")
            _run(sys.executable, "-m", "penstock", "publish", name.lower(), source, environment=_calls(running))
        yield running


@contextmanager
def _up(folder: Path) -> Iterator[str]:
    ports = ("--grpc-port", "0", "--http-port", "0", "--registry-port", "0")
    command = (sys.executable, "-m", "penstock", "up", "--data-dir", str(folder / "data"), "--auth", "keys", *ports)
    log = folder / "stderr"
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, env=_clean(), stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        ready = next((line for line in process.stdout if line.startswith("READY grpc=")), None)
        assert ready is not None, log.read_text()
        yield ready.split()[1].removeprefix("grpc=")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTHON"))}


def _calls(server: Server) -> dict[str, str]:
    return {"PENSTOCK_ADDRESS": server.address, "PENSTOCK_API_KEY": server.api_key}


def _run(
    *command: str | Path, environment: Mapping[str, str] | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    variables = _clean() | dict(environment or {})
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def _ask(stubs: Path, server: Server, model: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**_calls(server), "PYTHONPATH": str(stubs)}
    command = (sys.executable, PYTHON_STUB / "caller.py", server.address, model)
    return _run(*command, environment=environment, status=status)


@pytest.fixture(scope="module")
def python_stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python_stubs")
    _run(PYTHON_STUB / "generate.sh", folder, environment={"PYTHON": sys.executable})
    return folder


@pytest.fixture(scope="module")
def go_caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [program for program in GO_PROGRAMS if shutil.which(program) is None]
    libraries = Path("/usr/share/gocode/src/google.golang.org")
    missing += [str(libraries / name) for name in GO_LIBRARIES if not (libraries / name).is_dir()]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}; scripts/callers/go_stub/README.md names the Debian packages")
    folder = tmp_path_factory.mktemp("go_stubs")
    _run(GO_STUB / "generate.sh", folder)
    _run(GO_STUB / "build.sh", folder)
    return folder / "caller"


def test_generated_python_stubs_come_before_an_installed_penstock(python_stubs: Path) -> None:
    question = "import penstock.v1.predict_pb2_grpc as stubs; print(stubs.__file__)"
    answer = _run(sys.executable, "-c", question, environment={"PYTHONPATH": str(python_stubs)}).stdout
    assert Path(answer.strip()) == python_stubs / "penstock/v1/predict_pb2_grpc.py"


def test_google_rpc_is_not_generated_a_second_time(python_stubs: Path) -> None:
    assert [path.name for path in python_stubs.iterdir()] == ["penstock"]


def test_a_python_caller_with_generated_stubs_is_answered_in_the_form_it_asked_in(
    python_stubs: Path, server: Server
) -> None:
    lines = _ask(python_stubs, server, "scale").stdout.splitlines()
    assert lines == [
        "typed values, answered by version 1:",
        "  y [1, 4] [1.0, 1.0, 1.0, 1.0]",
        "raw bytes, answered by version 1:",
        f"  y [1, 4] {'0000803f' * 4}",
    ]


def test_a_python_caller_with_generated_stubs_can_send_every_element_type(python_stubs: Path, server: Server) -> None:
    lines = _ask(python_stubs, server, "echo").stdout.splitlines()
    assert "  bytes_out [1, 2] [b'', b'']" in lines
    assert f"  int64_out [1, 2] {bytes(16).hex()}" in lines


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("absent", ("NOT_FOUND", "reason MODEL_NOT_FOUND (penstock.dev)")),
        ("NOT A NAME", ("INVALID_ARGUMENT", "  model_spec.name: ")),
    ],
)
def test_a_python_caller_can_read_why_it_was_refused(
    python_stubs: Path, server: Server, model: str, said: tuple[str, ...]
) -> None:
    refused = _ask(python_stubs, server, model, status=1)
    assert all(part in refused.stderr for part in said), refused.stderr


def test_a_python_caller_without_a_key_is_told_that_it_lacks_one(python_stubs: Path, server: Server) -> None:
    refused = _ask(python_stubs, replace(server, api_key=""), "scale", status=1)
    assert "reason AUTH_MISSING (penstock.dev)" in refused.stderr


def test_buf_generates_the_same_python_stubs(python_stubs: Path, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    _run(programs / "buf", "generate", "-o", tmp_path, environment={"PATH": f"{programs}:{os.environ['PATH']}"})
    made = tmp_path / "gen"
    assert [path.name for path in made.iterdir()] == ["penstock"]
    # *_pb2.py differs, for buf also writes each field's JSON name into the descriptors.
    for wanted in (*python_stubs.glob("penstock/v1/*.pyi"), *python_stubs.glob("penstock/v1/*_grpc.py")):
        assert (made / wanted.relative_to(python_stubs)).read_text() == wanted.read_text()
    assert {path.name for path in made.glob("penstock/v1/*_grpc.py")} == {
        f"{service}_pb2_grpc.py" for service in ("model_status", "predict", "registry", "worker")
    }


def test_a_go_caller_with_generated_stubs_is_answered(go_caller: Path, server: Server) -> None:
    answer = _run(go_caller, server.address, "scale", environment=_calls(server)).stdout
    assert answer.splitlines() == ["typed values, answered by version 1:", "  y [1 4] [1 1 1 1]"]


def test_a_go_caller_can_read_why_it_was_refused(go_caller: Path, server: Server) -> None:
    refused = _run(go_caller, server.address, "absent", environment=_calls(server), status=1).stderr
    assert "NotFound: " in refused
    assert "reason MODEL_NOT_FOUND (penstock.dev)" in refused
