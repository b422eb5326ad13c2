from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from penstock import errors
from penstock.rpc.call import Call

from .conftest import Echo, ask, serving


class Notes:
    """Two concerns that note when they are entered and left, and with what."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def _concern(self, name: str) -> Iterator[None]:
        self.lines.append(f"+{name}")
        outcome = "OK"
        try:
            yield
        except errors.PenstockError as error:
            outcome = error.reason
            raise
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self.lines.append(f"-{name} {outcome}")

    def outer(self, call: Call) -> Any:
        return self._concern("outer")

    def inner(self, call: Call) -> Any:
        return self._concern("inner")

    @property
    def both(self) -> list[Any]:
        return [self.outer, self.inner]


async def test_the_first_concern_is_the_outermost() -> None:
    notes = Notes()
    async with serving(Echo(), concerns=notes.both) as caller:
        await caller.predict()
        [answer async for answer in caller.generate()]
    once = ["+outer", "+inner", "-inner OK", "-outer OK"]
    assert notes.lines == once * 2


@pytest.mark.parametrize("kind", ["predict", "generate"])
async def test_concerns_see_the_final_error(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    notes, echo = Notes(), Echo()
    echo.errors = {b"x": ValueError("secret")}
    async with serving(echo, concerns=notes.both) as caller:
        call = getattr(caller, kind)()
        with pytest.raises(grpc.aio.AioRpcError) as failed, caplog.at_level(logging.CRITICAL, "penstock.rpc"):
            await (call if kind == "predict" else _all(call))
    assert notes.lines[2:] == ["-inner INTERNAL", "-outer INTERNAL"]
    assert "secret" not in str(failed.value)


async def _all(call: Any) -> list[bytes]:
    return [answer async for answer in call]


async def test_concerns_see_a_refusal_too() -> None:
    notes = Notes()

    def gate(call: Call) -> None:
        raise errors.AuthMissing("who is there?")

    async with serving(Echo(), [gate], notes.both) as caller:
        with pytest.raises(errors.AuthMissing, match="who is there"):
            await ask(caller.predict())
    assert notes.lines[2:] == ["-inner AUTH_MISSING", "-outer AUTH_MISSING"]


async def test_a_gate_that_breaks_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    def gate(call: Call) -> None:
        raise KeyError("secret")

    echo = Echo()
    async with serving(echo, [gate]) as caller:
        with pytest.raises(errors.Internal) as refused, caplog.at_level(logging.CRITICAL, "penstock.rpc"):
            await ask(caller.predict())
    assert not echo.calls
    assert "secret" not in str(refused.value)


async def test_a_concern_that_breaks_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(call: Call) -> Any:
        raise KeyError("secret")

    async with serving(Echo(), concerns=[broken]) as caller:
        for call in (caller.predict(), _all(caller.generate())):
            with pytest.raises(errors.Internal) as failed, caplog.at_level(logging.CRITICAL, "penstock.rpc"):
                await ask(call)
            assert "secret" not in str(failed.value)


async def test_a_cancelled_call_is_marked_and_its_concerns_are_left() -> None:
    notes, echo = Notes(), Echo()
    async with serving(echo, concerns=notes.both) as caller:
        call = caller.predict(b"wait")
        waiting = asyncio.ensure_future(call)
        await echo.begun.wait()
        call.cancel()
        await asyncio.wait_for(echo.cancelled.wait(), 5)
        await asyncio.gather(waiting, return_exceptions=True)
    assert echo.calls[0].cancelled
    assert notes.lines[2:] == ["-inner CancelledError", "-outer CancelledError"]


async def test_trailers_go_out_with_answers_and_with_errors() -> None:
    echo = Echo()
    echo.errors = {b"bad": errors.InvalidInput("bad")}
    async with serving(echo) as caller:
        for request in (b"good", b"bad"):
            call = caller.predict(request, metadata=[("x-request-id", "mine")])
            await asyncio.gather(call, return_exceptions=True)
            trailers = dict(await call.trailing_metadata())
            assert (trailers["x-request-id"], trailers["x-penstock-told"]) == ("mine", "yes")


async def test_the_call_knows_where_it_comes_from_and_when_it_ends() -> None:
    echo = Echo()
    async with serving(echo) as caller:
        await caller.predict(timeout=9)
        now = asyncio.get_running_loop().time()
        await caller.predict()
    first, second = echo.calls
    assert first.peer.startswith("ipv4:127.0.0.1:")
    assert 7 < first.deadline - now < 9.5
    assert second.deadline == float("inf")


async def test_an_unknown_method_is_our_error() -> None:
    notes = Notes()
    async with serving(Echo(), concerns=[notes.outer]) as caller:
        for method in ("/penstock.v1.PredictService/Nothing", "/no.such.Service/Nothing"):
            with pytest.raises(errors.Unimplemented) as failed:
                await ask(caller.predict(method=method))
            assert failed.value.request_id
    assert notes.lines == ["+outer", "-outer UNIMPLEMENTED"] * 2


async def test_a_library_servicer_that_writes_to_the_context_itself_is_served() -> None:
    servicer = health.aio.HealthServicer()

    def prepare(server: grpc.aio.Server) -> None:
        add: Any = health_pb2_grpc.add_HealthServicer_to_server
        add(servicer, server)

    async with serving(Echo(), prepare=prepare) as caller:
        stub: Any = health_pb2_grpc.HealthStub(caller.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_a_status_of_a_library_servicer_passes_unchanged() -> None:
    servicer = health.aio.HealthServicer()

    def prepare(server: grpc.aio.Server) -> None:
        add: Any = health_pb2_grpc.add_HealthServicer_to_server
        add(servicer, server)

    async with serving(Echo(), prepare=prepare) as caller:
        stub: Any = health_pb2_grpc.HealthStub(caller.channel)
        with pytest.raises(errors.NotFound):
            await ask(stub.Check(health_pb2.HealthCheckRequest(service="nothere")))
