from __future__ import annotations

import math

import pytest

from penstock import errors
from penstock.client.request import Question
from penstock.client.window import Asked, Window
from penstock.rpc.errors import to_status
from penstock.v1 import predict_pb2 as pb

ASK = Question(b"", torch=False)


def answer(request: Asked) -> pb.PredictStreamResponse:
    return pb.PredictStreamResponse(request_id=request.request_id, response=pb.PredictResponse())


def test_answers_wait_for_their_turn() -> None:
    window = Window(2, math.inf, "p")
    first, second = window.add(ASK, 0.0), window.add(ASK, 0.0)
    assert (first.request_id, second.call_id) == ("1", "p-2")
    window.settle(answer(second))
    assert window.pop(0.0) is None
    assert not window.room
    window.settle(answer(first))
    assert [window.pop(0.0), window.pop(0.0)] == [first, second]
    assert window.pop(0.0) is None


def test_the_time_of_each_runs_from_its_own_start() -> None:
    window = Window(9, 2.0, "p")
    sent = [window.add(ASK, now) for now in (10.0, 11.0)]
    assert sent[0].deadline == 12.0
    assert window.patience(10.5) == 1.5
    assert window.pop(11.9) is None
    late = window.pop(12.0)
    assert late is not None
    assert isinstance(late.outcome, errors.DeadlineExceeded)
    assert window.patience(12.0) == 1.0
    window.settle(answer(sent[0]))
    assert window.pop(12.0) is None


def test_the_answers_of_one_message_are_taken_apart() -> None:
    window = Window(9, math.inf, "p")
    sent = [window.add(ASK, 0.0) for _ in range(3)]
    message = answer(sent[2])
    message.more.extend([answer(sent[0]), answer(sent[1])])
    window.settle(message)
    assert [window.pop(0.0) for _ in range(3)] == sent


def test_an_answer_that_is_there_counts_even_after_its_time() -> None:
    window = Window(1, 2.0, "p")
    window.settle(answer(window.add(ASK, 0.0)))
    done = window.pop(99.0)
    assert done is not None
    assert isinstance(done.outcome, pb.PredictResponse)


def test_without_a_timeout_patience_has_no_end() -> None:
    window = Window(1, math.inf, "p")
    assert window.add(ASK, 0.0).deadline == math.inf
    assert window.patience(1e9) is None


def test_a_break_is_the_outcome_of_all_without_an_answer() -> None:
    window = Window(9, math.inf, "p")
    sent = [window.add(ASK, 0.0) for _ in range(3)]
    window.settle(answer(sent[1]))
    window.fail(errors.WorkerLost("gone"))
    lost = [isinstance(asked.outcome, errors.WorkerLost) for asked in iter(lambda: window.pop(0.0), None)]
    assert lost == [True, False, True]


def test_a_refused_question_keeps_its_place() -> None:
    window = Window(9, math.inf, "p")
    first = window.add(ASK, 0.0)
    window.refuse(errors.InvalidTensor("no"), 0.0)
    assert window.pop(0.0) is None
    window.settle(answer(first))
    assert [asked.question for asked in iter(lambda: window.pop(0.0), None)] == [ASK, None]


def test_an_error_names_its_request() -> None:
    window = Window(9, math.inf, "p")
    request = window.add(ASK, 0.0)
    window.settle(pb.PredictStreamResponse(request_id=request.request_id, error=to_status(errors.QueueFull("full"))))
    done = window.pop(0.0)
    assert done is not None
    assert isinstance(done.outcome, errors.QueueFull)
    assert done.outcome.request_id == "p-1"


def test_a_window_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="in_flight must be at least 1"):
        Window(0, 1.0, "p")
