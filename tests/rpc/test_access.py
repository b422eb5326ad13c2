from __future__ import annotations

import pytest

from penstock.errors import AuthInvalid, AuthMissing, ScopeInsufficient
from penstock.rpc.access import Access, ApiKey, Principal, authenticate, by_id, check, digest, is_scope

KEY = f"psk_{'0123456789abcdef'}_{'f' * 64}"
OTHER = f"psk_{'fedcba9876543210'}_{'f' * 64}"
KEYS = by_id([ApiKey("0123456789abcdef", digest(KEY), Principal("ann", frozenset({"predict:digits"})))])


@pytest.mark.parametrize(
    ("scope", "verb", "model", "expected"),
    [
        ("predict:digits", "predict", "digits", True),
        ("predict:digits", "status", "digits", True),
        ("predict:digits", "predict", "digits2", False),
        ("status:digits", "status", "digits", True),
        ("status:digits", "predict", "digits", False),
        ("predict:*", "predict", "anything", True),
        ("predict:team-a.*", "predict", "team-a.x", True),
        ("predict:team-a.*", "predict", "team-b.x", False),
        ("predict:a*z", "status", "abcz", True),
        ("status:*", "predict", "digits", False),
        ("admin", "predict", "digits", True),
        ("admin", "status", "digits", True),
    ],
)
def test_what_a_scope_allows(scope: str, verb: str, model: str, expected: bool) -> None:
    assert Principal("ann", frozenset({scope})).may(verb, model) is expected


def test_any_of_several_scopes_is_enough() -> None:
    both = Principal("ann", frozenset({"predict:a", "status:b"}))
    assert both.may("predict", "a")
    assert both.may("status", "b")
    assert not both.may("predict", "b")


def test_without_scopes_nothing_is_allowed() -> None:
    with pytest.raises(ScopeInsufficient) as refused:
        Principal("ann", frozenset()).require("predict", "digits")
    assert refused.value.metadata == {"requiredScope": "predict:digits"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("admin", True),
        ("predict:*", True),
        ("status:a.b-c_d*", True),
        ("", False),
        ("predict", False),
        ("predict:", False),
        ("predict:A", False),
        ("predict:a/b", False),
        ("predict:[a]", False),
        ("predict:a?", False),
        ("write:a", False),
        ("admin:*", False),
        ("predict:" + "a" * 200, False),
    ],
)
def test_how_a_scope_is_written(text: str, expected: bool) -> None:
    assert is_scope(text) is expected


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}"])
def test_a_good_key_names_its_principal(header: str) -> None:
    assert authenticate(header, KEYS).name == "ann"


def test_no_header_is_a_missing_credential() -> None:
    with pytest.raises(AuthMissing):
        authenticate("", KEYS)


BAD = [
    KEY,
    f"Basic {KEY}",
    "Bearer",
    "Bearer ",
    f"Bearer  {KEY}",
    f"Bearer {KEY} ",
    f"Bearer {KEY}x",
    f"Bearer {KEY[:-1]}",
    f"Bearer {KEY[:-1]}e",
    f"Bearer {OTHER}",
    f"Bearer {KEY.upper()}",
    f"Bearer {KEY}\n",
    "Bearer psk__",
    "Bearer " + "é" * 90,
    "Bearer " + "\0" * 90,
    " " * 5000,
]


@pytest.mark.parametrize("header", BAD)
def test_a_bad_credential_is_invalid_with_one_text_for_all_causes(header: str) -> None:
    with pytest.raises(AuthInvalid) as refused:
        authenticate(header, KEYS)
    with pytest.raises(AuthInvalid) as other:
        authenticate(f"Bearer {OTHER}", KEYS)
    assert refused.value.message == other.value.message
    assert refused.value.metadata == {}


@pytest.mark.parametrize("access", [None, Access.ADMIN])
def test_a_method_without_a_rule_is_for_admins(access: Access | None) -> None:
    check(access, Principal("root", frozenset({"admin"})), "/x/Y")
    with pytest.raises(ScopeInsufficient, match="admin"):
        check(access, Principal("ann", frozenset({"predict:*"})), "/x/Y")


@pytest.mark.parametrize("access", [Access.PUBLIC, Access.AUTHENTICATED])
def test_other_methods_need_no_admin(access: Access) -> None:
    check(access, Principal("ann", frozenset()), "/x/Y")
