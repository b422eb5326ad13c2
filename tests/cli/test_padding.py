from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from penstock.cli.padding import read_padding
from penstock.v1 import model_pb2

Padding = model_pb2.Padding


@pytest.mark.parametrize(
    ("pad", "value", "masks", "buckets", "most", "expected"),
    [
        (False, None, [], [], None, None),
        (True, None, [], [], None, Padding()),
        (False, 0.0, [], [], None, Padding()),
        (False, -1.5, [], [], None, Padding(value=-1.5)),
        (False, None, ["ids=ids_mask"], [], None, Padding(masks={"ids": "ids_mask"})),
        (False, None, ["a=m", "b=n=o"], [], None, Padding(masks={"a": "m", "b": "n=o"})),
        (False, None, [], [128, 64, 128], None, Padding(buckets=[64, 128])),
        (False, None, [], [], 0.25, Padding(max_pad_fraction=0.25)),
        (True, 1.0, ["x=m"], [8], 0.5, Padding(value=1, masks={"x": "m"}, buckets=[8], max_pad_fraction=0.5)),
    ],
)
def test_any_of_the_options_asks_for_padding(
    pad: bool, value: float | None, masks: list[str], buckets: list[int], most: float | None, expected: Padding | None
) -> None:
    assert read_padding(pad, value, masks, buckets, most) == expected


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (["ids"], "'ids' is not INPUT=MASK_INPUT"),
        (["=mask"], "is not INPUT=MASK_INPUT"),
        (["ids="], "is not INPUT=MASK_INPUT"),
        (["ids=a", "ids=b"], "'ids' has two masks, 'a' and 'b'"),
    ],
)
def test_a_mask_that_is_not_understood_is_refused(masks: list[str], message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        read_padding(False, None, masks, [], None)


def test_a_bad_mask_is_said_before_anything_is_read_or_asked(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "penstock", "publish", "texts", "absent.pt2", "--mask", "ids"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "--mask" in done.stderr
    assert "'ids' is not INPUT=MASK_INPUT" in done.stderr
