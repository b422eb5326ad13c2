"""One worker as the gateway's balancer sees it: whether it is there, and what becomes of its questions if it is not."""

from __future__ import annotations

from collections.abc import Callable

from penstock.v1 import worker_pb2 as pb

from ..errors import WorkerLost
from ..exchange.pace import Pace
from .asking import Asking
from .connection import Connection, User
from .endpoint import Endpoint
from .exchanged import Owner

_CLOSE_TIMEOUT = 30.0


class Subchannel(Asking):
    """One worker. Owned by the balancer, which closes it.

    Args:
        endpoint: the worker.
        owner: hears of credit and failures.
        on_change: called when `ready` or `draining` has changed.
        carrier: `auto`, `unix` or `grpc`.
        make_connection: connects to it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        owner: Owner,
        on_change: Callable[[], None],
        carrier: str = "auto",
        make_connection: Callable[[Endpoint, str, User], Connection] = Connection,
    ) -> None:
        self.ready = False
        self.pace = Pace()
        self._on_change = on_change
        self._says_draining = False
        super().__init__(endpoint, owner, make_connection(endpoint, carrier, self), self._silent, self.pace)

    @property
    def draining(self) -> bool:
        """It still answers, but nothing new should be sent while there is another."""
        return self.endpoint.draining or self._says_draining

    @property
    def carrier(self) -> str:
        """How it is reached: `unix+shm`, `unix`, `grpc`; empty: it is not."""
        return self._connection.carrier if self.ready else ""

    def hello(self, stream: int) -> pb.ExchangeHello:
        """See connection.User."""
        return self._session.hello(stream)

    def received(self, response: pb.ExchangeResponse) -> bool:
        """See connection.User."""
        now = self._watchdog.heard = self._loop.time()
        welcome = response.HasField("welcome")
        if welcome:
            self._welcome(response.welcome)
        first = self.forecast.first
        for answer in response.answers:
            if answer.id == first:
                self.forecast.answered(now)
            self._answer(answer)
        if response.answers and (box := self._connection.small) is not None:
            box.release()
        if response.released and (memory := self._connection.memory) is not None:
            for offset in response.released:
                memory.mine.release(offset)
        forecast = self.forecast
        forecast.credit += response.credits
        if response.HasField("load"):
            load = response.load
            forecast.reported(now, load.free_us / 1e6, load.one_us / 1e6, load.full_us / 1e6, load.waiting_rows)
        if welcome or (response.draining and not self._says_draining):
            self._says_draining = response.draining
            self.ready = True
            self._on_change()
        else:
            self._owner.changed(self)
        return welcome

    def _welcome(self, welcome: pb.ExchangeWelcome) -> None:
        """The worker knows which of the old questions it had begun; the others are as if they had not been sent."""
        self.forecast.batch = max(welcome.max_batch_size, 1)
        self.forecast.credit = -self._session.rows_apart  # what these give back is not of the new credit
        self._told = 0
        returned, begun = self._session.resumed(welcome)
        self._owner.returned(self, returned)
        for question in begun:
            error = WorkerLost("the connection to the worker broke while it held the request")
            self._owner.failed(self, question, error)

    def down(self) -> None:
        """See connection.User."""
        self.ready = False
        self._on_change()

    def lost(self) -> None:
        """See connection.User."""
        if self.ready:
            self.down()  # first: what it had must not be sent to it again
        self._single.give_up()
        gone = self._session.lost()
        if gone:
            self._owner.died(self, gone)

    def _silent(self) -> None:
        """A model may take long, but a worker that does not even take a connection is given up."""
        if self.ready and self._connection.channel_ready:
            self._connection.probe(self._probed)
        elif self.ready:
            self._give_up()

    def _probed(self, lives: bool) -> None:
        if lives:
            self._watchdog.heard = self._loop.time()
        elif self.ready:
            self._give_up()

    def _give_up(self) -> None:
        self._connection.give_up()
        self.lost()

    async def close(self) -> None:
        """End the connection once what is in flight is answered."""
        await self._session.finished(_CLOSE_TIMEOUT)
        await self._connection.close(_CLOSE_TIMEOUT)
        self.ready = False
        self.lost()
        self._watchdog.stop()

    def __repr__(self) -> str:
        endpoint = self.endpoint
        state = f"ready over {self.carrier}" if self.ready else "connecting"
        return f"<Subchannel {endpoint.worker_id} epoch {endpoint.epoch} {state}, {self.in_flight} in flight>"
