"""Models that other tools have packed, from the command line to a caller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import penstock
from penstock.testing import CommandFailed, Server, running

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
HANDLER = """
from ts.torch_handler.base_handler import BaseHandler

class Numbers(BaseHandler):
    def preprocess(self, data):
        return super().preprocess([[float(row.get("data") or row.get("body"))] for row in data])

    def postprocess(self, data):
        return [{"doubled": value, "together": len(data)} for [value] in super().postprocess(data)]
"""
MODEL = """
import torch

class Doubling(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x * self.factor
"""


def archived(folder: Path, name: str, handler: str, *options: str) -> str:
    """An archive, made by torch-model-archiver."""
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / f"{name}_handler.py").write_text(handler)
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", name, "--version", "1.0"]
    said = ["--handler", str(folder / f"{name}_handler.py"), "--export-path", str(folder), *options]
    subprocess.run([*command, *said], check=True, env={**os.environ, "TMPDIR": str(folder / "tmp")})
    return str(folder / f"{name}.mar")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the archive `numbers`."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "doubling.py").write_text(MODEL)
    (folder / "model-config.yaml").write_text("batchSize: 4\n")
    torch.save({"factor": torch.full((1,), 2.0)}, folder / "weights.pt")
    options = ["--model-file", str(folder / "doubling.py"), "--serialized-file", str(folder / "weights.pt")]
    archive = archived(folder, "numbers", HANDLER, *options, "--config-file", str(folder / "model-config.yaml"))
    with running(folder / "data") as server:
        server.command("publish", "numbers", archive)
        yield server
    # Workers that end in order leave nothing unpacked.
    assert [path.name for path in (folder / "data/cache/numbers/1.unpacked").iterdir()] == ["lock"]


def test_an_archive_of_torchserve_is_published_and_answers(server: Server) -> None:
    with penstock.Client(server.grpc, timeout=20) as client:
        signature = client.metadata("numbers").signature
        assert signature is not None
        assert [f"{spec.name}={spec}" for spec in (*signature.inputs, *signature.outputs)] == [
            *("data=BYTES[batch]", "output=BYTES[batch]")
        ]
        answers = client.predict("numbers", {"data": np.array([b"1.5", b"-2", b"8"], object)})["output"]
        told = [json.loads(answer) for answer in answers]
        assert [answer["doubled"] for answer in told] == [3.0, -4.0, 16.0]
        assert {answer["together"] for answer in told} == {3}
        with pytest.raises(penstock.errors.ModelError):
            client.predict("numbers", {"data": np.array([b"x"], object)})
        with pytest.raises(penstock.errors.InvalidInput, match="empty request"):
            client.predict("numbers", {"data": np.array([b""], object)})
        assert json.loads(client.predict("numbers", {"data": np.array([b"1"], object)})["output"][0])["doubled"] == 2.0


def test_the_command_line_asks_it_with_text_or_with_a_file(server: Server, tmp_path: Path) -> None:
    answer = server.command("predict", "numbers", '{"data": ["2.5"]}')
    assert "5.0" in json.dumps(answer)
    (tmp_path / "body.txt").write_text("4.5")
    answer = server.command("predict", "numbers", "--input", f"data=@{tmp_path / 'body.txt'}")
    assert "9.0" in json.dumps(answer)


def test_what_a_killed_worker_has_unpacked_does_not_stay(server: Server) -> None:
    home = server.data_dir / "cache" / "numbers" / "1.unpacked"
    [before] = [path for path in home.iterdir() if path.is_dir()]
    with penstock.Client(server.grpc, timeout=60, retries=10) as client:
        [instance] = client.status("numbers")[0].versions[0].instances
        os.kill(instance.pid, signal.SIGKILL)
        for change in client.watch_status("numbers", timeout=60):
            now = [one.pid for model in change.models for version in model.versions for one in version.instances]
            if now and instance.pid not in now and all(now):
                break
        client.predict("numbers", {"data": np.array([b"1"], object)})
    [after] = [path for path in home.iterdir() if path.is_dir()]
    assert after != before


def test_an_archive_that_does_not_load_fails_publish_with_the_reason(server: Server, tmp_path: Path) -> None:
    needs = archived(tmp_path, "needs", "import surely_not_installed")
    with pytest.raises(CommandFailed) as failed:
        server.command("publish", "needs", needs)
    assert "the handler needs surely_not_installed" in failed.value.message
    assert "Traceback" not in failed.value.message
    assert str(server.data_dir) not in failed.value.message


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_model_of_mlflow_is_published_and_answers(server: Server, tmp_path: Path) -> None:
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    (tmp_path / "code.py").write_text(
        "import mlflow\nclass M(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input): return model_input['a'] + model_input['b']\n"
        "mlflow.models.set_model(M())\n"
    )
    signature = ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b")]), Schema([ColSpec("double")]))
    folder = str(tmp_path / "saved")
    pyfunc.save_model(folder, python_model=str(tmp_path / "code.py"), signature=signature, pip_requirements=[])
    server.command("publish", "sums", folder)
    with penstock.Client(server.grpc, timeout=20) as client:
        answer = client.predict("sums", {"a": np.array([1.0, 2.0]), "b": np.array([10.0, 20.0])})
    assert answer["output"].tolist() == [11.0, 22.0]
