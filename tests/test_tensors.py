from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from penstock.errors import InvalidTensor
from penstock.signature import DType
from penstock.tensors import MAX_RANK, STORAGE, Form, decode, dtype_of, encode, form_of, shape_of
from penstock.torch_tensors import TORCH, dtype_of_torch, from_torch, to_torch
from penstock.v1 import tensor_pb2 as pb

NUMBERS = [dtype for dtype in DType if dtype not in (DType.BF16, DType.BYTES)]
FLOATS = {DType.FP16: 16, DType.FP32: 32, DType.FP64: 64}


@st.composite
def numbers(draw: st.DrawFn) -> tuple[DType, Any]:
    dtype = draw(st.sampled_from(NUMBERS))
    return dtype, draw(npst.arrays(STORAGE[dtype], npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))


def same(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@given(numbers(), st.sampled_from(Form))
def test_numbers_survive_in_every_form(given_: tuple[DType, Any], form: Form) -> None:
    dtype, array = given_
    message = pb.Tensor.FromString(encode("x", array, dtype, form).SerializeToString())
    assert (message.name, int(message.dtype), list(message.shape)) == ("x", int(dtype), list(array.shape))
    assert same(decode(message, dtype, "inputs[0]"), array)


@given(npst.arrays(np.object_, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.binary()))
def test_byte_strings_survive_in_raw_and_typed_form(array: Any) -> None:
    for form in (Form.RAW, Form.TYPED):
        assert decode(encode("x", array, DType.BYTES, form), DType.BYTES, "x").tolist() == array.tolist()


@given(st.lists(st.text(), max_size=5))
def test_text_survives_as_strings(texts: list[str]) -> None:
    array = np.array([text.encode() for text in texts], object)
    message = encode("x", array, DType.BYTES, Form.TEXT)
    assert list(message.strings) == texts
    assert decode(message, DType.BYTES, "x").tolist() == array.tolist()


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_bf16_is_rounded_as_torch_rounds(values: list[float]) -> None:
    message = pb.Tensor(name="x", shape=[len(values)], floats=values)
    ours = to_torch(decode(message, DType.BF16, "x"), DType.BF16)
    theirs = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16)
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.nan_to_num(0.0), theirs.nan_to_num(0.0))


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000])
def test_nan_stays_nan_in_bf16_whatever_its_bits(bits: int) -> None:
    message = pb.Tensor(shape=[1], floats=struct.unpack("<f", struct.pack("<I", bits)))
    assert to_torch(decode(message, DType.BF16, "x"), DType.BF16).isnan().all()


@pytest.mark.parametrize("form", [Form.RAW, Form.TYPED])
def test_every_bf16_survives(form: Form) -> None:
    array = np.arange(1 << 16, dtype="<u2")
    found = decode(encode("x", array, DType.BF16, form), DType.BF16, "x")
    number = ~to_torch(array, DType.BF16).isnan().numpy()
    assert np.array_equal(found[number], array[number])


def test_bytes_are_little_endian_and_row_major() -> None:
    array = np.array([[1, 2], [3, 4]], ">i4").T
    assert encode("x", array, DType.INT32).raw == struct.pack("<4i", 1, 3, 2, 4)


def test_raw_byte_strings_have_their_lengths_before_them() -> None:
    assert encode("x", np.array([b"ab", b""], object), DType.BYTES).raw == b"\2\0\0\0ab\0\0\0\0"


def test_an_array_from_raw_shares_the_messages_bytes() -> None:
    array = decode(encode("x", np.ones(4, np.float32), DType.FP32), DType.FP32, "x")
    assert not array.flags.writeable
    assert not array.flags.owndata


REFUSALS: list[tuple[pb.Tensor, DType, str, str]] = [
    (pb.Tensor(shape=[2, 2], raw=b"12345"), DType.FP32, "x.raw", r"FP32 of shape \[2, 2\] takes 16 bytes, got 5"),
    (pb.Tensor(shape=[2]), DType.FP32, "x.raw", "takes 8 bytes, got 0"),
    (pb.Tensor(shape=[0], raw=b"1"), DType.UINT8, "x.raw", "takes 0 bytes, got 1"),
    (pb.Tensor(shape=[-1]), DType.FP32, "x.shape", "none negative"),
    (pb.Tensor(shape=[-1, -4], raw=b"1234"), DType.UINT8, "x.shape", "none negative"),
    (pb.Tensor(shape=[1] * (MAX_RANK + 1), raw=b"1"), DType.UINT8, "x.shape", f"at most {MAX_RANK} sizes"),
    (pb.Tensor(shape=[2**62, 4], raw=b"1"), DType.UINT8, "x.raw", f"takes {2**64} bytes"),
    (pb.Tensor(shape=[1], raw=b"1", ints=[1]), DType.INT8, "x", "both in raw and ints"),
    (pb.Tensor(shape=[1], uints=[1], ints=[1]), DType.INT8, "x", "both in ints and uints"),
    (pb.Tensor(shape=[1], ints=[1]), DType.FP32, "x.ints", "in `raw` or `floats`, not in `ints`"),
    (pb.Tensor(shape=[1], floats=[1]), DType.FP64, "x.floats", "in `raw` or `doubles`"),
    (pb.Tensor(shape=[1], strings=["a"]), DType.FP32, "x.strings", "in `raw` or `floats`"),
    (pb.Tensor(shape=[1], floats=[1]), DType.BYTES, "x.floats", "in `raw` or `byte_strings`"),
    (pb.Tensor(shape=[3], floats=[1, 2]), DType.FP32, "x.floats", "takes 3 elements, got 2"),
    (pb.Tensor(shape=[3], floats=[1, 2]), DType.BF16, "x.floats", "takes 3 elements, got 2"),
    (pb.Tensor(shape=[3], strings=["a"]), DType.BYTES, "x", "takes 3 elements, got 1"),
    (pb.Tensor(shape=[2], ints=[-129, 128]), DType.INT8, "x.ints", "INT8 holds -128 to 127, got -129 to 128"),
    (pb.Tensor(shape=[1], uints=[256]), DType.UINT8, "x.uints", "UINT8 holds 0 to 255, got 256"),
    (pb.Tensor(shape=[1], raw=b"\5\0\0\0abc"), DType.BYTES, "x.raw", "element at byte 0 goes past the end of 7 bytes"),
    (pb.Tensor(shape=[1], raw=b"\1\0\0\0a\1\0"), DType.BYTES, "x.raw", "element at byte 5 goes past the end"),
    (pb.Tensor(shape=[1], raw=b"\xff\xff\xff\xffa"), DType.BYTES, "x.raw", "past the end"),
    (pb.Tensor(shape=[2], raw=b"\1\0\0\0a"), DType.BYTES, "x", "takes 2 elements, got 1"),
]


