"""What the awaiting client can say about models: their status, now or as it changes, and their signatures."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from penstock.v1 import model_status_pb2 as pb

from ..errors import DeadlineExceeded, PenstockError, Unavailable
from .aio_caller import AsyncCaller
from .retry import Attempts
from .status import (
    Metadata,
    ModelStatus,
    StatusChange,
    VersionStatus,
    available,
    model_metadata,
    model_status,
    status_change,
)
from .wire import model_spec


class AsyncStatusCaller(AsyncCaller):
    """The methods of a client that ask ModelStatusService."""

    async def status(self, name: str | None = None, *, timeout: float | None = None) -> list[ModelStatus]:
        """The models that the caller may use, by name.

        Args:
            name: only this one.
            timeout: seconds for each request; None: the client's own.

        Raises:
            ModelNotFound: there is no model of that name.
        """
        if name is not None:
            answer = await self._ask(
                self._statuses.GetModelStatus, pb.GetModelStatusRequest(model_spec=model_spec(name)), timeout
            )
            return [model_status(answer.model)]
        found: list[ModelStatus] = []
        page_token = ""
        while True:
            page = await self._ask(self._statuses.ListModels, pb.ListModelsRequest(page_token=page_token), timeout)
            found.extend(map(model_status, page.models))
            page_token = page.next_page_token
            if not page_token:
                return found

    async def metadata(
        self, name: str, *, version: int | None = None, alias: str | None = None, timeout: float | None = None
    ) -> Metadata:
        """What a version takes and gives, and what was published.

        Args:
            name: the model.
            version: which one; with neither version nor alias, what the alias `stable` means.
            alias: which one.
            timeout: seconds; None: the client's own.

        Raises:
            ValueError: version and alias are both given, or an element type is newer than this release.
            NotFound: there is no such model, version or alias.
        """
        asked = pb.GetModelMetadataRequest(model_spec=model_spec(name, version, alias))
        return model_metadata(await self._ask(self._statuses.GetModelMetadata, asked, timeout))

    def watch_status(self, name: str = "", *, timeout: float | None = None) -> AsyncGenerator[StatusChange, None]:
        """What there is, and then every change of it, without end.

        Args:
            name: the model; empty: all that the caller may use.
            timeout: seconds until DEADLINE_EXCEEDED; None: never, whatever the client's own is.

        Returns:
            An iterator that waits for the next change. Closing it ends the watch.

        Raises:
            Unavailable: the server went away; a new watch begins with all that there is.
        """
        return self._watch(name, math.inf if timeout is None else time.monotonic() + timeout)

    async def wait_until_available(self, name: str, version: int | None = None, timeout: float = 60.0) -> VersionStatus:
        """Wait until a version answers; also for a server that is not there yet, or a model not yet published.

        Args:
            name: the model.
            version: which one; None: what the alias `stable` means.
            timeout: seconds.

        Raises:
            ModelLoadFailed: it was tried, and given up; the message has the reason.
            DeadlineExceeded: the time is over.
        """
        deadline = time.monotonic() + timeout
        attempts = Attempts(math.inf, deadline, self._own.random)
        while True:
            try:
                found = await self._first_available(name, version, deadline)
                if found is not None:
                    return found
                error: PenstockError = Unavailable("the server ended the watch")
            except (Unavailable, DeadlineExceeded) as failed:
                error = failed
            delay = attempts.delay(error, time.monotonic())
            if delay is None:
                what = name if version is None else f"version {version} of {name}"
                raise DeadlineExceeded(f"{what} was not available within {timeout:g} s") from error
            await asyncio.sleep(delay)

    async def _first_available(self, name: str, version: int | None, deadline: float) -> VersionStatus | None:
        """None: the server ended the watch."""
        async with aclosing(self._watch(name, deadline)) as changes:
            async for change in changes:
                found = available(change, name, version)
                if found is not None:
                    return found
        return None

    async def _watch(self, name: str, deadline: float) -> AsyncGenerator[StatusChange, None]:
        asked = pb.WatchModelStatusRequest(model_spec=model_spec(name))
        watch = self._statuses.WatchModelStatus
        async with aclosing(
            self._streamed(watch, asked, self._own.attempts_until(deadline), self._own.headers)
        ) as answers:
            async for answer in answers:
                yield status_change(answer)

    async def _ask(self, method: Any, message: object, timeout: float | None) -> Any:
        answer, _ = await self._unary(method, message, self._own.attempts(timeout), self._own.headers)
        return answer
