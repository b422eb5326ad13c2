"""No order of uploads, publications, deletions and collections loses a file of a version.

Every step is taken for itself, also the halves of a collection: what is decided, and what is removed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from penstock import errors
from penstock.registry.artifacts import Artifacts, Upload
from penstock.registry.artifacts.garbage import Blob
from penstock.registry.state import FileEntry

from .conftest import Clock, entry
from .test_artifacts import pieces

CONTENTS = [b"a", b"bb"]


class PausedArtifacts(Artifacts):
    """Stops between the decision what is garbage and its removal, until it is told to go on."""

    def __init__(self, root: Path, wall: Clock) -> None:
        super().__init__(root, wall=wall)
        self.decided, self.go_on = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_event_loop()

    def _remove(self, blobs: Any) -> None:
        async def pause() -> None:
            self.decided.set()
            await self.go_on.wait()

        asyncio.run_coroutine_threadsafe(pause(), self._loop).result()
        super()._remove(blobs)


@dataclass
class Running:
    """An upload that has not ended."""

    upload: Upload
    stack: AsyncExitStack
    files: list[FileEntry] = field(default_factory=list)
    keeping: asyncio.Task[None] | None = None


class Machine(RuleBasedStateMachine):
    uploads = Bundle("uploads")
    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.folder = tempfile.TemporaryDirectory()
        long_after = Clock(4e9)  # all files are old: the grace time protects none
        self.artifacts = PausedArtifacts(Path(self.folder.name), long_after)
        self.published: dict[int, set[str]] = {}
        self.collection: asyncio.Task[list[Blob]] | None = None
        self.numbers = iter(range(10**6))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if self.collection is not None:
            self.remove()
        self.loop.close()
        self.folder.cleanup()

    @initialize()
    def fill(self) -> None:
        """What is there already makes races: it can be used again, and it can be removed."""

        async def store() -> None:
            async with self.artifacts.begin() as upload:
                for content in CONTENTS:
                    await upload.receive(entry(content), pieces(content))
                await upload.keep()

        self.run(store())

    @rule(target=uploads, announced=st.lists(st.sampled_from(CONTENTS), max_size=2))
    def begin(self, announced: list[bytes]) -> Running:
        stack = AsyncExitStack()
        files = [entry(content) for content in announced]
        return Running(self.run(stack.enter_async_context(self.artifacts.begin(files))), stack)

    @rule(running=uploads, content=st.sampled_from(CONTENTS))
    def receive(self, running: Running, content: bytes) -> None:
        self.run(running.upload.receive(entry(content), pieces(content)))
        running.files.append(entry(content))

    @rule(running=uploads, content=st.sampled_from(CONTENTS))
    def reuse(self, running: Running, content: bytes) -> None:
        try:
            self.run(running.upload.reuse(entry(content)))
        except errors.Conflict:
            return
        running.files.append(entry(content))

    @rule(target=versions, running=consumes(uploads))
    def publish(self, running: Running) -> int:
        """As Publishing does: into place, then into the catalogue, then the upload ends."""

        async def steps() -> int:
            keeping = asyncio.ensure_future(running.upload.keep())
            if self.collection is not None:
                await asyncio.wait({keeping}, timeout=0.01)  # it must not come through; if it did, this would show it
                self.artifacts.go_on.set()
                await self.collection
                self.collection = None
            await keeping
            number = next(self.numbers)
            self.published[number] = {file.sha256 for file in running.files}
            await running.stack.aclose()
            return number

        number: int = self.run(steps())
        return number

    @rule(running=consumes(uploads))
    def give_up(self, running: Running) -> None:
        self.run(running.stack.aclose())

    @rule(number=consumes(versions))
    def delete(self, number: int) -> None:
        del self.published[number]

    @precondition(lambda self: self.collection is None)
    @rule()
    def decide(self) -> None:
        async def until_decided() -> None:
            self.artifacts.decided.clear()
            self.artifacts.go_on.clear()
            self.collection = asyncio.ensure_future(self.artifacts.collect(self.needed, 0.0))
            await self.artifacts.decided.wait()

        self.run(until_decided())

    @precondition(lambda self: self.collection is not None)
    @rule()
    def remove(self) -> None:
        assert self.collection is not None
        self.artifacts.go_on.set()
        self.run(_finished(self.collection))
        self.collection = None

    def needed(self) -> set[str]:
        return set().union(*self.published.values())

    @invariant()
    def every_file_of_every_version_is_there(self) -> None:
        for content in CONTENTS:
            if entry(content).sha256 in self.needed():
                assert self.artifacts.path(entry(content).sha256).read_bytes() == content

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        if self.collection is None:
            there = (path for path in Path(self.folder.name).rglob("*") if path.is_file())
            assert self.artifacts.room.used == sum(path.stat().st_size for path in there)


async def _finished(task: asyncio.Task[Any]) -> None:
    await task


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase
