"""The messages of PredictStream: an envelope says what is asked, and several answers travel in one message."""

from __future__ import annotations

from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from penstock.v1 import worker_pb2 as pb

from ..errors import MalformedRequest

Envelope = pb.PredictStreamEnvelope
Answer = tuple[str, bytes | status_pb2.Status]
"""What the caller calls the question, and what came of it."""


def no_envelope() -> MalformedRequest:
    """What has come is no envelope."""
    return MalformedRequest("a message is not a PredictStreamRequest; generate stubs from the served protos")


def seconds(timeout: bytes) -> float:
    """The time that the caller gives a question.

    Raises:
        MalformedRequest: these bytes are no duration.
    """
    try:
        return duration_pb2.Duration.FromString(timeout).ToNanoseconds() / 1e9
    except DecodeError:
        raise MalformedRequest("timeout is not a google.protobuf.Duration") from None


def sealed(answers: list[Answer]) -> bytes:
    """As one message: the first, and in it the others."""
    name, answer = answers[0]
    message = pb.PredictStreamAnswer(request_id=name)
    _fill(message, answer)
    for name, answer in answers[1:]:
        _fill(message.more.add(request_id=name), answer)
    return message.SerializeToString()


def _fill(message: pb.PredictStreamAnswer, answer: bytes | status_pb2.Status) -> None:
    if isinstance(answer, bytes):
        message.response = answer
    else:
        message.error.CopyFrom(answer)