@pytest.mark.parametrize(("message", "dtype", "field", "text"), REFUSALS)
def test_what_is_no_tensor_is_refused_with_the_place(message: pb.Tensor, dtype: DType, field: str, text: str) -> None:
    with pytest.raises(InvalidTensor, match=text) as caught:
        decode(message, dtype, "x")
    assert [violation.field for violation in caught.value.violations] == [field]


@given(st.binary(max_size=64), st.sampled_from(DType), st.lists(st.integers(-2, 5), max_size=3))
def test_any_bytes_are_an_array_of_that_shape_or_refused(raw: bytes, dtype: DType, shape: list[int]) -> None:
    try:
        array = decode(pb.Tensor(shape=shape, raw=raw), dtype, "x")
    except InvalidTensor:
        return
    assert list(array.shape) == shape


@pytest.mark.parametrize("form", Form)
def test_the_form_of_a_question_is_told(form: Form) -> None:
    message = encode("x", np.array([b"a"], object), DType.BYTES, form)
    assert form_of([pb.Tensor(shape=[0]), message]) is form


def test_a_shape_is_known_before_the_bytes_are() -> None:
    shape = shape_of(pb.Tensor(name="x", shape=[-3, 2], dtype=pb.DATA_TYPE_FP16))
    assert (shape.name, shape.dtype, shape.shape) == ("x", DType.FP16, (-3, 2))
    newer = pb.Tensor.FromString(b"\x10\x63")  # dtype 99
    assert shape_of(pb.Tensor()).dtype is shape_of(newer).dtype is None


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numpy_types_have_their_counterpart(dtype: DType) -> None:
    assert dtype_of(np.empty(0, STORAGE[dtype])) is dtype
    assert dtype_of(np.empty(0, STORAGE[dtype].newbyteorder(">"))) is dtype


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([b"a"]), np.array([b"a"], object)])
def test_text_and_objects_are_bytes(array: Any) -> None:
    assert dtype_of(array) is DType.BYTES


@pytest.mark.parametrize("kind", ["c8", "M8[s]", "V4"])
def test_numpy_types_without_counterpart_are_refused(kind: str) -> None:
    with pytest.raises(InvalidTensor, match="cannot be sent"):
        dtype_of(np.empty(1, kind))


@pytest.mark.parametrize("dtype", TORCH)
def test_torch_tensors_survive(dtype: DType) -> None:
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(TORCH[dtype]).T
    array, found = from_torch(tensor)
    assert (found, dtype_of_torch(TORCH[dtype])) == (dtype, dtype)
    assert array.dtype == STORAGE[dtype]
    message = encode("x", array, dtype)
    again = to_torch(decode(message, dtype, "x"), dtype)
    assert again.dtype == tensor.dtype
    assert torch.equal(again, tensor)


def test_a_scalar_tensor_survives() -> None:
    for tensor in (torch.tensor(1.5), torch.tensor(1.5, dtype=torch.bfloat16)):
        again = to_torch(*from_torch(tensor))
        assert again.shape == ()
        assert again.item() == 1.5


def test_a_tensor_shares_memory_only_with_an_array_that_can_be_written() -> None:
    array = np.zeros(2, np.float32)
    shared = to_torch(array, DType.FP32)
    array[0] = 1
    assert shared[0] == 1
    array.flags.writeable = False
    assert to_torch(array, DType.FP32).data_ptr() != shared.data_ptr()


def test_torch_types_without_counterpart_are_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        dtype_of_torch(torch.complex64)
    with pytest.raises(InvalidTensor, match="complex64"):
        from_torch(torch.zeros(1, dtype=torch.complex64))


def test_values_are_rounded_to_the_tensors_type() -> None:
    found = decode(pb.Tensor(shape=[2], floats=[0.1, math.inf]), DType.FP16, "x")
    assert found.tolist() == [float(np.float16(0.1)), math.inf]


def test_a_float_too_great_for_fp16_is_rounded_to_infinity() -> None:
    assert decode(pb.Tensor(shape=[1], floats=[1e30]), DType.FP16, "x").tolist() == [math.inf]


def test_great_unsigned_numbers_in_a_list_are_not_rounded() -> None:
    values = np.array([2**63 + 1, 0], np.uint64)
    assert same(decode(encode("x", values, DType.UINT64, Form.TYPED), DType.UINT64, "inputs[0]"), values)
