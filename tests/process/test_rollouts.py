"""Every change of what is served, under load: a few of each here, hundreds with `python -m rollouts`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    ("scene", "arguments"),
    [
        ("swaps", ("--swaps=3", "--rollbacks=2", "--requests=500")),
        ("overtaken", ("--overtaken=2",)),
        ("bad", ("--bad=1",)),
        ("churn", ("--churn=20", "--callers=8")),
        ("crowd", ("--crowd=20",)),
    ],
)
def test_no_request_fails_and_no_answer_is_another_versions(scene: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", "rollouts", *arguments], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)[scene]
    assert figures["ok"]
    assert figures["requests"] == figures["right"] > 0
