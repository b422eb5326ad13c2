"""A servicer whose operators' calls all leave a line in the log, also those that are refused or change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..errors import PenstockError, StorageFull, Unavailable
from ..rpc.call import Call
from ..rpc.service import snake
from .audit import entry, is_audited, is_written
from .registry import Registry
from .servicer import SERVICE
from .state import UNCHANGED, Audit

_SUBJECTS = ("name", "worker_id", "key_id")
"""The field of a request that says what it is about."""

log = logging.getLogger("penstock.registry")


class AuditedServicer:
    """To be served instead of `servicer`.

    Args:
        servicer: has the methods.
        registry: has the log.
    """

    def __init__(self, servicer: object, registry: Registry) -> None:
        self._registry = registry
        for method in SERVICE.methods:
            name = snake(method.name)
            function = getattr(servicer, name)
            setattr(self, name, self._audited(function) if is_audited(method.name) else function)

    def _audited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def audited(request: Any, call: Call) -> Any:
            try:
                response = await function(request, call)
            except PenstockError as error:
                await self._note(entry(call, _subject(request, error), error.message, error.reason))
                raise
            if not is_written(call):
                await self._note(entry(call, _subject(request, response=response), "", UNCHANGED))
            return response

        return audited

    async def _note(self, audit: Audit) -> None:
        try:
            await self._registry.note(audit)
        except (StorageFull, Unavailable):
            log.warning("the store takes nothing: %s by %s is not in its log", audit.action, audit.principal)


def _subject(request: Any, error: PenstockError | None = None, response: Any = None) -> str:
    """What a call is about; an upload says it in its first message only, which is gone, or by what came of it."""
    named = next((getattr(request, field) for field in _SUBJECTS if hasattr(request, field)), "")
    if not named and hasattr(response, "manifest"):
        named = response.manifest.name
    return named or (error.metadata.get("model", "") if error else "")
