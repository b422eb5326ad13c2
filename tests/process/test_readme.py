"""The README's examples, run as they stand there but for the address."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing import Server, running

pytestmark = pytest.mark.process
README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The code block of a language that contains a text."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if containing in block)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "scale.py").write_text(block("python", "class Scale"))
    with running(folder / "data") as server:
        server.command("publish", "scale", f"{folder / 'scale.py'}:Scale")
        yield server


def test_the_python_call_prints_the_answer(server: Server) -> None:
    code = block("python", "penstock.Client").replace("127.0.0.1:8001", server.grpc)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[[3.", "3.", "3.", "3.]]", "1"]


def test_the_grpcurl_call_works_with_buf_curl(server: Server) -> None:
    line = block("sh", "grpcurl -plaintext -d")
    body = re.search(r"-d '(.*?)'", line, re.DOTALL)
    assert body is not None
    buf = str(Path(sys.executable).with_name("buf"))
    url = f"http://{server.grpc}/penstock.v1.PredictService/Predict"
    command = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", body[1], url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["floats"] == [3, 5, 7, 9]


def test_buf_curl_lists_and_describes_the_services(server: Server) -> None:
    buf = str(Path(sys.executable).with_name("buf"))
    line = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", f"http://{server.grpc}", "--list-methods"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert {
        "penstock.v1.PredictService/Predict",
        "penstock.v1.ModelStatusService/WatchModelStatus",
        "grpc.health.v1.Health/List",
    } <= set(done.stdout.split())
