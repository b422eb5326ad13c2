"""One link of a gateway: questions in, jobs to the engine, answers out, with no task and no future for any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf

from google.protobuf.message import DecodeError

from penstock.v1 import worker_pb2 as pb

from ..errors import MalformedRequest, PenstockError, QueueFull, SlowConsumer
from ..exchange.link import Link
from .job import Job
from .replies import Replies
from .session import Asked, Session
from .sessions import Sessions
from .templates import Message

_SLOW_BYTES = 4 * 1024 * 1024
"""Of answers that wait for the gateway to read: above, it gets no credits."""


class ServedStream:
    """The handler of a link. The first message must say hello.

    Args:
        link: to the gateway.
        sessions: of this worker.
        most_unsent: bytes of answers that may wait for the gateway to read; above, the link is closed.
    """

    def __init__(self, link: Link, sessions: Sessions, most_unsent: int = 256 * 1024 * 1024) -> None:
        self._link = link
        self._sessions = sessions
        self._intake, self._engine = sessions.intake, sessions.engine
        self._loop = asyncio.get_running_loop()
        self._replies = Replies(link)
        self._session: Session | None = None
        self._number = 0
        self._most_unsent = most_unsent

    def on_message(self, message: bytes) -> None:
        """See LinkHandler. Closes the link by raising if it is not a message that may come now."""
        try:
            request = pb.ExchangeRequest.FromString(message)
        except DecodeError:
            raise MalformedRequest("the message is not an ExchangeRequest") from None
        session = self._session
        if session is None:
            session = self._open(request)
        elif request.HasField("hello"):
            raise MalformedRequest("only the first message of a stream says hello")
        wishes = request.HasField("waiting_rows")
        if wishes:
            session.account.waiting = request.waiting_rows
            session.binds_late = True
        self._ask(session, request.questions)
        if request.cancels:
            self._cancel(session, request.cancels)
        if request.released and self._link.memory is not None:
            for offset in request.released:
                self._link.memory.mine.release(offset)
        if wishes or request.cancels or session.talks:  # what is asked takes as much room as it uses credit
            self._sessions.share()

    def on_writable(self) -> None:
        """See LinkHandler."""
        self._replies.on_writable()
        self._sessions.heard()
        if self._session is not None and self._session.withheld:
            self._sessions.share()

    def on_closed(self, error: Exception | None) -> None:
        """See LinkHandler."""
        self._replies.stop()
        if self._session is not None:
            self._sessions.leave(self._session, self._number, self)

    def _open(self, request: pb.ExchangeRequest) -> Session:
        if not request.HasField("hello"):
            raise MalformedRequest("the first message of a stream must say hello")
        hello = request.hello
        self._number = hello.stream
        session, begun = self._sessions.open(hello, self)
        self._session = session
        if self._number == 0:
            most = self._engine.policy.max_batch_size
            welcome = pb.ExchangeWelcome(max_batch_size=most, started=begun)
            self._replies.welcome(welcome, draining=self._sessions.draining)
            self._sessions.grant_first(session)
        return session

    def _ask(self, session: Session, questions: Iterable[pb.ExchangeQuestion]) -> None:
        if self.unsent_bytes > self._most_unsent:
            raise SlowConsumer(f"{self.unsent_bytes} bytes of answers were not read; read faster, or ask for less")
        now = self._loop.time()
        for question in questions:
            if question.id in session.disowned:
                continue
            try:
                self._submit(session, question, now)
            except Exception as error:
                session.talks = True
                self._replies.refuse(question, error)

    def _submit(self, session: Session, question: pb.ExchangeQuestion, now: float) -> None:
        account = session.account
        surplus = account.overdrawn and session.binds_late
        account.unused -= max(question.rows, 1)
        if surplus:
            raise QueueFull("more rows were sent than this worker has granted")
        id_, timeout = question.id, question.timeout_us
        if id_ in session.asked:
            raise MalformedRequest(f"question {id_} waits already")
        asked = self._intake.job(
            Asked,
            self._block(question.block) if question.HasField("block") else question.request,
            now + timeout * 1e-6 if timeout else inf,
            priority=question.priority,
            suspect=question.suspect,
            arrived=now,
        )
        asked.on_settled = self._settled
        asked.id, asked.stream = id_, self
        asked.request_id, asked.timings = question.request_id, question.timings
        asked.block = None
        self._engine.submit(asked)
        session.asked[id_] = asked
        if question.HasField("block"):
            asked.block = question.block.offset
            if not asked.inputs:  # its rows have been copied
                self._replies.release(asked)

    def _block(self, block: pb.SharedBlock) -> Message:
        if self._link.memory is None:
            raise MalformedRequest("the request is said to be in shared memory, and this link has none")
        return self._link.memory.theirs.read(block.offset, block.size)

    def _cancel(self, session: Session, ids: Iterable[int]) -> None:
        for id_ in ids:
            asked = session.asked.pop(id_, None)
            if asked is not None:
                self._engine.cancel(asked)
                asked.stream.release(asked)

    def _settled(self, job: Job) -> None:
        """There is an outcome: into the message with it."""
        session = self._session
        assert isinstance(job, Asked)
        assert session is not None
        del session.asked[job.id]
        session.talks = True
        if job.started:
            session.note_begun(job.id)
        self._replies.answer(job)

    @property
    def unsent_bytes(self) -> int:
        """See Stream."""
        return self._replies.unsent_bytes

    @property
    def is_slow(self) -> bool:
        """See Stream."""
        return not self._link.writable and self._replies.unsent_bytes > _SLOW_BYTES

    def release(self, asked: Asked) -> None:
        """See Stream."""
        self._replies.release(asked)

    def grant(self, rows: int, load: pb.ExchangeLoad) -> None:
        """See Stream."""
        self._replies.grant(rows, load)

    def say_draining(self) -> None:
        """See Stream."""
        self._replies.say_draining()

    def end(self, error: PenstockError | None = None) -> None:
        """See Stream."""
        self._link.close(error)
