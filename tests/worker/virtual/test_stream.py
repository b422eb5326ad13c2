from __future__ import annotations

import asyncio

from penstock import errors
from penstock.rpc.errors import from_message
from penstock.v1 import worker_pb2 as pb

from .gateway import Device, Worker, connected, now, question, request, turns, typed


async def test_a_stream_opens_with_a_welcome_credit_and_load() -> None:
    gateway = await connected(Worker(Device(0.001), max_batch_size=8))
    [welcome] = gateway.said
    assert welcome.welcome == pb.ExchangeWelcome(max_batch_size=8)
    assert welcome.credits == 16
    assert welcome.load == pb.ExchangeLoad(one_us=1000, full_us=1000)
    assert not welcome.draining


async def test_questions_are_answered_under_their_ids_and_those_of_a_batch_in_one_message() -> None:
    worker = Worker(max_batch_size=8)
    gateway = await connected(worker)
    gateway.say(questions=[question(1, 1.0), question(2, 2.0)])
    gateway.ask(3, 3.0, rows=2)
    await gateway.answered(3)
    assert gateway.answers == {1: [2.0], 2: [4.0], 3: [6.0, 6.0]}
    assert worker.device.batches == [[1.0, 2.0, 3.0]]
    assert sum(bool(said.answers) for said in gateway.said) == 1
    assert now() == 1.0


async def test_credit_and_load_travel_with_the_answers() -> None:
    worker = Worker(Device(0.001), max_batch_size=8)
    gateway = await connected(worker)
    gateway.say(questions=[question(i) for i in range(5)])
    await gateway.answered(5)
    await turns()
    [_, answers] = gateway.said
    assert (len(answers.answers), answers.credits, answers.load.free_us) == (5, 5, 0)


async def test_an_error_carries_its_details_and_the_request_id() -> None:
    gateway = await connected(Worker())
    gateway.say(
        questions=[
            question(1, -1.0, request_id="r1"),
            question(2, request=typed(name="z", shape=[1, 2], floats=[1, 2]), request_id="r2"),
            question(3, request=b"\xff\xff"),
            question(4, 4.0),
            question(5, -1.0, request_id="r5"),
        ]
    )
    await gateway.answered(5)
    wrong = "MODEL_ERROR"
    assert gateway.answers == {1: wrong, 2: "INVALID_TENSOR", 3: "MALFORMED_REQUEST", 4: [8.0], 5: wrong}
    known = {answer.id: from_message(answer.error) for said in gateway.said for answer in said.answers}
    assert [known[id_].request_id for id_ in (1, 2, 5)] == ["r1", "r2", "r5"]
    assert [violation.field for violation in known[2].violations] == ["inputs[0].name", "inputs"]


async def test_a_question_whose_time_is_over_before_it_can_run_is_not_run() -> None:
    worker = Worker(max_batch_size=1)
    gateway = await connected(worker)
    gateway.ask(1, 1.0)
    await turns()
    gateway.ask(2, 2.0, timeout_us=1_500_000)
    gateway.ask(3, 3.0, timeout_us=2_500_000)
    await gateway.answered(3)
    assert gateway.answers[2] in ("DEADLINE_UNREACHABLE", "EXPIRED_IN_QUEUE")
    assert worker.device.batches == [[1.0], [3.0]]


async def test_a_suspect_runs_alone_and_a_higher_lane_runs_sooner() -> None:
    worker = Worker()
    gateway = await connected(worker)
    gateway.ask(1, 1.0)
    await turns()
    gateway.say(questions=[question(2, 2.0, priority=-1), question(3, 3.0, suspect=True, priority=1), question(4, 4.0)])
    await gateway.answered(4)
    assert worker.device.batches == [[1.0], [3.0], [4.0, 2.0]]


async def test_timings_are_told_on_request_only() -> None:
    gateway = await connected(Worker())
    gateway.say(questions=[question(1, rows=2), question(2, timings=True)])
    await gateway.answered(2)
    timings = {a.id: a.timings for said in gateway.said for a in said.answers if a.HasField("timings")}
    assert timings == {2: pb.ExchangeTimings(compute_us=1_000_000, batch_rows=3)}


async def test_a_cancelled_question_is_not_run_and_not_answered() -> None:
    worker = Worker(max_batch_size=1)
    gateway = await connected(worker)
    gateway.say(questions=[question(1, 1.0), question(2, 2.0), question(3, 3.0)], cancels=[3])
    await turns()
    gateway.say(cancels=[1, 2, 99])  # one runs, one waits, one was never asked
    gateway.ask(4, 4.0)
    await gateway.answered(1)
    assert gateway.answers == {4: [8.0]}
    assert worker.device.batches == [[1.0], [4.0]]


