"""Conditions and steps of etcd's transactions, in short."""

from __future__ import annotations

from penstock.etcd.v3 import etcd_pb2 as pb


def exists_since(key: bytes, revision: int) -> pb.Compare:
    """The key was made at that revision and was there ever since; 0: it is not there."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=key, create_revision=revision)


def unchanged_since(key: bytes, revision: int) -> pb.Compare:
    """The key was last written at that revision; 0: it is not there."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key, mod_revision=revision)


def put(key: bytes, value: bytes, lease: int = 0) -> pb.RequestOp:
    """Write a key, which ends with a lease if one is named."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> pb.RequestOp:
    """Remove a key, if it is there."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))


def delete_before(prefix: bytes, end: bytes) -> pb.RequestOp:
    """Remove all keys from a prefix on, up to `end`."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=prefix, range_end=end))


def read(key: bytes) -> pb.RequestOp:
    """Read a key."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=key))


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin with a prefix, which must not end with a byte 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
