from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest

from penstock import errors
from penstock.rpc import access_log
from penstock.rpc.access_log import AccessLog, RotatingFile
from penstock.rpc.call import Call, new_call


def call(request_id: str = "r1") -> Call:
    return new_call("/s/M", [("x-request-id", request_id), ("authorization", "Bearer secret")])


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_call_is_a_line() -> None:
    stream = io.StringIO()
    log = AccessLog(stream=stream)
    noted = call()
    with log(noted):
        noted.facts["model"] = "digits"
    log.close()
    (line,) = lines(stream)
    assert line.keys() == {"time", "request_id", "method", "peer", "principal", "code", "reason", "ms", "model"}
    assert (line["request_id"], line["code"], line["model"]) == ("r1", "OK", "digits")
    assert "secret" not in stream.getvalue()


@pytest.mark.parametrize(
    ("error", "cancelled", "code", "reason"),
    [
        (errors.QueueFull("full"), False, "RESOURCE_EXHAUSTED", "QUEUE_FULL"),
        (KeyboardInterrupt(), True, "CANCELLED", ""),
        (KeyboardInterrupt(), False, "UNKNOWN", ""),
    ],
)
def test_a_failure_has_its_code_and_reason(error: BaseException, cancelled: bool, code: str, reason: str) -> None:
    stream = io.StringIO()
    log = AccessLog(stream=stream)
    noted = call()
    noted.cancelled = cancelled
    with pytest.raises(type(error)), log(noted):
        raise error
    log.close()
    (line,) = lines(stream)
    assert (line["code"], line["reason"]) == (code, reason)


def test_nothing_in_a_call_can_break_out_of_its_line() -> None:
    stream = io.StringIO()
    log = AccessLog(stream=stream)
    with log(new_call('/s/M"}\n{"code": "OK', [("x-request-id", '"\n')])):
        pass
    log.close()
    assert len(lines(stream)) == 1


class Hung(io.StringIO):
    """A disk that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.free.wait(10)
        return super().write(text)


def test_a_disk_that_hangs_costs_lines_and_not_calls() -> None:
    stream = Hung()
    log = AccessLog(stream=stream)
    with log(call("first")):
        pass
    assert stream.reached.wait(10)
    for number in range(access_log._CAPACITY + 5):
        with log(call(str(number))):
            pass
    assert log.dropped == 5
    stream.free.set()
    log.close()
    assert len(lines(stream)) == access_log._CAPACITY + 1


class Full(io.StringIO):
    """A disk that is full for a moment."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            self.full = False
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_costs_lines_until_there_is_room() -> None:
    stream = Full()
    log = AccessLog(stream=stream)
    for number in range(access_log._BATCH + 1):
        log.put((call(str(number)), 0.0, 0.0, "OK", ""))
    log.close()
    assert log.dropped > 0
    assert len(lines(stream)) == access_log._BATCH + 1 - log.dropped


def test_a_file_is_begun_anew_before_it_grows_too_large(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "access.jsonl"
    file = RotatingFile(path)
    half = "x" * (access_log._FILE_BYTES // 2) + "\n"
    file.write(half)
    file.write(half)
    file.write("last\n")
    file.close()
    assert path.with_name("access.jsonl.1").stat().st_size == len(half)
    assert path.read_text() == half + "last\n"


def test_a_file_is_continued_after_a_restart(tmp_path: Path) -> None:
    for request_id in ("one", "two"):
        log = AccessLog(tmp_path / "access.jsonl")
        with log(call(request_id)):
            pass
        log.close()
    text = (tmp_path / "access.jsonl").read_text()
    assert [json.loads(line)["request_id"] for line in text.splitlines()] == ["one", "two"]
