"""The concern that notes every call, and the thread that writes the notes as JSON lines.

The call's own path only puts a tuple into a bounded queue; a full queue (a disk that hangs) costs lines, which are
counted, never time.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

from ..errors import PenstockError
from .call import Call

_CAPACITY = 10_000
_FILE_BYTES = 64 * 1024 * 1024

Note = tuple[Call, float, float, str, str]


class AccessLog:
    """One JSON line per call: time, request id, method, peer, principal, code, reason, milliseconds, the call's facts.

    Use it as a concern. Lines go to `path` (rotated at 64 MiB, one old file kept) or to a stream, in batches.
    """

    def __init__(self, path: Path | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or RotatingFile(path or Path("access.jsonl"))
        self._queue: queue.Queue[Note | None] = queue.Queue(_CAPACITY)
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()
        self.dropped = 0

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        """Note the call when it ends."""
        return self._noted(call)

    @contextmanager
    def _noted(self, call: Call) -> Iterator[None]:
        began, clock = time.time(), time.perf_counter()
        code, reason = "OK", ""
        try:
            yield
        except PenstockError as error:
            code, reason = error.code.name, error.reason
            raise
        except BaseException:
            code = "CANCELLED" if call.cancelled else "UNKNOWN"
            raise
        finally:
            self._put((call, began, time.perf_counter() - clock, code, reason))

    def _put(self, note: Note) -> None:
        try:
            self._queue.put_nowait(note)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and end; calls noted later are lost."""
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _write(self) -> None:
        for lines in iter(self._lines, None):
            self._stream.write("".join(lines))
            self._stream.flush()

    def _lines(self) -> list[str] | None:
        """What is queued now, at least one line; None at the end."""
        notes = [self._queue.get()]
        while not self._queue.empty() and len(notes) < 1000:
            notes.append(self._queue.get_nowait())
        lines = [_line(*note) for note in notes if note is not None]
        if None in notes:
            self._queue.put(None)
        return lines or None


def _line(call: Call, began: float, seconds: float, code: str, reason: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began)) + f".{int(began % 1 * 1000):03d}Z"
    fields: dict[str, object] = {
        "time": stamp,
        "request_id": call.request_id,
        "method": call.method,
        "peer": call.peer,
        "principal": call.principal.name,
        "code": code,
        "reason": reason,
        "ms": round(seconds * 1000, 3),
    }
    return json.dumps(fields | call.facts) + "\n"


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
