from __future__ import annotations

import math

import numpy as np
import pytest

from penstock import errors
from penstock.worker.job import Job
from penstock.worker.job_future import settled


def job() -> Job:
    return Job([np.zeros(1)], 1, None, math.inf, arrived=0.0)


async def test_an_outcome_can_be_waited_for() -> None:
    one = job()
    waiting = settled(one)
    one.settle([np.ones(1)])
    assert await waiting is one
    assert await settled(one) is one


async def test_a_failed_job_raises_and_nobody_needs_to_look() -> None:
    for one in (job(), job()):
        waiting = settled(one)
        one.settle(errors.ModelError("broken"))
    with pytest.raises(errors.ModelError, match="broken"):
        await waiting


async def test_who_no_longer_waits_is_not_told() -> None:
    one = job()
    settled(one).cancel()
    one.settle([np.ones(1)])
