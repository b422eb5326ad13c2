"""Texts of different lengths in one batch, by the options of `publish`: an exported program with a mask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import penstock
from penstock.client import InstanceStatus
from penstock.testing import CommandFailed, Server, running

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
LENGTHS = [1 + 7 * number % 61 for number in range(64)]


class Attention(torch.nn.Module):
    """The mean of a text's words, weighed by a softmax: wrong at once if it looks at what is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(1000, 16)
        self.score = torch.nn.Linear(16, 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        words = self.words(ids)
        weights = self.score(words)[:, :, 0].masked_fill(~mask, -torch.inf).softmax(1)
        return {"mean": (words * weights[:, :, None]).sum(1), "weights": weights}


@dataclass(frozen=True, slots=True)
class Texts:
    """A server with `texts`, and the model that it serves."""

    server: Server
    model: Attention
    file: Path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Texts]:
    folder = tmp_path_factory.mktemp("texts")
    torch.manual_seed(0)
    model = Attention().eval()
    example = torch.zeros(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.bool)
    free = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("length", min=1, max=64)}
    program = torch.export.export(model, example, dynamic_shapes={"ids": free, "mask": free})
    torch.export.save(program, folder / "texts.pt2")
    with running(folder / "data") as server:
        server.command("publish", "texts", str(folder / "texts.pt2"), "--mask", "ids=mask", "--pad-value", "999")
        yield Texts(server, model, folder / "texts.pt2")


async def test_texts_of_many_lengths_share_batches_and_each_gets_what_the_model_says_of_it_alone(texts: Texts) -> None:
    every = [np.random.default_rng(length).integers(0, 1000, (1, length)) for length in LENGTHS]
    async with penstock.AsyncClient(texts.server.grpc, timeout=20, coalesce=True) as client:
        signature = (await client.metadata("texts")).signature
        assert signature is not None
        assert [spec.name for spec in signature.inputs] == ["ids"]
        answers = await asyncio.gather(*(client.predict("texts", {"ids": ids}) for ids in every))
        for ids, answer in zip(every, answers, strict=True):
            with torch.inference_mode():
                alone = texts.model(torch.from_numpy(ids), torch.ones(ids.shape, dtype=torch.bool))
            assert answer["weights"].shape == ids.shape
            for name, value in alone.items():
                np.testing.assert_allclose(answer[name], value.numpy(), rtol=1e-4, atol=1e-6)
        assert 0 < (await _until_reported(client)).padded_share < 1


async def _until_reported(client: penstock.AsyncClient) -> InstanceStatus:
    """A worker's figures come with its next renewal."""
    async for change in client.watch_status("texts", timeout=60):
        for model in change.models:
            [instance] = [one for version in model.versions for one in version.instances if version.version == 1]
            if instance.padded_share:
                return instance
    raise AssertionError("the watch ended")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--mask", "ids=maks"), "padding names the mask 'maks', which is not an input of the model"),
        (("--mask", "idz=mask"), "the model has no input 'idz'"),
        (("--mask", "ids=mask", "--pad-value", "0.5"), "cannot be filled up with 0.5"),
        (("--mask", "ids=mask", "--length-bucket", "-8"), "batching.padding.buckets"),
        (("--mask", "ids=mask", "--max-pad-fraction", "1.5"), "batching.padding.max_pad_fraction"),
    ],
)
def test_padding_that_does_not_fit_the_model_fails_publish_with_the_reason(
    texts: Texts, options: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(CommandFailed) as failed:
        texts.server.command("publish", "texts", str(texts.file), *options)
    assert reason in failed.value.message
    assert "Traceback" not in failed.value.message
