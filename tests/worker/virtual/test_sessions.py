from __future__ import annotations

import asyncio

from penstock import errors

from .gateway import Device, Worker, connected, now, question, turns


async def test_a_gateway_that_comes_back_learns_what_had_begun_and_the_rest_is_never_run() -> None:
    worker = Worker(max_batch_size=2)
    before = await connected(worker)
    before.say(questions=[question(id_, float(id_)) for id_ in (1, 2, 3, 4)])
    await asyncio.sleep(0.5)
    before.link.lose()
    await turns()
    after = await connected(worker, unanswered=[1, 2, 3, 4, 5])
    assert list(after.said[0].welcome.started) == [1, 2]
    after.ask(6, 6.0)
    await after.answered(1)
    assert after.answers == {6: [12.0]}
    assert worker.device.batches == [[1.0, 2.0], [6.0]]


async def test_an_answer_that_got_lost_on_the_way_counts_as_begun() -> None:
    worker = Worker()
    before = await connected(worker)
    before.ask(1, 1.0)
    await turns()
    before.served.hold()
    await asyncio.sleep(2.0)
    before.link.lose()
    await turns()
    assert before.answers == {}
    after = await connected(worker, unanswered=[1, 2])
    assert list(after.said[0].welcome.started) == [1]


async def test_a_gateway_may_come_back_before_the_worker_has_heard_of_the_end() -> None:
    worker = Worker(max_batch_size=1)
    before = await connected(worker)
    before.say(questions=[question(1, 1.0), question(2, 2.0)])
    await asyncio.sleep(0.5)
    after = await connected(worker, unanswered=[1, 2, 3])
    assert [type(error) for error in before.heard.closed] == [errors.WorkerLost]
    assert list(after.said[0].welcome.started) == [1]
    await asyncio.sleep(5.0)
    assert (before.answers, after.answers, worker.device.batches) == ({}, {}, [[1.0]])


async def test_what_arrives_by_an_older_stream_after_it_was_given_up_is_not_run() -> None:
    worker = Worker()
    old = await connected(worker, stream=1)
    new = await connected(worker, stream=0, unanswered=[1])
    assert list(new.said[0].welcome.started) == []
    old.ask(1, 1.0)
    old.ask(2, 2.0)
    await old.answered(1)
    assert (old.answers, worker.device.batches) == ({2: [4.0]}, [[2.0]])


async def test_a_session_is_remembered_for_half_a_minute() -> None:
    for seconds, known in ((29.0, [1]), (31.0, [])):
        worker = Worker(Device(100.0))
        before = await connected(worker)
        before.ask(1)
        await turns()
        before.link.lose()
        await asyncio.sleep(seconds)
        after = await connected(worker, unanswered=[1])
        assert list(after.said[0].welcome.started) == known


async def test_no_more_than_64_sessions_are_remembered() -> None:
    worker = Worker(Device(0.001))
    for session in range(70):
        gateway = await connected(worker, session=session)
        gateway.ask(1)
        await gateway.answered(1)
        gateway.link.lose()
        await turns()
    for session, known in ((0, []), (69, [1])):
        gateway = await connected(worker, session=session, unanswered=[1])
        assert list(gateway.said[0].welcome.started) == known
    assert len(worker.sessions._sessions) <= 66


async def test_each_stream_gets_its_own_answers_and_credit_goes_over_the_first() -> None:
    worker = Worker(Device(0.001), max_batch_size=4)
    first = await connected(worker, stream=0)
    second = await connected(worker, stream=1)
    assert second.said == []
    first.ask(1, 1.0)
    second.ask(2, 2.0)
    await first.answered(1)
    await second.answered(1)
    await turns()
    assert (first.answers, second.answers) == ({1: [2.0]}, {2: [4.0]})
    assert (first.credit, second.credit) == (8 + 2, 0)
    second.link.lose()
    await turns()
    first.ask(3, 3.0)
    await first.answered(2)


