"""Options of every channel and server, said once, with the reason for each."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The greatest message, both ways. Never unlimited: a compressed megabyte can become gigabytes."""

Options = Sequence[tuple[str, int | str]]

_METADATA: Options = (
    # Equal soft and hard limits: between them C-core refuses at random.
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 8192),
)


def client_options(max_message_bytes: int = MAX_MESSAGE_BYTES) -> Options:
    """For channels of callers. Retries are ours: C-core's skip messages above 256 KiB."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        *_METADATA,
    )


def internal_options(max_message_bytes: int = MAX_MESSAGE_BYTES) -> Options:
    """For channels between Penstock's own processes: a frozen peer is noticed within about 2 s."""
    return (
        *client_options(max_message_bytes + 64 * 1024),  # what passed the front door must pass the inner one
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.http2.ping_timeout_ms", 1000),  # `keepalive_timeout_ms` is ignored by C-core
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
    )


def server_options(max_message_bytes: int = MAX_MESSAGE_BYTES, *, share_port: bool = False) -> Options:
    """For every server.

    Args:
        max_message_bytes: what a request may be at most.
        share_port: several processes serve the port on purpose; else a second one must fail to bind.
    """
    return (
        ("grpc.so_reuseport", int(share_port)),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # C-core refuses calls at random once 1,000 wait to be picked up; our own bounds answer with a reason.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
        # Else the keepalive of our own clients is a strike, and on an idle connection always.
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", 10_000),
        *_METADATA,
    )


def connect(target: str, *, internal: bool = True) -> grpc.aio.Channel:
    """A channel to one of our servers. The caller closes it."""
    return grpc.aio.insecure_channel(target, options=internal_options() if internal else client_options())
