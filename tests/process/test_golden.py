"""A version whose weights are not those that its golden example was made with, published while callers ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

import penstock
from penstock.client import VersionStatus
from penstock.testing import CommandFailed, Server, running

from ..digits import Convolutions, answers, export, save_golden, scans, trained

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Digits:
    """A server whose `digits` version 1 was published with a golden example, and the model that it serves."""

    server: Server
    model: torch.nn.Module
    folder: Path

    @property
    def golden(self) -> str:
        """The file."""
        return str(self.folder / "golden.npz")


@pytest.fixture
def digits(tmp_path: Path) -> Iterator[Digits]:
    model = trained(Convolutions)
    images, truth = scans()
    assert (answers(model, images)["scores"].argmax(1) == truth).mean() > 0.9
    source = export(model, tmp_path / "digits.pt2")
    golden = save_golden(model, images[:5], tmp_path / "golden.npz")
    with running(tmp_path / "data") as server:
        options = ("--golden", str(golden), "--golden-rtol", "0.01", "--golden-atol", "0.001", "--warm-up", str(golden))
        server.command("publish", "digits", str(source), *options)
        yield Digits(server, model, tmp_path)


@dataclass
class Asked:
    """What callers saw."""

    right: int = 0
    wrong: int = 0
    failures: list[penstock.errors.PenstockError] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    stop: bool = False
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, answers: int) -> None:
        """Wait until so many more right answers have come."""
        goal = self.right + answers
        while self.right < goal:
            self._progress.clear()
            await self._progress.wait()

    async def ask(self, client: penstock.AsyncClient, model: torch.nn.Module, first: int) -> None:
        """Again and again, each time with another scan, until `stop`."""
        images, _ = scans()
        expected = answers(model, images)["scores"]
        while not self.stop:
            first = (first + 1) % len(images)
            try:
                answer = await client.predict("digits", {"image": images[first : first + 1]})
            except penstock.errors.PenstockError as error:
                self.failures.append(error)
                continue
            self.versions.add(answer.version)
            near = np.allclose(answer["scores"], expected[first : first + 1], rtol=1e-3, atol=1e-4)
            self.right, self.wrong = self.right + near, self.wrong + (not near)
            self._progress.set()


@asynccontextmanager
async def asking(digits: Digits) -> AsyncIterator[Asked]:
    """Callers for the length of the block."""
    asked = Asked()
    async with penstock.AsyncClient(digits.server.grpc, timeout=20, retries=0) as client:
        tasks = [asyncio.create_task(asked.ask(client, digits.model, 100 * caller)) for caller in range(8)]
        await asked.more(20)
        try:
            yield asked
        finally:
            asked.stop = True
            await asyncio.gather(*tasks)


def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """The same with weights that went through BF16, as by a mistake in conversion."""
    other = Convolutions()
    other.load_state_dict({name: value.bfloat16().float() for name, value in model.state_dict().items()})
    return other.eval()


async def test_a_version_that_does_not_fit_its_golden_example_ends_with_the_reason_and_costs_no_request(
    digits: Digits,
) -> None:
    other = str(export(rounded(digits.model), digits.folder / "other.pt2"))
    async with asking(digits) as asked:
        with pytest.raises(CommandFailed) as failed:
            await asyncio.to_thread(
                digits.server.command, "publish", "digits", other, "--golden", digits.golden, "--alias", "stable"
            )
        await asked.more(200)
    assert (asked.failures, asked.wrong, asked.versions) == ([], 0, {1})
    assert "the golden example is answered wrongly: output 'scores' differs in" in failed.value.message
    assert "Traceback" not in failed.value.message
    second, first = await _until_failed(digits.server)
    assert (first.version, first.state, first.aliases) == (1, "AVAILABLE", ("stable",))
    assert second.reason.startswith("the golden example is answered wrongly: output 'scores' differs in")
    assert "allowed are rtol 0.001, atol 0.0001" in second.reason


async def _until_failed(server: Server) -> tuple[VersionStatus, ...]:
    """The versions as they are when the load of the newest has failed; from time to time it is tried again."""
    async with penstock.AsyncClient(server.grpc) as client:
        async for change in client.watch_status("digits", timeout=60):
            for model in change.models:
                if (model.versions[0].version, model.versions[0].state) == (2, "END"):
                    return model.versions
    raise AssertionError("the watch ended")
