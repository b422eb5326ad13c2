"""All gateways that exchange with this worker: who they are, who may send how much, who comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from penstock.v1 import worker_pb2 as pb

from ..errors import MalformedRequest, WorkerLost
from .credits import Account, changes, is_worth_a_message, reserve
from .engine import Engine
from .fence import Fence
from .intake import Intake
from .session import Session, Stream

_MOST_GONE, _REMEMBERED_S = 64, 30.0
_MOST_STREAMS = 16


class Sessions:
    """Belongs to the event loop. Takes the engine's `on_room`.

    Args:
        intake: reads the requests.
        engine: answers them.
        fence: who means this worker.
    """

    def __init__(self, intake: Intake, engine: Engine, fence: Fence) -> None:
        self.intake = intake
        self.engine = engine
        self.draining = False
        self._fence = fence
        self._batch = engine.policy.max_batch_size
        self._sessions: dict[int, Session] = {}
        self._sharing: list[Session] = []
        self._accounts: list[Account] = []
        self._turns = 0
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        engine.on_room = self.share

    def open(self, hello: pb.ExchangeHello, stream: Stream) -> tuple[Session, list[int]]:
        """A gateway opens a stream, perhaps after an earlier one broke.

        Returns:
            Its session, and which of the questions that it misses answers to have been run. The others never will be.

        Raises:
            LeaseFenced: it means another worker.
            MalformedRequest: it has too many streams.
        """
        self._fence.check(str(hello.epoch))
        if not 0 <= hello.stream < _MOST_STREAMS:
            raise MalformedRequest(f"stream {hello.stream} is none of the {_MOST_STREAMS} that a session may have")
        self._forget()
        session = self._sessions.setdefault(hello.session, Session())
        before = session.streams.get(hello.stream)
        if before is not None:  # it heard of the end before we did
            self.leave(session, hello.stream, before)
            before.end(WorkerLost("the same gateway has opened a newer stream"))
        if hello.unanswered:
            self._drop(session, hello.unanswered)
            session.disowned = frozenset(hello.unanswered)
        session.streams[hello.stream] = stream
        self._know_who_shares()
        return session, session.begun(hello.unanswered)

    def leave(self, session: Session, number: int, stream: Stream) -> None:
        """A stream has ended: nobody would hear the answers. The second time it does nothing."""
        self._heard.set()
        if session.streams.get(number) is not stream:
            return
        del session.streams[number]
        self._drop(session, session.of(stream))
        if number == 0:
            # The gateway, too, begins anew, but what it has sent over other streams may still be on its way.
            session.account = Account(slack=2 * self._batch)
        if not session.streams:
            session.gone_at = self._loop.time()
        self._know_who_shares()
        self.share()

    def _know_who_shares(self) -> None:
        self._sharing = [session for session in self._sessions.values() if 0 in session.streams]
        self._accounts = [session.account for session in self._sharing]

    def share(self) -> None:
        """Share out the room that there is. Called when there may be more of it, or other wishes."""
        if not self._sharing or self.draining:
            return
        batch = self._batch
        room = self.engine.room(self._loop.time())
        load: pb.ExchangeLoad | None = None
        for session, change in zip(self._sharing, changes(room, batch, self._accounts), strict=True):
            if change > 0 or session.withheld:
                session.withheld = change > 0 and any(stream.is_slow for stream in session.streams.values())
                change = 0 if session.withheld else change
            if session.talks or (change and is_worth_a_message(change, session.account.unused, batch)):
                session.talks = False
                load = load or self._load()
                self._grant(session, change, load)

    def grant_first(self, session: Session) -> None:
        """What a gateway gets with its welcome: enough for a lone request, however busy the worker is."""
        self.share()
        missing = reserve(self._batch, len(self._sharing)) - session.account.unused
        if missing > 0 and not self.draining:
            self._grant(session, missing, self._load())

    def _grant(self, session: Session, change: int, load: pb.ExchangeLoad) -> None:
        account = session.account
        if change:
            self._turns += 1
            account.unused += change
            account.turn = self._turns
        if change < 0:
            account.slack = 2 * self._batch  # what it sends until it has heard of this is no fault of its own
        session.streams[0].grant(change, load)

    def _load(self) -> pb.ExchangeLoad:
        load = self.engine.load()
        return pb.ExchangeLoad(
            free_us=_us(load.free_s), one_us=_us(load.one_s), full_us=_us(load.full_s), waiting_rows=load.waiting_rows
        )

    def drain(self) -> None:
        """Tell every gateway that nothing new is wanted."""
        self.draining = True
        for stream in self._streams():
            stream.say_draining()

    async def finished(self) -> None:
        """Wait until every answer has been given to a carrier."""
        await asyncio.sleep(0)  # what was answered in this turn of the loop leaves in the next one
        while any(stream.unsent_bytes for stream in self._streams()):
            self._heard.clear()
            await self._heard.wait()

    def end(self) -> None:
        """End all streams; what the carriers have been given still leaves."""
        for stream in list(self._streams()):
            stream.end()

    def heard(self) -> None:
        """A gateway has read something."""
        self._heard.set()

    def _streams(self) -> Iterator[Stream]:
        return (stream for session in self._sessions.values() for stream in session.streams.values())

    def _drop(self, session: Session, ids: Iterable[int]) -> None:
        for asked in session.take(ids):
            self.engine.cancel(asked)
            asked.stream.release(asked)

    def _forget(self) -> None:
        """Sessions that have been gone for long, and the oldest of too many."""
        gone = sorted((session.gone_at, id_) for id_, session in self._sessions.items() if not session.streams)
        limit = self._loop.time() - _REMEMBERED_S
        for left, (gone_at, id_) in zip(range(len(gone), 0, -1), gone, strict=True):
            if gone_at <= limit or left > _MOST_GONE:
                del self._sessions[id_]


def _us(seconds: float) -> int:
    return max(round(seconds * 1e6), 0)
