"""Candidates against each other, as far as that can be seen without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import InvalidInput
from penstock.optimization import Optimization, Optimized
from penstock.worker.agreement import Tolerance
from penstock.worker.examples import Examples, Golden
from penstock.worker.loaded import Loaded
from penstock.worker.model_thread import ModelThread
from penstock.worker.samples import Samples
from penstock.worker.trial import Place, optimized

from .conftest import DOUBLED

X = np.array([[1, 2], [3, 4]], np.float32)
Run = Callable[[Sequence[Any]], Any]
Try = Callable[..., Any]


def double(values: Sequence[Any]) -> Any:
    return [values[0] * 2]


def slow(values: Sequence[Any]) -> Any:
    """Twice the same, with much work between."""
    return [values[0] * 2 + (torch.ones(400, 400) @ torch.ones(400, 400)).sum() * 0]


@pytest.fixture
def attempt(thread: ModelThread, tmp_path: Path) -> Try:
    """Tries candidates; the model that would serve, and what was found."""

    async def make(
        run: Run, wanted: Optimization = Optimization.AUTO, golden: Golden | None = None, given: Any = X, **faster: Any
    ) -> tuple[Loaded, Optimized]:
        def made(other: Any) -> Callable[[Path], Run]:
            def maker(cache: Path) -> Run:
                if isinstance(other, Exception):
                    raise other
                assert cache == tmp_path
                return other  # type: ignore[no-any-return]

            return maker

        loaded = Loaded(DOUBLED, run, faster={name: made(other) for name, other in faster.items()})
        samples = Samples(DOUBLED, None if given is None else [given])
        place = Place("cpu", 8, thread, lambda: None, tmp_path)
        return await optimized(loaded, wanted, Examples(samples, golden, Tolerance()), place)

    return make


def problems(found: Optimized) -> dict[str, str]:
    return {candidate.name: candidate.problem for candidate in found.candidates}


async def test_the_fastest_serves_and_all_figures_are_told(attempt: Try) -> None:
    loaded, found = await attempt(slow, aot=double, compile=slow)
    assert (loaded.run, found.chosen) == (double, "aot")
    assert problems(found) == {"plain": "", "aot": "", "compile": ""}
    assert all(list(candidate.seconds) == [1, 2, 8] for candidate in found.candidates)
    assert all(seconds > 0 for candidate in found.candidates for seconds in candidate.seconds.values())


async def test_what_answers_otherwise_is_out_however_fast_it_is(attempt: Try) -> None:
    loaded, found = await attempt(slow, aot=lambda values: [values[0] * 2.1])
    assert (loaded.run, found.chosen) == (slow, "plain")
    assert "it does not answer as the model that was published: output 'y' differs in" in problems(found)["aot"]
    assert found.candidates[1].seconds == {}


async def test_what_is_wrong_with_many_rows_only_is_out(attempt: Try) -> None:
    def wrong(values: Sequence[Any]) -> Any:
        return [values[0] * 2 + (len(values[0]) == 8)]

    _, found = await attempt(double, Optimization.AOT, aot=wrong)
    assert (found.chosen, "differs in 16 of 16 elements" in problems(found)["aot"]) == ("plain", True)


async def test_rows_that_are_mixed_up_are_noticed_also_where_inputs_are_made_up(attempt: Try) -> None:
    _, found = await attempt(double, Optimization.AOT, given=None, aot=lambda values: [values[0].flip(0) * 2])
    assert "differs in 4 of 4 elements" in problems(found)["aot"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no compiler\nand more"), "RuntimeError: no compiler"),
        (InvalidInput("our own words"), "our own words"),
        (RuntimeError(), "RuntimeError: "),
    ],
)
async def test_what_cannot_be_made_costs_nothing_but_is_told(attempt: Try, error: Exception, said: str) -> None:
    loaded, found = await attempt(double, Optimization.AOT, aot=error)
    assert (loaded.run, found.chosen) == (double, "plain")
    assert problems(found) == {"plain": "", "aot": said}


async def test_what_raises_is_out(attempt: Try) -> None:
    def broken(values: Sequence[Any]) -> Any:
        raise RuntimeError("no")

    _, found = await attempt(double, aot=broken)
    assert "it gives no answer to 1 rows of the inputs that were published with it" in problems(found)["aot"]


async def test_what_a_format_does_not_have_is_told(attempt: Try) -> None:
    _, found = await attempt(double, Optimization.COMPILE)
    assert problems(found) == {"plain": "", "compile": "models of this format are run as they are"}


async def test_one_that_was_asked_for_by_name_serves_also_if_it_is_slower(attempt: Try) -> None:
    loaded, found = await attempt(double, Optimization.AOT, aot=slow)
    assert (loaded.run, found.chosen) == (slow, "aot")


async def test_without_an_answer_of_the_model_itself_nothing_can_be_compared(attempt: Try) -> None:
    def picky(values: Sequence[Any]) -> Any:
        raise InvalidInput("must be text")

    loaded, found = await attempt(picky, Optimization.AOT, given=None, aot=double)
    assert (loaded.run, found.chosen) == (picky, "plain")
    assert problems(found)["aot"] == "there is nothing to compare its answers with"


async def test_a_candidate_must_answer_the_golden_example(attempt: Try) -> None:
    def wrong(values: Sequence[Any]) -> Any:
        return [torch.where(values[0] > 50, values[0], values[0] * 2)]

    golden = Golden([np.array([[99, 1]], np.float32)], [np.array([[198, 2]], np.float32)], 1)
    _, found = await attempt(slow, golden=golden, aot=wrong)
    assert "the golden example is answered wrongly" in problems(found)["aot"]
