from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import examples
from penstock.examples import BadExample, read_example
from penstock.signature import DType
from penstock.tensors import stored

ONE = np.ones((1, 2), np.float32)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "example.npz"
    np.savez_compressed(path, **{name.replace("_", ".", 1): array for name, array in arrays.items()})
    return path


def test_inputs_and_outputs_are_told_apart_by_their_names(tmp_path: Path) -> None:
    example = read_example(saved(tmp_path, **{"input.a.b": ONE, "output.y": ONE * 2, "input.": ONE}))
    assert {name: array.tolist() for name, array in example.inputs.items()} == {"a.b": [[1, 1]], "": [[1, 1]]}
    assert example.outputs["y"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": ONE}, "has an array 'x'; make it with numpy.savez"),
        ({"output_y": ONE}, "has no inputs"),
        ({}, "has no inputs"),
        ({"input_x": np.array([object()])}, "cannot be read as .npz: Object arrays cannot be loaded"),
    ],
)
def test_a_file_that_is_no_example_says_how_one_is_made(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = tmp_path / "example.npz"
    np.savez(path, **{name.replace("_", ".", 1): array for name, array in arrays.items()})
    with pytest.raises(BadExample, match=said):
        read_example(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of one", b"\x93NUMPY"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "example.npz").write_bytes(content)
    with pytest.raises(BadExample, match="cannot be read as"):
        read_example(tmp_path / "example.npz")
    with pytest.raises(BadExample, match="cannot be read as"):
        read_example(tmp_path / "absent.npz")


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_BYTES", 10_000)
    path = saved(tmp_path, input_x=np.zeros(100_000, np.float32))
    assert path.stat().st_size < 10_000
    with pytest.raises(BadExample, match="unpacks to"):
        read_example(path)


@pytest.mark.parametrize(
    ("array", "dtype", "kept"),
    [
        (np.array([1.5], ">f4"), DType.FP32, [1.5]),
        (np.array([1.5], np.float32), DType.BF16, [0x3FC0]),
        (np.array([0x3FC0], np.uint16).view("V2"), DType.BF16, [0x3FC0]),
        (np.array(["ä", "b"]), DType.BYTES, ["ä".encode(), b"b"]),
        (np.array([b"ab"]), DType.BYTES, [b"ab"]),
        (np.array([True]), DType.BOOL, [True]),
        (np.array(7), DType.INT64, 7),
    ],
)
def test_arrays_are_kept_as_their_type_says(array: Any, dtype: DType, kept: Any) -> None:
    assert stored(array, dtype).tolist() == kept


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.ones(1), DType.FP32),
        (np.ones(1, np.float32), DType.FP64),
        (np.ones(1, np.int32), DType.INT64),
        (np.ones(1, np.uint16), DType.BF16),
        (np.array(["a"]), DType.INT8),
    ],
)
def test_arrays_of_another_type_are_refused(array: Any, dtype: DType) -> None:
    with pytest.raises(Exception, match=f"{dtype.name} is wanted, and these are {array.dtype}"):
        stored(array, dtype)
