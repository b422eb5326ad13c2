"""The store in etcd: every write is one transaction, and none is made by a registry that no longer leads."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from penstock.etcd.v3 import etcd_pb2
from penstock.v1 import registry_pb2 as pb

from ....errors import FailedPrecondition, InvalidArgument, RegistryUnavailable, StorageFull
from ... import records
from ...rules import remembered
from ...state import AliasChange, Audit, Key, Model, Version, Worker
from ...store import Stored
from . import keys as layout
from . import operations as ops
from .audits import Audits
from .client import EtcdClient
from .term import Term

PAGE = 256
"""Keys that are read at once. A version is the greatest value and may have hundreds of kilobytes."""
_MOST_STEPS = 128
"""In one transaction; etcd's own default."""


class EtcdStore:
    """The store in etcd, for the time of one term.

    A write that etcd has not answered may have been made, or be made later. Then the term is given up, so that it can
    no longer be made, and what was stored is read anew by whoever leads next.

    Args:
        client: to etcd; the caller closes it.
        prefix: of all keys.
        term: for which this process leads.
    """

    def __init__(self, client: EtcdClient, prefix: str, term: Term) -> None:
        self._client = client
        self._keys = layout.Keys(prefix)
        self._term = term
        self._turn = asyncio.Lock()
        self._run = 0
        self._writes = 0
        self._changes = 0
        self._last_write = 0
        """The revision of `last_write`."""
        self._kept: dict[str, dict[AliasChange, bytes]] = {}
        """By model: the changes in the store, and their keys."""
        self._audits = Audits(self._keys, client.range)

    async def begin_run(self) -> int:
        """See Store.

        Raises:
            ValueError: a newer release has written it.
        """
        keys = self._keys
        wanted = [keys.format, keys.registry_id, keys.runs, keys.last_write]
        found = [await self._client.range(etcd_pb2.RangeRequest(key=key)) for key in wanted]
        seen, registry_id, runs, last = (answer.kvs[0] if answer.kvs else None for answer in found)
        if seen is not None and int(seen.value) > layout.FORMAT:
            raise ValueError(
                f"the registry's store in etcd is of format {int(seen.value)}, and this release knows none above "
                f"{layout.FORMAT}: start the newer penstock that wrote it, or use another prefix"
            )
        self._last_write = last.mod_revision if last else 0
        run = 1 + (int(runs.value) if runs else 0)
        steps = [ops.put(keys.format, str(layout.FORMAT).encode()), ops.put(keys.runs, str(run).encode())]
        if registry_id is None:
            steps.append(ops.put(keys.registry_id, secrets.token_hex(8).encode()))
        await self._write(steps)
        self._run = run
        return run

    async def load(self) -> Stored:
        """See Store."""
        keys = self._keys
        models: dict[str, bytes] = {}
        versions: dict[str, dict[int, Version]] = {}
        history: dict[str, list[AliasChange]] = {}
        leased: dict[str, Worker] = {}
        now: dict[str, Worker] = {}
        api_keys: list[Key] = []
        registry_id = ""
        self._kept = {}
        await self._audits.load()
        async for pair in self._everything():
            kind, *rest = keys.parts(pair.key)
            if kind == "models":
                models[rest[0]] = pair.value
            elif kind == "versions":
                version = layout.version_from(pair.value)
                versions.setdefault(rest[0], {})[version.number] = version
            elif kind == "changes":
                change = layout.change_from(pair.value)
                history.setdefault(rest[0], []).append(change)
                self._kept.setdefault(rest[0], {})[change] = pair.key
            elif kind == "leases":
                leased[rest[0]] = replace(_worker(pair.value), epoch=pair.mod_revision)
            elif kind == "workers":
                now[rest[0]] = _worker(pair.value)
            elif kind == "keys":
                api_keys.append(layout.key_from(pair.value))
            elif kind == "registry_id":
                registry_id = pair.value.decode()
        made = [
            layout.model_from(value, versions.get(name, {}), remembered(tuple(history.get(name, ()))))
            for name, value in models.items()
        ]
        workers = [_latest(worker, now.get(worker_id)) for worker_id, worker in leased.items()]
        workers.sort(key=lambda worker: worker.epoch)
        api_keys.sort(key=lambda key: (key.created, key.key_id))
        return Stored(tuple(made), tuple(workers), tuple(api_keys), registry_id)

    async def save_model(
        self, before: Model | None, after: Model, changes: Sequence[AliasChange], audit: Audit | None = None
    ) -> None:
        """See Store."""
        name = after.name
        old = {version.number: version for version in before.versions} if before else {}
        new = {version.number: version for version in after.versions}
        steps = [ops.put(self._keys("models", name), layout.model_value(after))]
        for number, version in new.items():
            if old.get(number) != version:
                steps.append(ops.put(self._keys.version(name, number), layout.version_value(version)))
        steps += [ops.delete(self._keys.version(name, number)) for number in old.keys() - new.keys()]
        added = {change: self._change_key(name) for change in changes}
        steps += [ops.put(key, layout.change_value(change)) for change, key in added.items()]
        steps += await self._audits.steps(audit)
        if len(steps) >= _MOST_STEPS:
            text = f"{name!r} has too many versions and changes to be written to etcd at once ({len(steps)} keys)"
            raise FailedPrecondition(f"{text}; etcd takes {_MOST_STEPS - 1}", precondition=name)
        kept = self._kept.get(name, {}) | added
        forgotten = list(kept.keys() - set(after.changes))[: max(0, _MOST_STEPS - 1 - len(steps))]
        steps += [ops.delete(kept.pop(change)) for change in forgotten]
        await self._write(steps)
        self._kept[name] = kept

    def _change_key(self, name: str) -> bytes:
        self._changes += 1
        return self._keys.change(name, self._run, self._changes)

    async def grant(self, worker: Worker) -> Worker:
        """See Store."""
        worker_id = worker.worker_id
        steps = [ops.put(self._keys("leases", worker_id), _value(worker)), ops.delete(self._keys("workers", worker_id))]
        return replace(worker, epoch=await self._write(steps))

    async def save_worker(self, worker: Worker, audit: Audit | None = None) -> None:
        """See Store."""
        lease = ops.unchanged_since(self._keys("leases", worker.worker_id), worker.epoch)
        steps = [ops.put(self._keys("workers", worker.worker_id), _value(worker)), *await self._audits.steps(audit)]
        await self._write(steps, lease)

    async def drop_workers(self, worker_ids: Iterable[str]) -> None:
        """See Store."""
        steps = [ops.delete(self._keys(kind, id_)) for id_ in worker_ids for kind in ("leases", "workers")]
        for at in range(0, len(steps), _MOST_STEPS - 2):
            await self._write(steps[at : at + _MOST_STEPS - 2])

    async def save_key(self, key: Key, audit: Audit | None = None) -> None:
        """See Store."""
        steps = [ops.put(self._keys("keys", key.key_id), layout.key_value(key))]
        await self._write([*steps, *await self._audits.steps(audit)])

    async def drop_key(self, key_id: str, audit: Audit | None = None) -> None:
        """See Store."""
        await self._write([ops.delete(self._keys("keys", key_id)), *await self._audits.steps(audit)])

    async def save_audit(self, audit: Audit) -> None:
        """See Store."""
        await self._write(await self._audits.steps(audit))

    async def list_audit(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """See Store."""
        return await self._audits.found(subject, since, before_id, limit)

    async def close(self) -> None:
        """See Store. The client is the caller's."""

    async def _write(self, steps: Sequence[etcd_pb2.RequestOp], *conditions: etcd_pb2.Compare) -> int:
        """Do all of it while this registry leads, once, whatever the way; the revision at which it was done.

        With further `conditions` nothing is done if they are not met, which is no error.
        """
        async with self._turn:
            self._writes += 1
            mark = f"{self._term.revision}-{self._writes}".encode()
            last = self._keys.last_write
            compare = [ops.exists_since(self._term.key, self._term.revision), *conditions]
            if not self._term.holds:
                raise self._give_up("this registry leads no longer; ask another one")
            try:
                answer = await self._client.txn(
                    [*compare, ops.unchanged_since(last, self._last_write)],
                    [ops.put(last, mark), *steps],
                    [ops.read(self._term.key), ops.read(last)],
                )
            except (StorageFull, InvalidArgument):
                raise
            except RegistryUnavailable as error:
                raise self._give_up(error.message) from error
            if answer.succeeded:
                self._last_write = answer.header.revision
            else:
                self._explain(answer, mark)
            return self._last_write

    def _explain(self, answer: etcd_pb2.TxnResponse, mark: bytes) -> None:
        """Find out why nothing was done."""
        leader, last = (next(iter(response.response_range.kvs), None) for response in answer.responses)
        if last is not None and last.value == mark:
            self._last_write = last.mod_revision  # it was done, and the answer was lost
        elif leader is None or leader.create_revision != self._term.revision:
            raise self._give_up("another registry leads; ask again")
        elif (last.mod_revision if last else 0) != self._last_write:
            raise self._give_up("somebody else has written to the registry's part of etcd; ask again")

    def _give_up(self, text: str) -> RegistryUnavailable:
        self._term.lost.set()
        return RegistryUnavailable(text)

    async def _everything(self) -> AsyncIterator[etcd_pb2.KeyValue]:
        """All keys but those of the log, as they were at one moment."""
        root, audits = self._keys.root, self._keys.audits
        revision = 0
        for start, end in ((root, audits), (ops.end_of(audits), ops.end_of(root))):
            more = True
            while more:
                request = etcd_pb2.RangeRequest(key=start, range_end=end, limit=PAGE, revision=revision)
                answer = await self._client.range(request)
                for pair in answer.kvs:
                    yield pair
                revision, more = revision or answer.header.revision, answer.more
                start = answer.kvs[-1].key + b"\0" if answer.kvs else start


def _value(worker: Worker) -> bytes:
    return records.worker_to_message(worker).SerializeToString()


def _worker(value: bytes) -> Worker:
    return records.worker_from_message(pb.WorkerRecord.FromString(value))


def _latest(leased: Worker, now: Worker | None) -> Worker:
    return now if now is not None and now.epoch == leased.epoch else leased
