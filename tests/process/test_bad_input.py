"""Each kind of bad input through real processes: the code, the reason, the details, and a server that goes on."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

import penstock
from penstock import errors
from penstock.rpc.errors import from_rpc_error
from penstock.testing import Server
from penstock.v1 import model_pb2, predict_pb2, tensor_pb2

pytestmark = pytest.mark.process
PREDICT = "/penstock.v1.PredictService/Predict"
GOOD = np.ones((1, 4), np.float32)


def ask(server: Server, **changes: object) -> penstock.Prediction:
    arguments: dict[str, object] = {"inputs": {"x": GOOD}, "model": "scale"} | changes
    with penstock.Client(server.grpc) as client:
        return client.predict(**arguments)  # type: ignore[arg-type]


CASES: dict[str, tuple[dict[str, object], type[errors.PenstockError], str]] = {
    "a wrong size": ({"inputs": {"x": np.ones((1, 5), np.float32)}}, errors.InvalidTensor, "inputs[0].shape[1]"),
    "a wrong rank": ({"inputs": {"x": np.ones(4, np.float32)}}, errors.InvalidTensor, "inputs[0].shape"),
    "a wrong dtype": ({"inputs": {"x": np.ones((1, 4), np.int64)}}, errors.InvalidTensor, "inputs[0].dtype"),
    "no rows": ({"inputs": {"x": np.ones((0, 4), np.float32)}}, errors.InvalidTensor, "inputs[0].shape[0]"),
    "an unknown input": ({"inputs": {"x": GOOD, "z": GOOD}}, errors.InvalidTensor, "inputs[1].name"),
    "a missing input": ({"inputs": {"z": GOOD}}, errors.InvalidTensor, "inputs"),
    "an unknown output": ({"outputs": ["z"]}, errors.InvalidTensor, "output_names[0]"),
    "an unknown model": ({"model": "scala"}, errors.ModelNotFound, ""),
    "an unknown version": ({"version": 9}, errors.VersionNotFound, ""),
    "an unknown alias": ({"alias": "canary"}, errors.AliasNotFound, ""),
    "an illegal name": ({"model": "../x"}, errors.InvalidArgument, "model_spec.name"),
    "an illegal version": ({"version": -1}, errors.InvalidArgument, "model_spec.version"),
}


@pytest.mark.parametrize(("changes", "expected", "field"), CASES.values(), ids=CASES.keys())
def test_bad_input_gets_its_own_error_and_the_server_goes_on(
    shared: Server, changes: dict[str, object], expected: type[errors.PenstockError], field: str
) -> None:
    with pytest.raises(expected) as raised:
        ask(shared, **changes)
    error = raised.value
    assert (type(error), error.code, error.reason) == (expected, expected.code, expected.reason)
    assert error.request_id
    if field:
        assert field in {violation.field for violation in error.violations}
    if isinstance(error, errors.NotFound):
        assert error.resource is not None
    assert np.array_equal(ask(shared)["y"], GOOD * 2)


def raw(server: Server, method: str, request: bytes, timeout: float = 10) -> None:
    with grpc.insecure_channel(server.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            send: Any = channel.unary_unary(method)
            send(request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def test_a_malformed_protobuf_is_named_as_such(shared: Server) -> None:
    for method in (PREDICT, "/penstock.v1.ModelStatusService/ListModels", "/grpc.health.v1.Health/Check"):
        with pytest.raises(errors.MalformedRequest, match="stubs"):
            raw(shared, method, b"\xff\xff\xff")


def test_a_malformed_tensor_behind_a_good_model_spec_is_named_as_such(shared: Server) -> None:
    spec = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="scale")).SerializeToString()
    with pytest.raises(errors.MalformedRequest):
        raw(shared, PREDICT, spec + b"\x12\x03\xff\xff\xff")


def test_an_oversized_message_is_refused_by_its_size(shared: Server) -> None:
    with pytest.raises(errors.ResourceExhausted, match="larger than max"):
        raw(shared, PREDICT, bytes(64 * 1024 * 1024 + 1), timeout=60)


def test_an_expired_deadline_is_a_deadline_exceeded(shared: Server) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        ask(shared, timeout=1e-6)


def test_bytes_that_do_not_fill_the_shape_name_both_numbers(shared: Server) -> None:
    tensor = tensor_pb2.Tensor(name="x", dtype=tensor_pb2.DATA_TYPE_FP32, shape=[1, 4], raw=b"123")
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="scale"), inputs=[tensor])
    with pytest.raises(errors.InvalidTensor, match=r"takes 16 bytes, got 3"):
        raw(shared, PREDICT, request.SerializeToString())


def test_an_unknown_method_is_unimplemented(shared: Server) -> None:
    with pytest.raises(errors.Unimplemented):
        raw(shared, "/penstock.v1.PredictService/Guess", b"")


def _http(server: Server, path: str) -> tuple[int, str]:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{server.http}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(("path", "expected"), [("/livez", 200), ("/readyz", 200), ("/nothing", 404)])
def test_the_http_port_answers_probes(shared: Server, path: str, expected: int) -> None:
    assert _http(shared, path)[0] == expected
