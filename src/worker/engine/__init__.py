"""The batching engine: which requests run together, and when. Executors run them, intakes make them."""

from .engine import Engine
from .executor import Done, Executor, Finished
from .load import Counters, Load
from .policy import BatchPolicy
from .service_time import ServiceTimes, buckets
from .waiting import Joiner

__all__ = [
    "BatchPolicy",
    "Counters",
    "Done",
    "Engine",
    "Executor",
    "Finished",
    "Joiner",
    "Load",
    "ServiceTimes",
    "buckets",
]
