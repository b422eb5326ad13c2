"""The one interceptor of every server: makes the Call, asks the gates, runs the concerns, writes errors on the wire.

The order of events is: headers arrive → a Call is made → the gates (authentication) may refuse it, before its body is
read, since refusing after reading 200 MB costs 200 MB → the body is read → the concerns are entered, outermost first →
the method runs → the concerns are left → status and trailers go out. Library services (health, reflection) pass through
the same steps, so that no text of an exception leaks from them either.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from ..errors import Unimplemented
from .call import REQUEST_ID, Call, Concern, Gate, current_call, new_call
from .errors import as_penstock_error, to_status, to_trailers

Context = grpc.aio.ServicerContext[Any, Any]
_Serve = Callable[[Any, Context, Call], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each method once, when it is first called."""

    def __init__(self, gates: Sequence[Gate] = (), concerns: Sequence[Concern] = ()) -> None:
        self._gates = tuple(gates)
        self._concerns = tuple(concerns)
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Called by grpc.aio with the headers of each call, in the task that will serve it."""
        call = new_call(handler_call_details.method, handler_call_details.invocation_metadata)
        try:
            for gate in self._gates:
                gate(call)
        except Exception as error:
            return self._refusal(call, error)
        current_call.set(call)
        wrapped = self._wrapped.get(call.method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return self._refusal(call, Unimplemented(f"there is no method {call.method[:160]!a} here"))
            wrapped = self._wrapped[call.method] = self._wrap(handler)
        return wrapped

    def _refusal(self, call: Call, error: Exception) -> Any:
        """A handler that ends the call without reading: of the streaming kind, since a unary one reads first."""

        async def refuse(_requests: AsyncIterator[bytes], context: Context) -> None:
            _bind(call, context)
            try:
                with self._around(call):
                    raise error
            except Exception as known:
                await _abort(call, context, known)

        return grpc.stream_stream_rpc_method_handler(refuse)

    @contextlib.contextmanager
    def _around(self, call: Call) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for concern in self._concerns:
                stack.enter_context(concern(call))
            stack.enter_context(_Mapped(call))
            yield

    def _chain(self, serve: Callable[[Any, Context], Awaitable[Any]]) -> _Serve:
        """`_around` for methods with one answer, put together once: a stack for each call would cost microseconds."""

        async def mapped(request: Any, context: Context, call: Call) -> Any:
            with _Mapped(call):
                return await serve(request, context)

        chain: _Serve = mapped
        for concern in reversed(self._concerns):
            chain = _within(concern, chain)
        return chain

    def _wrap(self, handler: Any) -> Any:
        """The same method with concerns around it; requests are parsed inside, so that a bad one is our error."""
        parse = handler.request_deserializer or _identity
        around = self._around
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        read = _parsed if handler.request_streaming else _parse

        def serve(request: Any, context: Context) -> Any:
            return inner(read(request, parse), context)

        within = self._chain(serve)

        async def answer(request: Any, context: Context) -> Any:
            call = _bind(current_call.get(), context)
            try:
                response = await within(request, context, call)
            except Exception as error:
                await _abort(call, context, error)
            if call.trailers or REQUEST_ID in call.metadata:
                context.set_trailing_metadata(_trailers(call))
            return response

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _bind(current_call.get(), context)
            try:
                with around(call):
                    answers = serve(request, context)
                    if inspect.iscoroutine(answers):
                        await answers  # a library's servicer, which writes to the context itself
                        return
                    async with contextlib.aclosing(answers):
                        async for response in answers:
                            yield response
            except Exception as error:
                await _abort(call, context, error)
            context.set_trailing_metadata(_trailers(call))

        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        make: Any = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
        behaviour = stream if handler.response_streaming else answer
        return make(behaviour, response_serializer=handler.response_serializer)


def _within(concern: Concern, inner: _Serve) -> _Serve:
    async def within(request: Any, context: Context, call: Call) -> Any:
        with concern(call):
            return await inner(request, context, call)

    return within


class _Mapped(contextlib.AbstractContextManager[None]):
    """The innermost concern: turns what was raised into an error of ours, so that the others see the final status."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        call = self._call
        if error is None or isinstance(error, grpc.aio.AbortError):
            return  # all is well, or a library service has written its own status
        if isinstance(error, asyncio.CancelledError):
            call.cancelled = True
        elif isinstance(error, Exception):
            known = as_penstock_error(error, call.request_id, call.method)
            if known is not error:
                raise known from error


def _identity(request: Any) -> Any:
    return request


def _parse(request: bytes, parse: Callable[[bytes], Any]) -> Any:
    return parse(request)


async def _parsed(requests: AsyncIterator[bytes], parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield parse(request)


def _bind(call: Call, context: Context) -> Call:
    """Add what only the carrier knows."""
    call.peer = context.peer()
    remaining = context.time_remaining()
    call.deadline = math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
    return call


def _trailers(call: Call) -> tuple[tuple[str, str | bytes], ...]:
    """Those of an answer are only sent to callers who named their call or asked for more: they cost 5 % of a call."""
    return ((REQUEST_ID, call.request_id), *call.trailers)


async def _abort(call: Call, context: Context, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error  # a library service has written its own status
    known = as_penstock_error(error, call.request_id, call.method)  # concerns, too, may raise
    await context.abort(known.code, to_status(known).message, (*_trailers(call), *to_trailers(known)))
    raise AssertionError("abort always raises")
