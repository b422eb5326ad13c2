from __future__ import annotations

import re

import pytest

from penstock.errors import AuthInvalid, InvalidArgument, NotFound
from penstock.registry.keys import new_key
from penstock.rpc.access import authenticate

from .conftest import World


def test_a_key_has_its_form_and_only_its_digest_is_kept() -> None:
    secret, key = new_key("ci", ["admin"], 1.0)
    assert re.fullmatch(rf"psk_{key.key_id}_[0-9a-f]{{64}}", secret)
    assert secret[21:] not in repr(key)


@pytest.mark.parametrize(("name", "scopes"), [("", ["admin"]), ("a\n", ["admin"]), ("ci", []), ("ci", ["root"])])
def test_a_key_without_a_name_or_a_good_scope_is_refused(name: str, scopes: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        new_key(name, scopes, 1.0)


def test_a_bad_scope_is_answered_with_the_good_forms() -> None:
    with pytest.raises(InvalidArgument, match="write admin, predict:MODEL or status:MODEL") as caught:
        new_key("ci", ["admin", "write:all"], 1.0)
    assert caught.value.violations[0].field == "scopes[1]"


async def test_a_key_is_good_until_it_is_revoked(world: World) -> None:
    registry, keyring = world.registry, world.registry.keyring
    secret, key = await registry.create_key("ci", ["predict:*"])
    assert authenticate(f"Bearer {secret}", keyring.table).name == "ci"
    assert keyring.list() == [key]
    await registry.revoke_key(key.key_id)
    with pytest.raises(AuthInvalid):
        authenticate(f"Bearer {secret}", keyring.table)
    with pytest.raises(NotFound):
        await registry.revoke_key(key.key_id)
