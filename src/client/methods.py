"""The methods of PredictService as the clients call them: questions are bytes that are already made."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from penstock.v1 import predict_pb2 as pb

_PREDICT, _GENERATE, _STREAM = (
    f"/penstock.v1.PredictService/{name}" for name in ("Predict", "Generate", "PredictStream")
)


class Methods:
    """Those of one channel, of either kind."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.predict: Any = channel.unary_unary(_PREDICT, None, pb.PredictResponse.FromString)
        self.generate: Any = channel.unary_stream(_GENERATE, None, pb.GenerateResponse.FromString)
        self.predict_stream: Any = channel.stream_stream(_STREAM, None, pb.PredictStreamResponse.FromString)
