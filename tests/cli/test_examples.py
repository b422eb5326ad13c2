from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.cli.examples import Optimize, read_examples
from penstock.config import BadSetting
from penstock.v1 import model_pb2

ONE = np.ones((1, 2), np.float32)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{name.replace("_", ".", 1): array for name, array in arrays.items()})
    return path


def test_without_options_nothing_is_added() -> None:
    assert read_examples(None, None, None, None) == (None, [])


def test_examples_become_files_of_the_version_and_a_tolerance_that_is_0_is_one(tmp_path: Path) -> None:
    golden = saved(tmp_path / "a.npz", input_x=ONE, output_y=ONE)
    warm_up = saved(tmp_path / "b.npz", input_x=ONE)
    examples, files = read_examples(golden, 0.0, None, warm_up)
    assert examples == model_pb2.Examples(golden=".penstock/golden.npz", warm_up=".penstock/warm-up.npz", rtol=0.0)
    assert [(file.path, file.source) for file in files] == [
        (".penstock/golden.npz", golden),
        (".penstock/warm-up.npz", warm_up),
    ]


def test_a_golden_example_without_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"--golden: a\.npz has no outputs; add arrays output\.NAME"):
        read_examples(saved(tmp_path / "a.npz", input_x=ONE), None, None, None)


def test_a_file_that_is_no_example_is_refused_by_the_name_of_its_option(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"--warm-up: a\.npz has an array 'x'"):
        read_examples(None, None, None, saved(tmp_path / "a.npz", x=ONE))


@pytest.mark.parametrize("choice", list(Optimize))
def test_every_choice_has_its_number(choice: Optimize) -> None:
    assert choice.number == {"none": 0, "compile": 2, "aot": 3, "auto": 4}[choice]


def test_a_bad_example_is_said_before_anything_is_asked_and_without_torch(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"weights")
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    saved(tmp_path / "a.npz", input_x=ONE)
    line = [sys.executable, "-m", "penstock", "publish", "texts", "m.pt2", "--golden", "a.npz"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "a.npz has no outputs" in done.stderr
