"""A model of an archive, put back as it was: judged as strictly as if each of its versions were published now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from penstock.v1 import registry_pb2 as pb

from ..errors import InvalidArgument, VersionExists, Violation
from ..signing import Trust
from .archived import check_archived, draft_of
from .artifacts import Artifacts, Upload
from .names import refuse
from .provenance import check_signed
from .receiving import checked_offsets, receive
from .records import files_from_messages
from .registry import Registry
from .state import Model
from .stored_records import stored_from_message, stored_to_message
from .turns import to_the_end

Requests = AsyncIterator[pb.RestoreModelRequest]


class Restoring:
    """Takes models of archives, any number at a time.

    Args:
        registry: which models there are.
        artifacts: their files.
        turn: held by who puts something into the registry that was not there when it looked.
        trust: whose signatures count.
    """

    def __init__(self, registry: Registry, artifacts: Artifacts, turn: asyncio.Lock, trust: Trust | None) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._trust = trust or Trust()
        self._turn = turn

    async def restore(self, requests: Requests) -> pb.RestoreModelResponse:
        """Put a model back; one that is there, the same, is answered without reading its bytes.

        Raises:
            InvalidArgument: a bad header, or bytes that are too few or too many.
            VersionExists: there is another model of that name.
            ArtifactCorrupt, Conflict, StorageFull, SignatureRefused: as for publishing. Nothing is put back.
        """
        header = await _header(requests)
        model, files = _model(header), files_from_messages(header.files)
        check_archived(model, files, self._artifacts.room.limits)
        offsets = checked_offsets(files, header.offsets)
        if self._is_there(header.model):
            return pb.RestoreModelResponse(existed=True)
        self._artifacts.room.check(sum(file.size for file in files) - sum(offsets))
        async with self._artifacts.begin(files) as upload:
            await receive(requests, files, offsets, upload)
            await self._check_signed(upload, model)
            return await to_the_end(self._store(upload, model, header.model))

    async def _check_signed(self, upload: Upload, model: Model) -> None:
        for version in model.versions:
            await check_signed(self._trust, upload, draft_of(version))

    async def _store(self, upload: Upload, model: Model, message: pb.StoredModel) -> pb.RestoreModelResponse:
        async with self._turn:
            if self._is_there(message):
                return pb.RestoreModelResponse(existed=True)
            await upload.keep()
            await self._registry.restore(model)
            return pb.RestoreModelResponse(existed=False)

    def _is_there(self, message: pb.StoredModel) -> bool:
        known = self._registry.stored(message.name)
        if known is None:
            return False
        if not _same(stored_to_message(known), message):
            text = f"there is another model {message.name!r}; import it into a registry that has none of that name"
            raise VersionExists(text, resource=("model", message.name), metadata={"model": message.name})
        return True


def _same(known: pb.StoredModel, archived: pb.StoredModel) -> bool:
    """What workers have found out since does not count."""
    for ours, theirs in zip(known.versions, archived.versions, strict=False):
        if not theirs.HasField("signature"):
            ours.ClearField("signature")
        ours.memory_bytes = theirs.memory_bytes
    return known == archived


async def _header(requests: Requests) -> pb.RestoreHeader:
    first = await anext(requests, None)
    if first is None or not first.HasField("header"):
        raise InvalidArgument("the first message must hold the header", violations=[Violation("header", "is missing")])
    return first.header


def _model(header: pb.RestoreHeader) -> Model:
    try:
        return stored_from_message(header.model)
    except ValueError:
        refuse([Violation("model", "holds a dtype or a placement that this release does not know")])
        raise
