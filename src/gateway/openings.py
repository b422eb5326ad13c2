"""Which worker is given what waits next: those with credit that are idle or about to be free. Decisions only.

Sorted lists, so that the choice costs the same with two workers and with a hundred.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from math import inf
from typing import Generic, Protocol, TypeVar

from .late_binding import Forecast


class Bookable(Protocol):
    """What must be known of a worker."""

    @property
    def forecast(self) -> Forecast:
        """Changed by others, who then call `changed`."""


W = TypeVar("W", bound=Bookable)
Place = tuple[bool, float, int]


class Openings(Generic[W]):
    """The workers of a lane, in the order in which they should be sent to."""

    def __init__(self, workers: Iterable[W] = (), now: float = 0.0) -> None:
        self._places: dict[W, tuple[list[Place], Place] | None] = dict.fromkeys(workers)
        self.alone: W | None = next(iter(self._places)) if len(self._places) == 1 else None
        """The worker, if there is one only: it may always be sent to, since nobody else will be free sooner."""
        self._tickets = count()
        self._open: list[Place] = []  # by whether a batch has been begun there, and by when a row would be done
        self._shut: list[Place] = []  # by when they open
        self._dry: list[Place] = []  # without credit, by when they will be free
        self._at: dict[int, W] = {}  # by a place's ticket
        self._idle = 0
        for worker in self._places:
            self.changed(worker, now)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[W]:
        return iter(self._places)

    def __contains__(self, worker: W) -> bool:
        return worker in self._places

    def changed(self, worker: W, now: float) -> None:
        """Its forecast is another one."""
        if self.alone is not None or worker not in self._places:
            return
        self._leave(worker)
        forecast = worker.forecast
        forecast.advance(now)
        ticket = next(self._tickets)
        if forecast.credit <= 0:
            self._enter(worker, self._dry, (False, forecast.free_at, ticket))
        elif forecast.is_closed(now):
            self._enter(worker, self._shut, (False, forecast.free_at, ticket))  # then what forms there begins
        elif forecast.opens_at > now:
            self._enter(worker, self._shut, (False, forecast.opens_at, ticket))
        else:
            # A batch that has been begun and waits for its device is filled first; else the soonest to answer is.
            begun = forecast.forming > 0 and not forecast.is_short
            self._idle += not begun
            self._enter(worker, self._open, (not begun, forecast.completion(1, now) - now, ticket))

    def _enter(self, worker: W, places: list[Place], place: Place) -> None:
        insort(places, place)
        self._places[worker] = places, place
        self._at[place[2]] = worker

    def _leave(self, worker: W) -> None:
        entry = self._places[worker]
        if entry is None:
            return
        places, place = entry
        del places[bisect_left(places, place)], self._at[place[2]]
        if places is self._open:
            self._idle -= place[0]

    def best(self, now: float, avoid: Collection[W] = ()) -> W | None:
        """The one to send to now, one that is not avoided if there is one; None: none may be sent to."""
        if self.alone is not None:
            return self.alone if self.alone.forecast.credit > 0 else None
        while self._shut and self._shut[0][1] <= now:
            self.changed(self._at[self._shut[0][2]], now)
        while self._open:
            worker = self._at[self._open[0][2]]
            forecast = worker.forecast
            if forecast.is_closed(now) or forecast.opens_at > now:
                self.changed(worker, now)  # the batch that formed there runs now
                continue
            if worker in avoid:
                return next((other for p in self._open if (other := self._at[p[2]]) not in avoid), worker)
            return worker
        return None

    @property
    def idle(self) -> int:
        """How many may be sent to and have no batch begun."""
        return self._idle

    def room(self, worker: W) -> int:
        """Rows that it should be given at once."""
        forecast = worker.forecast
        if self.alone is not None or forecast.is_short:
            return forecast.credit
        return min(forecast.credit, forecast.batch - forecast.forming)

    def opens_next(self) -> float:
        """When the next one may be sent to; infinite if only a credit can say."""
        return self._shut[0][1] if self._shut else inf

    def next_free(self, now: float) -> float:
        """When the next one will be free."""
        if self.alone is not None:
            return self.alone.forecast.free_at
        soonest = inf
        if self._open:
            soonest = self._at[self._open[0][2]].forecast.free_at
        if self._shut:
            soonest = min(soonest, self._at[self._shut[0][2]].forecast.free_at)
        if self._dry:
            soonest = min(soonest, self._dry[0][1])
        return now if soonest == inf else soonest
