"""The concern that notes every call, and the thread that writes the notes as JSON lines.

The call's own path only appends a tuple to a bounded queue; a full queue (a disk that hangs) costs lines, which are
counted, never time.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from ..errors import PenstockError
from .call import Call

_CAPACITY = 10_000
_INTERVAL = 0.1
"""Seconds that a line waits at most."""
_BATCH = 64
"""Lines made at once, so that the event loop never waits for the thread longer than about half a millisecond."""
_FILE_BYTES = 64 * 1024 * 1024

Note = tuple[Call, float, float, str, str]


class AccessLog:
    """One JSON line per call: time, request id, method, peer, principal, code, reason, milliseconds, the call's facts.

    Use it as a concern. Lines go to `path` (rotated at 64 MiB, one old file kept) or to a stream, in batches.
    """

    def __init__(self, path: Path | None = None, stream: TextIO | None = None) -> None:
        self.dropped = 0
        self._stream = stream or RotatingFile(path or Path("access.jsonl"))
        self._owned = stream is None
        self._notes: deque[Note] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        """Note the call when it ends."""
        return _Noted(call, self.put)

    def put(self, note: Note) -> None:
        """Queue a line, if there is room. The thread is not woken: a switch of threads costs more than the line."""
        if len(self._notes) < _CAPACITY:
            self._notes.append(note)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and end; calls noted later are lost."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _write(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._drain()
        self._drain()
        if self._owned:
            self._stream.close()

    def _drain(self) -> None:
        while self._notes:
            notes = [self._notes.popleft() for _ in range(min(len(self._notes), _BATCH))]
            try:
                self._stream.write("".join(_line(*note) for note in notes))
                self._stream.flush()
            except OSError:  # a full disk costs lines, and may be mended
                self.dropped += len(notes)


class _Noted(AbstractContextManager[None]):
    """One call's time in hand; a class and not a generator, since every call makes one."""

    __slots__ = ("_began", "_call", "_clock", "_put")

    def __init__(self, call: Call, put: Callable[[Note], None]) -> None:
        self._call, self._put = call, put

    def __enter__(self) -> None:
        self._began, self._clock = time.time(), time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        code, reason = "OK", ""
        if isinstance(error, PenstockError):
            code, reason = error.code.name, error.reason
        elif error is not None:
            code = "CANCELLED" if self._call.cancelled else "UNKNOWN"
        self._put((self._call, self._began, time.perf_counter() - self._clock, code, reason))


def _line(call: Call, began: float, seconds: float, code: str, reason: str) -> str:
    """Put together by hand: json.dumps of a dictionary takes five times as long, and every call has a line."""
    facts = "".join([f", {_text(key)}: {_value(value)}" for key, value in call.facts.items()])
    return (
        f'{{"time": "{_second(int(began))}.{int(began % 1 * 1000):03d}Z", "request_id": {_text(call.request_id)}, '
        f'"method": {_text(call.method)}, "peer": {_text(call.peer)}, "principal": {_text(call.principal.name)}, '
        f'"code": "{code}", "reason": "{reason}", "ms": {seconds * 1000:.3f}{facts}}}\n'
    )


_text = json.encoder.encode_basestring_ascii


def _value(value: object) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value)


@lru_cache(2)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


class RotatingFile:
    """A text file that starts anew at 64 MiB; the last one is kept under the name with `.1`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, text: str) -> None:
        """Append; rotate first if it would grow too large."""
        if self._file.tell() + len(text) > _FILE_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(text)

    def flush(self) -> None:
        """Hand the text to the system."""
        self._file.flush()

    def close(self) -> None:
        """Nothing can be written any more."""
        self._file.close()
