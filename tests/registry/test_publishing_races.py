"""Many who publish one version at the same moment.

PENSTOCK_ROUNDS says how often; the figure in the documents is of 100.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.v1 import registry_pb2 as pb

from .conftest import entry
from .test_artifacts import files_in, read
from .wire import Stub, publish

ROUNDS = int(os.environ.get("PENSTOCK_ROUNDS", "5"))
PUBLISHERS = 32

pytestmark = pytest.mark.timeout(120 + 2 * ROUNDS)


async def test_of_many_who_publish_a_version_with_different_content_one_wins(
    stub: Stub, artifacts: Artifacts, tmp_path: Path
) -> None:
    for version in range(1, ROUNDS + 1):
        contents = [b"%d of %d" % (index, version) for index in range(PUBLISHERS)]
        calls = (publish(stub, content, version=version) for content in contents)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        won = [index for index, answer in enumerate(answers) if isinstance(answer, pb.PublishResponse)]
        lost = [answer for answer in answers if isinstance(answer, errors.VersionExists)]
        assert (len(won), len(lost)) == (1, PUBLISHERS - 1)
        answer = answers[won[0]]
        assert isinstance(answer, pb.PublishResponse)
        assert [file.sha256 for file in answer.manifest.files] == [entry(contents[won[0]]).sha256]
        assert await read(artifacts, contents[won[0]]) == [contents[won[0]]]
    assert len(files_in(tmp_path / "artifacts")) == ROUNDS  # the losers leave nothing


async def test_of_many_who_publish_a_version_with_the_same_content_all_have_it(
    stub: Stub, artifacts: Artifacts
) -> None:
    for version in range(1, ROUNDS + 1):
        content = b"%d" % version
        answers = await asyncio.gather(*(publish(stub, content, version=version) for _ in range(PUBLISHERS)))
        assert sorted(answer.existed for answer in answers) == [False] + [True] * (PUBLISHERS - 1)
        assert len({answer.manifest.SerializeToString(deterministic=True) for answer in answers}) == 1


async def test_of_many_who_publish_without_a_number_each_gets_one_of_its_own(stub: Stub) -> None:
    answers = await asyncio.gather(*(publish(stub, b"%d" % index) for index in range(PUBLISHERS)))
    assert sorted(answer.manifest.version for answer in answers) == list(range(1, PUBLISHERS + 1))
