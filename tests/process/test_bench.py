"""`penstock bench` against a real `penstock up`: that it runs and what it says, never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penstock.testing import CommandFailed, Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
SHORT = ("--duration", "0.5", "--warmup", "0.2s")


@pytest.mark.parametrize("lane", ["unary", "stream"])
def test_an_open_loop_is_answered(shared: Server, lane: str) -> None:
    told = shared.command("bench", "scale", "--rate", "50", "--lane", lane, "--deadline", "5s", *SHORT)
    figures = told["figures"]
    assert figures["outcomes"] == {"OK": figures["requests"]}
    assert figures["on_time"] == 1.0
    assert figures["void"] == ""
    assert told["settings"]["deadline"] == 5.0


def test_a_closed_loop_sends_rows_of_its_own_from_several_processes(shared: Server) -> None:
    told = shared.command("bench", "scale", "--concurrency", "4", "--rows", "3", "--processes", "2", *SHORT)
    assert told["settings"]["shapes"] == {"x": [3, 4]}
    assert told["figures"]["served_rows"] == pytest.approx(3 * told["figures"]["served"])
    assert told["figures"]["served"] > 0


def test_given_arrays_files_and_pictures(shared: Server, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    files = ("--json", str(tmp_path / "run.json"), "--plot", str(tmp_path / "run.png"))
    told = shared.command("bench", "scale", "--input", f"x=@{tmp_path / 'x.npy'}", *files, *SHORT)
    assert told["settings"]["rows"] == 2
    assert json.loads((tmp_path / "run.json").read_text()) == told
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_people_get_a_table(shared: Server) -> None:
    line = [sys.executable, "-m", "penstock", "bench", "scale", "--rate", "20", "--address", shared.grpc, *SHORT]
    told = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    for word in ("offered", "served", "latency p99.9", "OK"):
        assert word in told


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nobody",), 64 + 5, "MODEL_NOT_FOUND"),
        (("scale", "--size", "width=3"), 64 + 3, "'width' is no free dimension of the model; it has none"),
        (("scale", "--version", "99"), 64 + 5, "VERSION_NOT_FOUND"),
        (("scale", "--rate", "5", "--concurrency", "5"), 2, "not both"),
        (("scale", "--deadline", "soon"), 2, "'soon' is no time"),
        (("scale", "--input", "x=3"), 2, "NAME=@FILE.npy"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(
    shared: Server, arguments: tuple[str, ...], status: int, message: str
) -> None:
    with pytest.raises(CommandFailed, match=message) as failed:
        shared.command("bench", *arguments, *SHORT)
    assert failed.value.status == status
