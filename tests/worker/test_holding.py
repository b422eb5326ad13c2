from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.worker.holding import Hold, remove_unused
from penstock.worker.retention import Cached, given_up

HOUR = 3600.0
CACHED = [Cached("a", "1", 10, 0.0), Cached("a", "2", 20, HOUR), Cached("b", "1", 30, 2 * HOUR)]


@pytest.mark.parametrize(
    ("now", "keep_s", "most_bytes", "gone"),
    [
        (2 * HOUR, 10 * HOUR, 60, []),
        (2 * HOUR, 10 * HOUR, 59, ["a1"]),
        (2 * HOUR, 10 * HOUR, 30, ["a2", "a1"]),
        (2 * HOUR, 10 * HOUR, 0, ["b1", "a2", "a1"]),
        (2 * HOUR, HOUR, 60, ["a1"]),
    ],
)
def test_the_longest_unused_go_first(now: float, keep_s: float, most_bytes: int, gone: list[str]) -> None:
    assert [one.name + one.version for one in given_up(CACHED, now, keep_s, most_bytes)] == gone


def put(cache: Path, name: str, version: str) -> Path:
    """A version's files, as a worker left them."""
    folder = cache / name / version
    (folder / "sub").mkdir(mode=0o700, parents=True)
    (folder / "sub" / "weights").write_bytes(b"12345")
    (folder / "sub" / "weights").chmod(0o400)
    return folder


def test_what_a_worker_holds_stays_and_what_it_let_go_of_goes(tmp_path: Path) -> None:
    held, other = put(tmp_path, "digits", "1"), put(tmp_path, "digits", "2")
    hold = Hold(tmp_path, "digits", "1")
    assert [one.version for one in remove_unused(tmp_path, 1e9, 0)] == ["2"]
    assert (held.exists(), other.exists()) == (True, False)
    hold.close()
    assert [one.size for one in remove_unused(tmp_path, 1e9, 0)] == [5]
    assert not held.exists()


def test_a_worker_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    put(tmp_path, "digits", "1")
    code = "import sys, pathlib; from penstock.worker.holding import Hold; "
    code += "h = Hold(pathlib.Path(sys.argv[1]), 'digits', '1'); print(flush=True); input()"
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert remove_unused(tmp_path, 1e9, 0) == []
        worker.kill()
    assert len(remove_unused(tmp_path, 1e9, 0)) == 1


def test_who_waited_for_a_removal_begins_with_a_new_folder(tmp_path: Path) -> None:
    """Whoever comes between them, a hold is of the folder that the name means."""
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            remove_unused(tmp_path, 1e9, -1)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for _ in range(200):
            hold = Hold(tmp_path, "digits", "1")
            (tmp_path / "digits" / "1" / "weights").write_bytes(b"x")
            hold.close()
    finally:
        stop.set()
        thread.join()


def test_neither_a_link_nor_what_is_no_version_is_followed_or_removed(tmp_path: Path) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    put(outside, "x", "1")
    (cache / "digits").mkdir(parents=True)
    (cache / "digits" / "1").symlink_to(outside / "x" / "1")
    (cache / "linked").symlink_to(outside / "x")
    put(cache, ".compiled", "1")
    remove_unused(cache, 1e9, -1)
    assert (outside / "x" / "1" / "sub" / "weights").exists()
    assert (cache / ".compiled" / "1").exists()


def test_what_is_made_of_a_version_stays_and_goes_with_it(tmp_path: Path) -> None:
    put(tmp_path, "digits", "1")
    unpacked, other = put(tmp_path, "digits", "1.unpacked"), put(tmp_path, "digits", "11")
    hold = Hold(tmp_path, "digits", "1")
    Hold(tmp_path, "digits", "11").close()
    assert [one.version for one in remove_unused(tmp_path, 1e9, 9)] == []  # 5 of 11 and, held, 10 of 1
    assert unpacked.exists()
    hold.close()
    assert [(one.version, one.size) for one in remove_unused(tmp_path, 1e9, 9)] == [("1", 10)]
    assert (unpacked.exists(), other.exists()) == (False, True)


def test_a_hold_says_that_the_version_was_used(tmp_path: Path) -> None:
    folder = put(tmp_path, "digits", "1")
    os.utime(folder, (0, 0))
    Hold(tmp_path, "digits", "1").close()
    assert remove_unused(tmp_path, HOUR, 1000) == []
    os.utime(folder, (0, 0))
    assert len(remove_unused(tmp_path, HOUR, 1000)) == 1
