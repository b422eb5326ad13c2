"""All API keys: made, revoked, and looked up at each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..errors import NotFound
from ..rpc.access import ApiKey
from . import audit
from .keys import api_key, new_key
from .names import quoted
from .state import Key
from .store import Store
from .watch import Hub, Kind


class Keyring:
    """The keys that are not revoked. Methods belong to the registry's thread.

    Args:
        store: where they are kept.
        hub: whom they are told to.
        wall: unix seconds.
        keys: those that the store held at start.
    """

    def __init__(self, store: Store, hub: Hub, wall: Callable[[], float], keys: Iterable[Key]) -> None:
        self._store = store
        self._hub = hub
        self._wall = wall
        self._keys: dict[str, Key] = {}
        self.table: dict[str, ApiKey] = {}
        """For `rpc.access.authenticate`; always the present state."""
        for key in keys:
            self._put(key)

    def list(self) -> list[Key]:
        """All keys, the oldest first."""
        return list(self._keys.values())

    async def create(self, name: str, scopes: Sequence[str]) -> tuple[str, Key]:
        """Make a key; its secret is in the answer and nowhere else. Raises InvalidArgument."""
        secret, key = new_key(name, scopes, self._wall())
        await self.add(key)
        return secret, key

    async def add(self, key: Key) -> None:
        """Take a key that was made elsewhere."""
        text = f"key {key.key_id} is new, with the scopes {' '.join(key.scopes)}"
        await self._store.save_key(key, audit.line(key.name, text))
        self._put(key)

    async def revoke(self, key_id: str) -> None:
        """Make a key useless. Raises NotFound."""
        if key_id not in self._keys:
            text = f"there is no key {quoted(key_id)}; `penstock key list` lists those there are"
            raise NotFound(text, resource=("key", quoted(key_id)))
        name = self._keys[key_id].name
        await self._store.drop_key(key_id, audit.line(name, f"key {key_id} is revoked"))
        self._keys.pop(key_id, None)
        self.table.pop(key_id, None)
        self._hub.remove(Kind.KEY, key_id)

    def _put(self, key: Key) -> None:
        self._keys[key.key_id] = key
        self.table[key.key_id] = api_key(key)
        self._hub.put(Kind.KEY, key.key_id, key)
