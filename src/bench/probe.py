"""One request before the load, so that what is wrong with it is said once and not thousands of times."""

from __future__ import annotations

from typing import Any

import grpc

from ..rpc.channel import client_options
from ..rpc.errors import from_rpc_error
from .plan import Plan

PATIENCE = 30.0
"""Seconds for the first answer."""


def probe(plan: Plan) -> None:
    """Send the first request of a plan, without its deadline.

    Raises:
        PenstockError: it was not answered.
    """
    with grpc.insecure_channel(plan.address, client_options()) as channel:
        send: Any = channel.unary_unary(plan.method)
        try:
            send(plan.bodies[0], timeout=PATIENCE, metadata=plan.headers)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