async def test_what_cannot_be_a_stream_is_closed() -> None:
    worker = Worker()
    worker.fence.epoch = 7
    first, second, third, fourth = (worker.connect() for _ in range(4))
    first.ask(1)
    second.link.write(b"\xff\xff")
    third.hello(epoch=6)
    fourth.hello(epoch=7)
    fourth.hello(epoch=7)
    await turns()
    closed = [type(error) for gateway in (first, second, third, fourth) for error in gateway.heard.closed]
    wrong = errors.MalformedRequest
    assert closed == [wrong, wrong, errors.LeaseFenced, wrong]
    assert worker.engine.queued_rows == 0


async def test_a_question_that_waits_already_is_refused() -> None:
    gateway = await connected(Worker())
    gateway.say(questions=[question(1, 1.0), question(1, 2.0)])
    await turns()
    assert gateway.answers == {1: "MALFORMED_REQUEST"}


async def test_a_request_in_shared_memory_is_released_once_its_rows_are_copied() -> None:
    gateway = await connected(Worker(), shared=1 << 20)
    memory = gateway.link.memory
    assert memory is not None
    for id_ in (1, 2):
        place = memory.mine.put(request(5.0))
        assert place is not None
        gateway.say(questions=[question(id_, request=b"", block=pb.SharedBlock(offset=place[0], size=place[1]))])
        await turns()
        memory.mine.release(place[0])
        memory.mine.put(request(9.0))  # it may be used again at once, although the job still waits
        await gateway.answered(id_)
        assert gateway.answers[id_] == [10.0]
    assert len(gateway.released) == 2
    gateway.link.close()
    await turns()


async def test_a_request_that_is_not_copied_is_released_with_its_answer_or_when_it_is_cancelled() -> None:
    gateway = await connected(Worker(Device(copies=False), max_batch_size=1), shared=1 << 20)
    memory = gateway.link.memory
    assert memory is not None
    offsets = []
    for id_ in (1, 2, 3):
        place = memory.mine.put(request(float(id_)))
        assert place is not None
        offsets.append(place[0])
        gateway.say(questions=[question(id_, request=b"", block=pb.SharedBlock(offset=place[0], size=place[1]))])
    await turns()
    assert gateway.released == []
    gateway.say(cancels=[3])
    await gateway.answered(1)
    assert gateway.released == [offsets[2], offsets[0]]
    await gateway.answered(2)
    assert gateway.released == [offsets[2], offsets[0], offsets[1]]
    gateway.link.close()
    await turns()


async def test_a_block_out_of_bounds_or_without_memory_is_refused_and_released() -> None:
    for shared in (0, 1 << 16):
        gateway = await connected(Worker(), shared=shared)
        gateway.say(questions=[question(1, request=b"", block=pb.SharedBlock(offset=64, size=1 << 40))])
        await gateway.answered(1)
        assert gateway.answers == {1: "MALFORMED_REQUEST"}
        assert gateway.released == [64]
        gateway.link.close()
        await turns()


async def test_great_answers_go_into_shared_memory_while_it_has_room() -> None:
    gateway = await connected(Worker(Device(0.001)), shared=1 << 20)
    assert gateway.served.memory is not None
    mine = gateway.served.memory.mine
    gateway.say(questions=[question(id_, 1.0, width=100_000) for id_ in (1, 2, 3)])
    await gateway.answered(3)
    answers = {answer.id: answer for said in gateway.said for answer in said.answers}
    assert [answers[id_].HasField("block") for id_ in (1, 2, 3)] == [True, True, False]
    assert gateway.answers == {1: [2.0], 2: [2.0], 3: [2.0]}
    used = mine.used
    gateway.say(released=[answers[1].block.offset, answers[2].block.offset])
    await turns()
    assert (used > 800_000, mine.used) == (True, 0)
    gateway.link.close()
    await turns()


async def test_answers_that_are_not_read_cost_credit_and_not_memory() -> None:
    worker = Worker(Device(0.001), max_batch_size=8)
    gateway = await connected(worker)
    gateway.served.hold()
    for first in (0, 8, 16):
        gateway.say(questions=[question(first + id_, 1.0, width=100_000) for id_ in range(8)])
        await asyncio.sleep(1.0)
    assert gateway.credit == 16
    gateway.served.release()
    await gateway.answered(24)
    await turns()
    assert gateway.credit - 24 == 16


async def test_a_gateway_that_reads_nothing_is_given_up() -> None:
    gateway = Worker(Device(0.001)).connect(most_unsent=1 << 20)
    gateway.hello()
    await turns()
    gateway.served.hold()
    gateway.say(questions=[question(id_, 1.0, width=100_000) for id_ in range(4)])
    await asyncio.sleep(1.0)
    gateway.ask(9)
    await turns()
    assert [type(error) for error in gateway.heard.closed] == [errors.SlowConsumer]
