"""Commands that need no server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def penstock(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment})


def test_config_show_says_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("gateways = 2\ngrpc_port = 9001\n")
    done = penstock("config", "show", "-o", "json", cwd=tmp_path, PENSTOCK_GRPC_PORT="9002")
    rows = {row["setting"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}
    assert rows["gateways"] == (2, "penstock.toml")
    assert rows["grpc_port"] == (9002, "environment")
    assert rows["http_port"] == (8000, "default")


def test_config_show_never_prints_a_key(tmp_path: Path) -> None:
    done = penstock("config", "show", cwd=tmp_path, PENSTOCK_API_KEY="psk_canary")
    assert "psk_canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gatways = 2", "did you mean 'gateways'"),
        ("grpc_port = 'x'", "grpc_port must be of type int"),
        ("auth = 'none'", "auth is one of off, keys"),
        ("gateways =", "cannot be read"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "penstock.toml").write_text(text)
    done = penstock("config", "show", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_help_and_completion_work_without_a_server(tmp_path: Path) -> None:
    for arguments in (["--help"], ["-h"], ["publish", "--help"], ["key", "--help"], ["--show-completion", "bash"]):
        assert penstock(*arguments, cwd=tmp_path).returncode == 0


def test_no_colour_escapes_go_into_a_pipe(tmp_path: Path) -> None:
    assert "\x1b" not in penstock("config", "show", cwd=tmp_path, NO_COLOR="1").stdout
