from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import MalformedRequest
from penstock.exchange.memory import Arena, SharedMemory, View

PAGE = mmap.PAGESIZE


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena(4 * PAGE)
    yield arena
    arena.close()


@pytest.fixture
def view(arena: Arena) -> Iterator[View]:
    view = View(arena.descriptor)
    arena.sent()
    yield view
    view.close()


def test_the_reader_sees_what_was_put_without_copying_it(arena: Arena, view: View) -> None:
    placed = arena.put(b"abc")
    assert placed is not None
    read = view.read(*placed)
    assert bytes(read) == b"abc"
    assert read.readonly
    arena.release(placed[0])
    assert arena.put(memoryview(b"xyz")) == placed
    assert bytes(read) == b"xyz"


def test_what_does_not_fit_is_not_taken(arena: Arena) -> None:
    assert arena.put(bytes(4 * PAGE + 1)) is None
    assert arena.put(bytes(4 * PAGE)) == (0, 4 * PAGE)
    assert arena.put(b"") is None
    assert arena.used == 4 * PAGE


def test_offsets_that_are_no_blocks_are_ignored(arena: Arena) -> None:
    arena.put(b"abc")
    for offset in (1, 64, -1, 1 << 70):
        arena.release(offset)
    assert arena.used == 64
    arena.release(0)
    arena.release(0)
    assert arena.used == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3000))))
def test_blocks_never_overlap_and_released_neighbours_become_one_hole(steps: list[tuple[bool, int]]) -> None:
    arena = Arena(4 * PAGE)
    view = View(arena.descriptor)
    blocks: dict[int, bytes] = {}
    for number, (put, value) in enumerate(steps):
        if put:
            data = bytes([number % 256]) * value
            placed = arena.put(data)
            if placed is not None:
                assert placed[1] == len(data)
                assert placed[0] % 64 == 0
                assert placed[0] not in blocks
                blocks[placed[0]] = data
        elif blocks:
            offset = sorted(blocks)[value % len(blocks)]
            arena.release(offset)
            del blocks[offset]
        assert arena.used == sum(max(-(-len(data) // 64), 1) * 64 for data in blocks.values())
    for offset, data in blocks.items():
        assert view.read(offset, len(data)) == data
        arena.release(offset)
    assert arena.put(bytes(arena.size)) == (0, arena.size)
    SharedMemory(arena, view).close()


@pytest.mark.parametrize(("offset", "size"), [(-1, 2), (0, -1), (0, 4 * PAGE + 1), (4 * PAGE, 1), (1 << 63, 1 << 63)])
def test_a_block_out_of_bounds_is_refused(view: View, offset: int, size: int) -> None:
    with pytest.raises(MalformedRequest, match="is not within"):
        view.read(offset, size)


def test_after_the_end_nothing_is_put_or_read_but_what_was_read_stays(arena: Arena, view: View) -> None:
    placed = arena.put(b"abc")
    assert placed is not None
    read = view.read(*placed)
    view.close()
    view.close()
    arena.close()
    arena.close()
    assert bytes(read) == b"abc"
    assert arena.put(b"x") is None
    arena.release(placed[0])
    for block in (placed, (0, 0)):
        with pytest.raises(MalformedRequest):
            view.read(*block)


def test_memory_that_could_be_taken_away_is_refused() -> None:
    descriptor = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, PAGE)
    with pytest.raises(OSError, match="not sealed"):
        View(descriptor)
    os.close(descriptor)


def test_a_file_that_is_no_shared_memory_is_refused() -> None:
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        View(descriptor)
    os.close(descriptor)


def test_shared_memory_keeps_its_size(arena: Arena) -> None:
    for size in (0, PAGE, 8 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.descriptor, size)