async def test_a_question_of_a_stream_can_be_cancelled_over_another_one() -> None:
    worker = Worker(max_batch_size=1)
    first, second = await connected(worker, stream=0), await connected(worker, stream=1)
    second.say(questions=[question(1, 1.0), question(2, 2.0)])
    await turns()
    first.say(cancels=[2])
    await second.answered(1)
    await asyncio.sleep(5.0)
    assert (second.answers, worker.device.batches) == ({1: [2.0]}, [[1.0]])


async def test_while_a_long_batch_runs_nothing_is_granted_until_shortly_before_its_end() -> None:
    worker = Worker(Device(1.0), max_batch_size=8)
    gateway = await connected(worker)
    first = gateway.credit
    gateway.say(questions=[question(id_) for id_ in range(first)], waiting_rows=100)
    await asyncio.sleep(1.85)
    assert gateway.credit == first == 16
    await asyncio.sleep(0.1)
    assert gateway.credit == 16 + 8
    assert len(gateway.answers) == 8


async def test_several_gateways_share_by_what_waits_in_them() -> None:
    worker = Worker(Device(0.001), max_batch_size=32)
    alone = await connected(worker, session=1)
    assert alone.credit == 64
    other = await connected(worker, session=2)
    assert (alone.credit, other.credit) == (32, 32)
    other.say(waiting_rows=300)
    await turns()
    assert (alone.credit, other.credit) == (4, 60)
    other.link.lose()
    await turns()
    assert alone.credit == 64


async def test_a_gateway_that_is_idle_can_ask_at_once_however_busy_the_others_are() -> None:
    worker = Worker(Device(0.001), max_batch_size=8)
    busy, idle = await connected(worker, session=1), await connected(worker, session=2)
    stop = now() + 0.1

    async def flood() -> None:
        asked = 0
        while now() < stop:
            rows = busy.credit - asked
            busy.say(questions=[question(asked + id_) for id_ in range(rows)], waiting_rows=1000)
            asked += rows
            await asyncio.sleep(0.0005)

    flooding = asyncio.create_task(flood())
    for id_ in range(1, 6):
        await asyncio.sleep(0.015)
        assert idle.credit - (id_ - 1) >= 1
        began = now()
        idle.ask(id_, 1.0)
        await idle.answered(id_)
        assert now() - began < 0.004
    await flooding


async def test_a_gateway_that_keeps_to_credit_is_held_to_it() -> None:
    worker = Worker(Device(1.0), max_batch_size=4, max_queue_size=100)
    gateway = await connected(worker)
    gateway.say(questions=[question(id_) for id_ in range(gateway.credit)], waiting_rows=9)
    gateway.ask(101, 1.0, rows=3)  # greater than what is left: one such request may be
    gateway.ask(102, 1.0)
    await turns()
    assert gateway.answers == {102: "QUEUE_FULL"}


async def test_a_gateway_that_sends_at_once_is_bounded_by_the_queue() -> None:
    worker = Worker(Device(1.0), max_batch_size=4, max_queue_size=20)
    gateway = await connected(worker)
    gateway.say(questions=[question(id_) for id_ in range(30)])
    await turns()
    assert set(gateway.answers.values()) == {"QUEUE_FULL"}
    assert len(gateway.answers) == 10


async def test_a_worker_that_drains_says_so_answers_what_it_has_and_ends_the_streams() -> None:
    worker = Worker()
    gateway = await connected(worker)
    gateway.ask(1, 1.0)
    await turns()
    worker.engine.refuse_new()
    worker.sessions.drain()
    gateway.ask(2, 2.0)
    late = await connected(worker, session=2)
    assert any(said.draining for said in gateway.said)
    assert late.said[0].draining
    gateway.served.hold(writable=True)
    await worker.engine.drained()
    ending = asyncio.create_task(worker.sessions.finished())
    await asyncio.sleep(0.1)
    gateway.served.release()
    await ending
    worker.sessions.end()
    await turns()
    assert gateway.answers == {1: [2.0], 2: "WORKER_DRAINING"}
    assert (gateway.heard.closed, late.heard.closed) == ([None], [None])
