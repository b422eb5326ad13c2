"""What passes: not now, not so much, not so late."""

from __future__ import annotations

from grpc import StatusCode

from .base import PenstockError


class Unavailable(PenstockError):
    """Not now. The call was not run, or can safely be run again."""

    code, reason = StatusCode.UNAVAILABLE, "UNAVAILABLE"
    default_retry_after = 1.0


class ModelLoading(Unavailable):
    """The version is being loaded."""

    reason = "MODEL_LOADING"


class NoLiveWorker(Unavailable):
    """The version should be served, but no worker is there at the moment."""

    reason = "NO_LIVE_WORKER"


class WorkerDraining(Unavailable):
    """The worker is about to end; others, or its successor, answer."""

    reason = "WORKER_DRAINING"
    default_retry_after = 0.0


class WorkerLost(Unavailable):
    """The connection to the worker broke while it held the request."""

    reason = "WORKER_LOST"
    default_retry_after = 0.0


class StreamBroken(Unavailable):
    """The worker was lost after the first of several answers; only the caller knows whether to ask again."""

    reason = "STREAM_BROKEN"


class Draining(Unavailable):
    """This server is stopping; connect again."""

    reason = "SERVER_DRAINING"
    default_retry_after = 0.0


class RegistryUnavailable(Unavailable):
    """The registry cannot be reached."""

    reason = "REGISTRY_UNAVAILABLE"


class ResourceExhausted(PenstockError):
    """A bound is reached."""

    code, reason = StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"


class QueueFull(ResourceExhausted):
    """As many requests wait as may wait."""

    reason = "QUEUE_FULL"
    default_retry_after = 0.1


class ConcurrencyLimit(ResourceExhausted):
    """As many requests are in flight as may be."""

    reason = "CONCURRENCY_LIMIT"
    default_retry_after = 0.1


class PredictedLate(ResourceExhausted):
    """What waits already takes longer than the caller has time; refused at once, so that the caller need not wait."""

    reason = "DEADLINE_UNREACHABLE"


class MemoryPressure(ResourceExhausted):
    """As many bytes wait as may wait."""

    reason = "MEMORY_PRESSURE"
    default_retry_after = 0.1


class MemoryBudgetExceeded(ResourceExhausted):
    """The memory that workers together may have does not suffice for what would be loaded."""

    reason = "MEMORY_BUDGET_EXCEEDED"


class SlowConsumer(ResourceExhausted):
    """A caller did not read its answers as fast as the model gave them."""

    reason = "SLOW_CONSUMER"


class DeviceOutOfMemory(ResourceExhausted):
    """The device has not enough memory even for this request alone."""

    reason = "GPU_OUT_OF_MEMORY"


class StorageFull(ResourceExhausted):
    """The disk of the registry is full."""

    reason = "STORAGE_FULL"


class DeadlineExceeded(PenstockError):
    """The time given by the caller is over."""

    code, reason = StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"


class ExpiredInQueue(DeadlineExceeded):
    """The time was over before the request was run; it was not run."""

    reason = "EXPIRED_IN_QUEUE"


class Cancelled(PenstockError):
    """The caller gave up."""

    code, reason = StatusCode.CANCELLED, "CANCELLED"
