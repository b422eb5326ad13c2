"""Asks a model with generated stubs alone: the signature first, then zeros as typed values, then zeros as raw bytes.

    PYTHONPATH=generated python caller.py 127.0.0.1:8001 MODEL

Needs grpcio, protobuf, googleapis-common-protos and what generate.sh makes; not the penstock package. An API key is
taken from PENSTOCK_API_KEY.
"""

from __future__ import annotations

import math
import os
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2

from penstock.v1 import model_pb2, model_status_pb2, model_status_pb2_grpc, predict_pb2, predict_pb2_grpc, tensor_pb2

TIMEOUT = 10.0
"""Seconds for each call. A request without a deadline may wait for ever."""
# dtype: the typed list, its zero, bytes per element in `raw` (an empty string is its 4-byte length)
FORMS: dict[str, tuple[str, bool | bytes | float, int]] = {
    **{name: ("floats", 0.0, size) for name, size in (("FP16", 2), ("BF16", 2), ("FP32", 4))},
    **{f"INT{bits}": ("ints", 0, bits // 8) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": ("uints", 0, bits // 8) for bits in (8, 16, 32, 64)},
    **{"FP64": ("doubles", 0.0, 8), "BOOL": ("bools", False, 1), "BYTES": ("byte_strings", b"", 4)},
}


def zeros(spec: model_pb2.TensorSpec, *, raw: bool) -> tensor_pb2.Tensor:
    """Zeros for one input; free dimensions are as small as they may be, but at least 1."""
    shape = [dim.size if dim.WhichOneof("kind") == "size" else max(dim.min, 1) for dim in spec.shape]
    form, zero, size = FORMS[tensor_pb2.DataType.Name(spec.dtype).removeprefix("DATA_TYPE_")]
    tensor = tensor_pb2.Tensor(name=spec.name, dtype=spec.dtype, shape=shape)
    if raw:
        tensor.raw = bytes(size * math.prod(shape))
    else:
        getattr(tensor, form).extend([zero] * math.prod(shape))
    return tensor


def ask(address: str, model: str) -> None:
    """Print the answers to both forms of the question."""
    key = os.environ.get("PENSTOCK_API_KEY")
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    spec = model_pb2.ModelSpec(name=model)
    with grpc.insecure_channel(address) as channel:  # one for the whole process; with TLS: grpc.secure_channel
        status = model_status_pb2_grpc.ModelStatusServiceStub(channel)
        question = model_status_pb2.GetModelMetadataRequest(model_spec=spec)
        signature = status.GetModelMetadata(question, timeout=TIMEOUT, metadata=metadata).signature
        for raw in (False, True):
            inputs = [zeros(one, raw=raw) for one in signature.inputs]
            request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
            answer = predict_pb2_grpc.PredictServiceStub(channel).Predict(request, timeout=TIMEOUT, metadata=metadata)
            print(f"{'raw bytes' if raw else 'typed values'}, answered by version {answer.model_spec.version}:")
            for tensor in answer.outputs:
                form = FORMS[tensor_pb2.DataType.Name(tensor.dtype).removeprefix("DATA_TYPE_")][0]
                values = tensor.raw.hex() if raw else list(getattr(tensor, form))
                print(f"  {tensor.name} {list(tensor.shape)} {values}")


def explain(error: grpc.RpcError) -> None:
    """Print code, message and google.rpc details; programs test `reason`, the message is for people."""
    print(f"{error.code().name}: {error.details()}", file=sys.stderr)
    trailers = {one.key: one.value for one in error.trailing_metadata() or ()}
    for detail in status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            print(f"  reason {info.reason} ({info.domain}) {dict(info.metadata)}", file=sys.stderr)
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                print(f"  {violation.field}: {violation.description}", file=sys.stderr)


if __name__ == "__main__":
    try:
        ask(*sys.argv[1:])
    except grpc.RpcError as error:
        explain(error)
        sys.exit(1)
