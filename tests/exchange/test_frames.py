from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import MalformedRequest
from penstock.exchange.frames import FrameReader, frame, last_frame


def framed(message: bytes) -> bytes:
    first, rest = frame(message)
    return first + bytes(rest or b"")


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(edges) if begin < end]


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 2000)), st.none() | st.binary(max_size=20))
def test_messages_come_whole_and_in_order_wherever_the_stream_is_cut(
    messages: list[bytes], places: list[int], status: bytes | None
) -> None:
    stream = b"".join(map(framed, messages)) + (b"" if status is None else last_frame(status) + b"more")
    reader = FrameReader(40)
    read = [message for piece in cut(stream, places) for message in reader.feed(piece)]
    assert read == messages
    assert reader.last == status


def test_of_a_great_message_only_the_beginning_is_copied_to_be_written() -> None:
    message = bytes(range(256)) * 1024
    first, rest = frame(message)
    assert len(first) < 70_000
    assert rest is not None
    assert rest.obj is message
    assert FrameReader(len(message)).feed(first + bytes(rest)) == [message]


@pytest.mark.parametrize("length", [0, 41, 0x7FFF_FFFF])
def test_a_length_that_no_message_may_have_is_refused_before_the_message_comes(length: int) -> None:
    with pytest.raises(MalformedRequest, match=f"a frame of {length} bytes"):
        FrameReader(40).feed(framed(b"x") + length.to_bytes(4, "little"))


def test_a_last_frame_of_any_length_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="a last frame"):
        FrameReader(1 << 30).feed((0x8100_0000).to_bytes(4, "little"))
