"""A subchannel whose worker is the test, over a link that a test can hold up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from penstock import errors
from penstock.exchange.outbox import Outbox
from penstock.gateway.connection import User
from penstock.gateway.question import Pairs, Question
from penstock.gateway.subchannel import Subchannel
from penstock.rpc.errors import to_status
from penstock.testing.links import Recorder, linked
from penstock.v1 import worker_pb2 as pb

from .fakes import endpoint, now


class FakeConnection:
    """Two ends in memory. The test speaks for the worker, through `say`."""

    def __init__(self, carrier: str, user: User, shared: int) -> None:
        self.channel: Any = self
        self.channel_ready = True
        self.carrier = "unix" if carrier == "auto" else carrier
        self.user = user
        self.worker = Recorder()
        self.link, self.far = linked(Recorder(), self.worker, shared=shared)
        self.memory = self.link.memory
        self.small = self.medium = Outbox(pb.ExchangeRequest)
        self.small.pace = user.pace
        self.small.attach(self.link)
        self.times_given_up = 0
        self.lives = True

    def unary_unary(self, path: str) -> Any:
        return self._never

    unary_stream = unary_unary

    async def _never(self, request: bytes, **more: Any) -> bytes:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    def say(self, **fields: Any) -> None:
        message = pb.ExchangeResponse(**fields)
        self.user.received(pb.ExchangeResponse.FromString(message.SerializeToString()))

    async def heard(self) -> list[pb.ExchangeRequest]:
        """What has been said to the worker since the last time."""
        await asyncio.sleep(0.001)
        said, self.worker.messages = self.worker.messages, []
        return [pb.ExchangeRequest.FromString(message) for message in said]

    def give_up(self) -> None:
        self.times_given_up += 1

    def probe(self, told: Callable[[bool], None]) -> None:
        told(self.lives)

    async def close(self, grace: float) -> None:
        self.link.close()


class Owner:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.dead_is_ready = False
        self.told: list[tuple[str, Any]] = []
        self.changes = 0

    def changed(self, worker: Subchannel) -> None:
        self.changes += 1

    def failed(self, worker: Subchannel, question: Question, error: errors.PenstockError) -> None:
        self.told.append((type(error).__name__, question.request))

    def returned(self, worker: Subchannel, questions: Iterable[Question]) -> None:
        self.told += [("returned", question.request) for question in questions]

    def died(self, worker: Subchannel, questions: Iterable[Question]) -> None:
        self.told += [("died", question.request) for question in questions]
        self.dead_is_ready |= worker.ready

    def tested(self, worker: Subchannel, question: Question, lives: bool) -> None:
        self.told.append((f"tested {lives}", question.request))


class Asked(Question):
    __slots__ = ("outcome",)

    def answered(self, response: bytes, trailers: Pairs) -> None:
        self.outcome: Any = response, trailers

    def failed(self, error: errors.PenstockError) -> None:
        self.outcome = error


class Scene:
    """A worker with ten rows of credit."""

    def __init__(self, shared: int = 0) -> None:
        self.owner, self.readiness = Owner(), list[bool]()
        made: list[FakeConnection] = []

        def make(endpoint: Any, carrier: str, user: User) -> Any:
            made.append(FakeConnection(carrier, user, shared))
            return made[0]

        self.subchannel = Subchannel(endpoint("a"), self.owner, self._changed, make_connection=make)
        (self.connection,) = made
        self.connection.say(welcome=pb.ExchangeWelcome(max_batch_size=16), credits=10)

    def _changed(self) -> None:
        self.readiness.append(self.subchannel.ready)

    def ask(self, request: bytes = b"q", timeout: float = 5.0, **more: Any) -> Asked:
        question = Asked(request, now(), now() + timeout, **more)
        question.outcome = None
        self.subchannel.send(question, now())
        return question


async def test_it_is_ready_once_it_is_welcome_and_has_its_credit() -> None:
    scene = Scene()
    assert scene.readiness == [True]
    assert (scene.subchannel.forecast.batch, scene.subchannel.forecast.credit) == (16, 10)
    assert scene.subchannel.carrier == "unix"


async def test_what_is_asked_in_one_turn_leaves_in_one_message() -> None:
    scene = Scene()
    scene.ask(b"one", request_id="r1")
    scene.ask(b"two", 2.0, request_id="r2", priority=1, traceparent="00-x", timings=True)
    (message,) = await scene.connection.heard()
    one, two = message.questions
    assert (one.request, one.timeout_us, one.rows, one.request_id) == (b"one", 5_000_000, 1, "r1")
    assert (two.priority, two.traceparent, two.timings, two.suspect) == (1, "00-x", True, False)
    assert one.id != two.id
    assert scene.subchannel.forecast.credit == 8
    assert scene.subchannel.in_flight == 2


async def test_answers_go_to_their_questions_in_any_order() -> None:
    scene = Scene()
    one, two, three = scene.ask(), scene.ask(), scene.ask()
    full = to_status(errors.QueueFull("full"))
    answers = [
        pb.ExchangeAnswer(id=two.id, response=b"2"),
        pb.ExchangeAnswer(id=three.id, error=full),
        pb.ExchangeAnswer(id=one.id),
        pb.ExchangeAnswer(id=999, response=b"whose?"),
    ]
    scene.connection.say(answers=answers, credits=3)
    assert (one.outcome, two.outcome) == ((b"", ()), (b"2", ()))
    assert scene.owner.told == [("QueueFull", b"q")]
    assert (scene.subchannel.in_flight, scene.subchannel.forecast.credit) == (0, 10)


async def test_an_error_without_a_reason_is_the_workers_mistake() -> None:
    scene = Scene()
    question = scene.ask()
    nameless = pb.ExchangeAnswer(id=question.id)
    nameless.error.code, nameless.error.message = 2, "secret"
    scene.connection.say(answers=[nameless])
    assert scene.owner.told == [("Internal", b"q")]


async def test_timings_come_as_trailers_to_who_asked_for_them() -> None:
    scene = Scene()
    question = scene.ask(timings=True)
    timings = pb.ExchangeTimings(queue_us=5, compute_us=7, batch_rows=3)
    scene.connection.say(answers=[pb.ExchangeAnswer(id=question.id, response=b"r", timings=timings)])
    keys = ("x-penstock-queue-us", "x-penstock-compute-us", "x-penstock-batch-size", "x-penstock-worker")
    assert question.outcome == (b"r", tuple(zip(keys, ("5", "7", "3", "a"), strict=True)))


async def test_who_is_abandoned_is_cancelled_and_a_late_answer_is_ignored() -> None:
    scene = Scene()
    question = scene.ask()
    question.abandon()
    scene.connection.say(answers=[pb.ExchangeAnswer(id=question.id, response=b"late")])
    (message,) = await scene.connection.heard()
    assert list(message.cancels) == [question.id]
    assert question.outcome is None
    assert scene.subchannel.in_flight == 0


async def test_load_and_credits_are_taken_in_and_the_owner_hears_of_it_once() -> None:
    scene = Scene()
    before = scene.owner.changes
    load = pb.ExchangeLoad(free_us=5000, one_us=1000, full_us=26000, waiting_rows=3)
    scene.connection.say(credits=-4, load=load)
    forecast = scene.subchannel.forecast
    assert (forecast.credit, forecast.one, forecast.full, forecast.forming) == (6, 0.001, 0.026, 3)
    assert forecast.free_at == pytest.approx(now() + 0.005)
    assert scene.owner.changes == before + 1


async def test_great_questions_and_answers_lie_in_shared_memory_and_are_released() -> None:
    scene = Scene(shared=1024 * 1024)
    great = bytes(100_000)
    question = scene.ask(great)
    (message,) = await scene.connection.heard()
    block = message.questions[0].block
    far = scene.connection.far.memory
    assert far is not None
    assert scene.connection.memory is not None
    assert message.questions[0].request == b""
    assert bytes(far.theirs.read(block.offset, block.size)) == great
    place = far.mine.put(b"answer" * 20_000)
    assert place is not None
    answer = pb.ExchangeAnswer(id=question.id, block=pb.SharedBlock(offset=place[0], size=place[1]))
    scene.connection.say(answers=[answer], released=[block.offset])
    assert question.outcome[0] == b"answer" * 20_000
    assert scene.connection.memory.mine.used == 0
    (reply,) = await scene.connection.heard()
    assert list(reply.released) == [place[0]]
    await scene.connection.close(0)
    await asyncio.sleep(0.001)


async def test_an_answer_that_nobody_wants_is_released_too() -> None:
    scene = Scene(shared=1024 * 1024)
    scene.ask().abandon()
    far = scene.connection.far.memory
    assert far is not None
    place = far.mine.put(bytes(100_000))
    assert place is not None
    answer = pb.ExchangeAnswer(id=1, block=pb.SharedBlock(offset=place[0], size=place[1]))
    scene.connection.say(answers=[answer])
    (message,) = await scene.connection.heard()
    assert list(message.released) == [place[0]]
    await scene.connection.close(0)
    await asyncio.sleep(0.001)


async def test_after_a_break_what_had_not_begun_comes_back_and_what_had_is_lost() -> None:
    scene = Scene()
    begun, waiting = scene.ask(b"begun"), scene.ask(b"waiting")
    scene.subchannel.down()
    assert scene.readiness == [True, False]
    hello = scene.subchannel.hello(0)
    assert list(hello.unanswered) == [begun.id, waiting.id]
    assert hello.session == scene.subchannel.hello(1).session
    assert list(scene.subchannel.hello(1).unanswered) == []
    scene.connection.say(welcome=pb.ExchangeWelcome(max_batch_size=16, started=[begun.id]), credits=4)
    assert scene.owner.told == [("returned", b"waiting"), ("WorkerLost", b"begun")]
    assert (scene.subchannel.in_flight, scene.subchannel.forecast.credit) == (0, 4)
    assert scene.readiness == [True, False, True]


async def test_a_worker_that_does_not_come_back_has_died_with_what_it_had() -> None:
    scene = Scene()
    scene.ask(b"one")
    scene.subchannel.down()
    scene.subchannel.lost()
    scene.subchannel.lost()
    assert scene.owner.told == [("died", b"one")]


async def test_a_draining_worker_says_so() -> None:
    scene = Scene()
    scene.connection.say(draining=True)
    assert scene.subchannel.draining
    assert scene.readiness == [True, True]


async def test_a_suspect_is_told_of_before_it_is_answered() -> None:
    scene = Scene()
    question = Asked(b"q", now(), now() + 5)
    question.suspect = True
    scene.subchannel.send(question, now())
    (message,) = await scene.connection.heard()
    assert message.questions[0].suspect
    scene.connection.say(answers=[pb.ExchangeAnswer(id=question.id, response=b"r")])
    assert scene.owner.told == [("tested True", b"q")]
    assert question.outcome == (b"r", ())


async def test_a_silent_worker_is_given_up_once_its_channel_is_down_too() -> None:
    scene = Scene()
    question = scene.ask(b"q", 60.0)
    await asyncio.sleep(10)
    assert scene.connection.times_given_up == 0  # it may be a slow model
    scene.connection.channel_ready = False
    await asyncio.sleep(2.3)
    assert scene.connection.times_given_up > 0
    assert scene.owner.told == [("died", b"q")]
    assert question.outcome is None


async def test_a_silent_worker_that_takes_no_connection_is_given_up_although_its_channel_seems_up() -> None:
    scene = Scene()
    scene.connection.carrier = "grpc"
    scene.ask(b"q", 60.0)
    scene.ask(bytes(100_000), 60.0)  # by a call of its own, which would wait for the worker to thaw
    scene.connection.lives = False
    await asyncio.sleep(3)
    assert scene.owner.told == [("died", b"q"), ("died", bytes(100_000))]
    assert scene.readiness == [True, False]


async def test_a_worker_that_is_given_up_is_not_asked_again() -> None:
    scene = Scene()
    scene.ask(b"q", 60.0)
    scene.connection.channel_ready = False
    await asyncio.sleep(3)
    assert scene.owner.told == [("died", b"q")]
    assert not scene.owner.dead_is_ready
    assert scene.readiness == [True, False]


async def test_credit_of_a_call_of_its_own_is_free_once_its_caller_has_gone() -> None:
    scene = Scene()
    scene.connection.carrier = "grpc"
    question = scene.ask(bytes(100_000))
    before = scene.owner.changes
    assert scene.subchannel.forecast.credit == 9
    question.abandon()
    assert scene.subchannel.forecast.credit == 10
    assert scene.owner.changes == before + 1


async def test_a_call_of_its_own_takes_of_the_new_credit_after_a_break() -> None:
    scene = Scene()
    scene.connection.carrier = "grpc"
    question = scene.ask(bytes(100_000))
    scene.subchannel.down()
    scene.connection.say(welcome=pb.ExchangeWelcome(max_batch_size=16), credits=4)
    assert (scene.subchannel.in_flight, scene.subchannel.forecast.credit) == (1, 3)
    question.abandon()
    assert scene.subchannel.forecast.credit == 4


async def test_a_worker_that_speaks_is_not_given_up() -> None:
    scene = Scene()
    scene.connection.channel_ready = False
    scene.ask(b"q", 60.0)
    for _ in range(10):
        await asyncio.sleep(1)
        scene.connection.say(credits=1)
    assert scene.connection.times_given_up == 0


async def test_a_question_that_the_worker_forgets_is_told_after_its_time() -> None:
    scene = Scene()
    question = scene.ask(b"q", 3.0)
    await asyncio.sleep(6)
    assert isinstance(question.outcome, errors.DeadlineExceeded)
    assert scene.subchannel.in_flight == 0


async def test_closing_waits_for_the_answers() -> None:
    scene = Scene()
    question = scene.ask()
    closing = asyncio.create_task(scene.subchannel.close())
    await asyncio.sleep(2)
    assert not closing.done()
    scene.connection.say(answers=[pb.ExchangeAnswer(id=question.id, response=b"r")])
    await closing
    assert question.outcome == (b"r", ())


async def test_demand_is_said_once_for_each_figure() -> None:
    scene = Scene()
    scene.subchannel.demand(5)
    scene.subchannel.demand(5)
    scene.ask()
    (message,) = await scene.connection.heard()
    assert (message.waiting_rows, len(message.questions)) == (5, 1)
    scene.subchannel.demand(5)
    assert await scene.connection.heard() == []


async def questions_in_each_message(full_us: int) -> list[int]:
    """Of a worker of that speed that is five milliseconds away, and asked ten times within ten milliseconds."""
    scene = Scene()
    load = pb.ExchangeLoad(one_us=full_us, full_us=full_us)
    scene.connection.say(credits=99, load=load)
    for _ in range(60):
        asked = scene.ask()
        await asyncio.sleep(0.005 + full_us / 1e6)
        scene.connection.say(answers=[pb.ExchangeAnswer(id=asked.id, response=b"r")], load=load)
    await scene.connection.heard()
    for _ in range(10):
        scene.ask()
        await asyncio.sleep(0.001)
    return [len(message.questions) for message in await scene.connection.heard()]


async def test_under_load_questions_for_a_quick_worker_wait_for_its_answer_and_leave_together() -> None:
    assert await questions_in_each_message(full_us=100) == [1, 1, 1, 1, 1, 1, 4]


async def test_a_slow_worker_is_kept_supplied() -> None:
    assert await questions_in_each_message(full_us=4000) == [1] * 10
