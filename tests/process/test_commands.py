"""The command line against a real `penstock up`: what it does, what it prints, and with which status it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

import penstock
from penstock.testing import CommandFailed, Server, running

from .conftest import until_state, write_scale

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
STATUS = 64
"""An RPC error ends a command with 64 + its code."""


def test_predict_prints_what_the_model_answers(shared: Server) -> None:
    answer = shared.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')
    assert answer == {"model": "scale", "version": 1, "outputs": {"y": [[2.0, 4.0, 6.0, 8.0]]}}


def test_predict_reads_arrays_from_files(shared: Server, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    answer = shared.command("predict", "scale", "--input", f"x=@{tmp_path / 'x.npy'}")
    assert answer["outputs"] == {"y": [[2.0] * 4] * 2}


def test_an_rpc_error_is_one_line_and_a_status_of_its_code(shared: Server) -> None:
    with pytest.raises(CommandFailed, match=r"MODEL_NOT_FOUND.*did you mean 'scale'") as failed:
        shared.command("predict", "scala", '{"x": [[1, 2, 3, 4]]}')
    assert failed.value.status == STATUS + grpc.StatusCode.NOT_FOUND.value[0]
    assert "Traceback" not in failed.value.message


def test_a_gateway_that_is_not_there_is_said_so_with_what_to_do() -> None:
    nobody = Server("127.0.0.1:1", "", 0, Path())
    with pytest.raises(CommandFailed, match="penstock up") as failed:
        nobody.command("undeploy", "scale")
    assert failed.value.status == STATUS + grpc.StatusCode.UNAVAILABLE.value[0]


def test_a_model_that_cannot_load_fails_publish_with_the_reason_and_changes_nothing(
    shared: Server, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("raise RuntimeError('no weights here')")
    with pytest.raises(CommandFailed, match="no weights here"):
        shared.command("publish", "scale", f"{tmp_path / 'bad.py'}:Scale", "--alias", "stable")
    assert shared.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1


def test_other_content_under_a_published_version_is_refused_however_large_it_is(shared: Server, tmp_path: Path) -> None:
    write_scale(tmp_path, 3)
    (tmp_path / "weights.bin").write_bytes(bytes(40_000_000))
    with pytest.raises(CommandFailed, match="VERSION_EXISTS"):
        shared.command("publish", "scale", f"{tmp_path}:scale.py:Scale", "--version", "1")


def test_torchscript_is_published_with_its_inputs(shared: Server, tmp_path: Path) -> None:
    trace: Any = torch.jit.trace  # untyped upstream
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(trace(torch.nn.Linear(3, 2), torch.zeros(2, 3)), tmp_path / "linear.pt")
    shared.command("publish", "linear", str(tmp_path / "linear.pt"), "--input", "x=FP32[batch,3]")
    answer = shared.command("predict", "linear", '{"x": [[1, 2, 3]]}')
    assert np.shape(answer["outputs"]["output"]) == (1, 2)


def test_the_history_of_an_alias_names_who_and_when(shared: Server) -> None:
    (change,) = shared.command("alias", "scale")
    assert (change["alias"], change["version"], change["by"]) == ("stable", 1, "anonymous")


def test_undeploy_is_seen_by_health_watchers_and_deploy_brings_the_model_back(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        seen = stub.Watch(health_pb2.HealthCheckRequest(service="models/scale"), timeout=60)
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        server.command("undeploy", "scale")
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        until_state(server, "END")
        with pytest.raises(CommandFailed, match="MODEL_NOT_DEPLOYED"):
            server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')
        server.command("deploy", "scale")
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        seen.cancel()
    assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1


def test_keys_decide_who_may_do_what(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--auth=keys") as server:
        admin = {"PENSTOCK_API_KEY": (server.data_dir / "admin.key").read_text().strip()}
        server.command("publish", "scale", write_scale(tmp_path, 2), environment=admin)
        question = ("predict", "scale", '{"x": [[1, 2, 3, 4]]}')
        with pytest.raises(CommandFailed, match="AUTH_MISSING"):
            server.command(*question)
        made = server.command("key", "create", "ann", "--scope", "predict:scale", environment=admin)
        ann = {"PENSTOCK_API_KEY": made["key"]}
        _until_known(server, made["key"])
        assert server.command(*question, environment=ann)["version"] == 1
        for denied in (("predict", "other", '{"x": 1}'), ("undeploy", "scale"), ("key", "list")):
            with pytest.raises(CommandFailed, match="SCOPE_INSUFFICIENT"):
                server.command(*denied, environment=ann)
        server.command("key", "revoke", made["key_id"], environment=admin)
        _until_refused(server, made["key"])
        assert made["key"] not in server.log()
        assert made["key"].encode() not in (server.data_dir / "registry.db").read_bytes()


def _until_known(server: Server, key: str) -> None:
    """A new key reaches the gateways by the watch stream."""
    with penstock.Client(server.grpc, api_key=key) as client:
        while True:
            try:
                client.status("scale")
                return
            except penstock.errors.AuthInvalid:
                continue


def _until_refused(server: Server, key: str) -> None:
    with penstock.Client(server.grpc, api_key=key) as client:
        while True:
            try:
                client.status("scale")
            except penstock.errors.AuthInvalid:
                return


def test_a_taken_port_is_said_with_its_holder(shared: Server, tmp_path: Path) -> None:
    port = shared.grpc.rpartition(":")[2]
    line = [sys.executable, "-m", "penstock", "up", f"--data-dir={tmp_path}", f"--grpc-port={port}"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"port {port} is taken by pid" in done.stderr
    assert "--grpc-port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--host=0.0.0.0"),
        ("gateway", "--host=0.0.0.0"),
        ("registry", "--registry-host=0.0.0.0"),
        ("worker", "--name=scale", "--version=1", "--listen=0.0.0.0:0"),
    ],
    ids=lambda command: command[0],
)
def test_a_public_address_without_tls_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    line = [sys.executable, "-m", "penstock", *command, f"--data-dir={tmp_path}"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_several_gateways_share_one_port_and_log_to_files_of_their_own(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--gateways=2") as server:
        assert len(server.children("gateway")) == 2
        server.command("publish", "scale", write_scale(tmp_path, 2))
        assert server.command("predict", "scale", '{"x": [[1, 2, 3, 4]]}')["version"] == 1
    assert sorted(p.name for p in (tmp_path / "data/logs").iterdir()) == ["access-1.jsonl", "access-2.jsonl"]
