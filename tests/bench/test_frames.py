from __future__ import annotations

import pytest

from penstock.bench.frames import Questions, answers, coalesced, varint
from penstock.errors import QueueFull
from penstock.rpc.errors import to_status
from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

REQUESTS = [pb.PredictRequest(model_spec=model_pb2.ModelSpec(name="m" * size)) for size in (1, 5000)]
BODIES = [request.SerializeToString() for request in REQUESTS]


def test_questions_made_of_bytes_are_the_messages_that_protobuf_makes() -> None:
    questions = Questions(BODIES)
    sent = coalesced([questions.question(0), questions.question(1, left=0.05), questions.question(0xABC)])
    first = pb.PredictStreamRequest.FromString(sent)
    assert [q.request_id for q in (first, *first.more)] == ["00000000", "00000001", "00000abc"]
    assert [q.request for q in (first, *first.more)] == [REQUESTS[0], REQUESTS[1], REQUESTS[0]]
    assert [q.HasField("timeout") for q in (first, *first.more)] == [False, True, False]
    assert first.more[0].timeout.ToMicroseconds() == 50_000


@pytest.mark.parametrize(("left", "microseconds"), [(0.0123456, 12_300), (3.25, 3_250_000)])
def test_remaining_time_is_rounded_down(left: float, microseconds: int) -> None:
    message = pb.PredictStreamRequest.FromString(Questions(BODIES).question(0, left))
    assert message.timeout.ToMicroseconds() == microseconds


def test_answers_are_matched_by_their_ids_and_errors_told_apart() -> None:
    error = to_status(QueueFull("no room"))
    message = pb.PredictStreamResponse(
        request_id="0000000a",
        response=pb.PredictResponse(),
        more=[
            pb.PredictStreamResponse(request_id="0000000b", error=error),
            pb.PredictStreamResponse(request_id="0000000c", response=pb.PredictResponse()),
        ],
    )
    assert list(answers(message.SerializeToString())) == [(10, None), (11, error), (12, None)]


@pytest.mark.parametrize("value", [0, 127, 128, 300, 2**21, 2**32])
def test_lengths_are_written_as_protobuf_writes_them(value: int) -> None:
    message = pb.PredictStreamRequest.FromString(b"\x0a" + varint(3) + b"abc")
    assert message.request_id == "abc"
    decoded = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(varint(value)))
    assert decoded == value
