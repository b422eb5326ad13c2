"""Why a version is in its state, for a person."""

from __future__ import annotations

from penstock.v1 import model_pb2, registry_pb2


def reason(record: registry_pb2.VersionRecord) -> str:
    """What is wrong with a version, or what it waits for; empty: there is nothing to say."""
    waits = "it waits for room in the memory budget" if record.waits else ""  # its own text names other models
    return "; ".join(filter(None, (_failure(record), waits, _sleep(record))))


def _sleep(record: registry_pb2.VersionRecord) -> str:
    asleep = record.on_demand and record.state == model_pb2.MODEL_STATE_END and not record.desired_instances
    return "loaded when it is asked for" if asleep else ""


def _failure(record: registry_pb2.VersionRecord) -> str:
    failure, error = record.last_failure, record.load_error
    if not error:
        return f"the load before failed: {failure.error}" if failure.error else ""
    if not failure.tries:
        return error
    failed = "1 load has failed" if failure.tries == 1 else f"{failure.tries} loads in a row have failed"
    if failure.HasField("next"):
        return f"{error}; {failed}, the next begins at {failure.next.ToJsonString()[11:19]} UTC"
    return f"{error}; {failed}: it is left alone until it is deployed again"
