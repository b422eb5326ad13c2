from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.worker.compiled.cache import CompiledCache

KEY, OTHER = "ab" * 32, "cd" * 32


class Maker:
    """Counts how often it is asked."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.made = 0

    def __call__(self, folder: Path) -> None:
        self.made += 1
        (folder / "inside").mkdir()
        (folder / "inside" / "model.so").write_bytes(bytes(self.size))


@pytest.fixture
def cache(tmp_path: Path) -> CompiledCache:
    return CompiledCache(tmp_path / "compiled", 1000)


def test_a_package_is_made_once(cache: CompiledCache) -> None:
    make = Maker()
    places = {cache.get(KEY, make) for _ in range(3)}
    assert make.made == 1
    assert [(place / "inside" / "model.so").stat().st_size for place in places] == [10]


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: (place / "inside" / "model.so").write_bytes(b"other"),
        lambda place: (place / "inside" / "model.so").unlink(),
        lambda place: (place / "more.so").write_bytes(b""),
        lambda place: (place / "sums.json").write_text("{"),
        lambda place: (place / "sums.json").unlink(),
    ],
)
def test_a_package_that_is_not_what_was_made_is_made_again(
    cache: CompiledCache, harm: Callable[[Path], object]
) -> None:
    make = Maker()
    harm(cache.get(KEY, make))
    place = cache.get(KEY, make)
    assert make.made == 2
    assert (place / "inside" / "model.so").read_bytes() == bytes(10)


def test_what_fails_leaves_nothing_and_may_be_tried_again(cache: CompiledCache, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"half")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cache.get(KEY, fail)
    assert [path.name for path in (tmp_path / "compiled").iterdir()] == ["ab.lock"]
    assert cache.get(KEY, Maker()).is_dir()


def test_two_workers_do_not_both_make_a_package(cache: CompiledCache) -> None:
    begun, go, make = threading.Event(), threading.Event(), Maker()

    def slow(folder: Path) -> None:
        begun.set()
        go.wait()
        make(folder)

    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(cache.get(KEY, slow))) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert make.made == 1
    assert len(set(places)) == 1


def test_the_least_recently_used_package_goes_when_there_is_too_much(cache: CompiledCache, tmp_path: Path) -> None:
    first, second = cache.get(KEY, Maker()), cache.get(OTHER, Maker(0))
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    third = cache.get("ef" * 32, Maker(750))
    assert [place.is_dir() for place in (first, second, third)] == [False, True, True]


def test_what_a_dead_worker_left_half_made_goes_and_what_is_being_made_stays(
    cache: CompiledCache, tmp_path: Path
) -> None:
    dead, alive = (tmp_path / "compiled" / f"{key}.making" for key in (KEY, OTHER))
    dead.mkdir(parents=True)
    alive.mkdir()
    with (tmp_path / "compiled" / "cd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.get("ef" * 32, Maker())
        assert (dead.exists(), alive.exists()) == (False, True)
