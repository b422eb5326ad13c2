"""What the engine asks of whoever runs batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..job import Job, Outcome


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a batch."""

    outcomes: Sequence[Outcome]
    """One for each job, in the batch's order. Bytes are what the job's `encode` made of its outputs."""
    seconds: float
    """From the first copy to the last answer, as callers are told it."""
    device_s: float | None = None
    """How long it kept others from the device, from which service times are learned; None: all of `seconds`."""
    elements: int = 0
    """Elements of those inputs whose requests are filled up to one length."""
    padded: int = 0
    """How many of these were filled in."""


Done = Callable[[Finished], None]


class Executor(Protocol):
    """Runs batches on one device, in the order of `launch`. All methods are called on the event loop."""

    @property
    def asynchronous(self) -> bool:
        """The device works on its own (CUDA, a servable that returns futures): one batch runs, the next is made ready.

        False: the model computes on this process's CPU.
        """

    def write(self, job: Job) -> None:
        """On arrival: copy the job's rows to where batches are made, set its `slot`, and drop its `inputs`.

        Where there is no room the job stays as it is, and its rows are copied at launch.
        """

    def free(self, job: Job) -> None:
        """A job that was written, or not, will not be launched."""

    def launch(self, batch: Sequence[Job], done: Done) -> None:
        """Run a batch; never raises.

        Args:
            batch: of one key and at least one job; begun. Some may have been abandoned by the time they would run.
            done: called once on the event loop, and by one wake-up of it, when every job has an outcome.
        """
