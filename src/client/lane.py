"""A PredictStream of the blocking client: questions go out as they are asked, a thread takes the answers."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from threading import Thread
from time import monotonic
from typing import Any

import grpc

from penstock.v1 import predict_pb2 as pb

from ..errors import PenstockError, Unavailable
from .connection import ENDED_EARLY, FAREWELL_S, broken
from .request import Question
from .unsent import MAX_QUESTIONS, Unsent
from .window import Asked, Window

Open = Callable[[Iterator[bytes]], Any]
_Entry = tuple[str, float, bytes]  # what `Unsent.add` takes
_Answer = pb.PredictStreamResponse | PenstockError


class _Stream:
    """One RPC. Broken for good once `answers` gave an error."""

    def __init__(self, open_call: Open) -> None:
        self.asked: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._call = open_call(self._messages())
        self._reader = Thread(target=self._read, name="penstock-answers", daemon=True)
        self._reader.start()

    def _messages(self) -> Iterator[bytes]:
        """In grpc's own thread, which comes for the next one when one is written: what was asked meanwhile is in it."""
        unsent = Unsent()
        for entry in iter(self.asked.get, None):
            unsent.add(*entry)
            while unsent and (self.asked.empty() or len(unsent) >= MAX_QUESTIONS):
                if message := unsent.take(monotonic()):
                    yield message

    def _read(self) -> None:
        try:
            for answer in self._call:
                self.answers.put(answer)
        except grpc.RpcError as error:
            self.answers.put(broken(error))
        else:
            self.answers.put(Unavailable(ENDED_EARLY, retry_after=0.0))

    def close(self, patience: float) -> None:
        self.asked.put(None)  # ends grpc's own thread, which waits for messages
        self._reader.join(patience)
        self._call.cancel()
        self._reader.join()


class Lane:
    """Sends the questions of a window and notes their answers; opens a new stream when one is broken.

    Used from one thread, which also closes it.
    """

    def __init__(self, open_call: Open, window: Window) -> None:
        self._open = open_call
        self._window = window
        self._streams: list[_Stream] = []  # none or one

    def send(self, question: Question | PenstockError) -> None:
        """Ask; does not wait. A question that could not be made comes as the error."""
        if isinstance(question, PenstockError):
            self._window.refuse(question, monotonic())
            return
        self._take(block=False)
        if not self._streams:
            self._streams.append(_Stream(self._open))
        asked = self._window.add(question, monotonic())
        self._streams[0].asked.put((asked.request_id, asked.deadline, question.body))

    def next(self, block: bool) -> Asked | None:
        """The next in line with its outcome; None if there is none, or (without `block`) if it is not known yet."""
        while len(self._window):
            self._take(block=False)
            done = self._window.pop(monotonic())
            if done is not None or not block:
                return done
            self._take(block=True)
        return None

    def _take(self, block: bool) -> None:
        """Note all answers that are there; with `block`, wait for the first, no longer than someone in line can."""
        if not self._streams:
            return
        answers = self._streams[0].answers
        try:
            answer = answers.get(block, self._window.patience(monotonic()) if block else None)
            while not isinstance(answer, PenstockError):
                self._window.settle(answer)
                answer = answers.get_nowait()
        except queue.Empty:
            return
        self._window.fail(answer)
        self._streams.pop().close(0.0)

    def close(self) -> None:
        """End the stream: in peace if all is answered, else at once."""
        for stream in self._streams:
            stream.close(0.0 if len(self._window) else FAREWELL_S)
        self._streams.clear()
