from __future__ import annotations

import pytest

from penstock.errors import InvalidArgument, OriginNotAllowed
from penstock.registry.urls import Url, check_address, check_allowed, parse, read_allowed, redirected

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://models/a/b.pt2", Url("s3", "models", 0, "/a/b.pt2")),
        ("S3://models", Url("s3", "models", 0, "/")),
        ("gs://Models_x/a/", Url("gs", "Models_x", 0, "/a/")),
        ("https://Example.com/a%20b.pt2?token=x", Url("https", "example.com", 443, "/a%20b.pt2", "token=x")),
        ("http://[::1]:81/x", Url("http", "::1", 81, "/x")),
        (f"https://h/x#sha256={DIGEST}", Url("https", "h", 443, "/x", "", DIGEST)),
    ],
)
def test_what_is_well_formed_is_understood(text: str, url: Url) -> None:
    assert parse(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model.pt2",
        "file:///etc/passwd",
        "ftp://h/x",
        "gopher://h/x",
        "https:///x",
        "https://user:secret@h/x",
        "https://h:99999/x",
        "https://h:x/x",
        "https://[::1/x",
        "https://h/a/../b",
        "https://h/a/%2e%2e/b",
        "https://h/a%2f..%2fb/c",
        "https://h/a//b",
        "https://h/..",
        "https://h/a\\b",
        "https://h/a b",
        "https://h/\x00",
        "https://h\n/x",
        f"https://{'a' * 64}.com/x",
        "https://h/x#top",
        "https://h/x#sha256=12",
        "s3://models:9000/x",
        "s3://models/x?versionId=1",
        "s3://models/a%2fb",
        "s3:///x",
        "https://h/" + "x" * 2048,
    ],
)
def test_what_is_not_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="url: "):
        parse(text)


def test_a_password_in_a_query_is_never_shown() -> None:
    assert str(parse("https://h:444/a/b?secret=1")) == "https://h:444/a/b"


ALLOWED = read_allowed("s3://models/team-a  https://files.example.com/penstock/ http://127.0.0.1:9000")


@pytest.mark.parametrize(
    "text",
    [
        "s3://models/team-a/x.pt2",
        "s3://models/team-a",
        "https://files.example.com/penstock/a/b.pt2?x=1",
        "http://127.0.0.1:9000/x",
    ],
)
def test_what_is_listed_and_all_below_it_may_be_read(text: str) -> None:
    check_allowed(parse(text), ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "s3://models/team-abc/x.pt2",
        "s3://models/x.pt2",
        "gs://models/team-a/x.pt2",
        "http://files.example.com/penstock/x",
        "https://files.example.com:444/penstock/x",
        "https://files.example.com.evil.com/penstock/x",
        "http://127.0.0.1:9001/x",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_nothing_else_may(text: str) -> None:
    with pytest.raises(OriginNotAllowed, match="setting artifact_urls"):
        check_allowed(parse(text), ALLOWED)


def test_nothing_may_be_read_unless_it_is_listed() -> None:
    with pytest.raises(OriginNotAllowed):
        check_allowed(parse("https://h/x"), read_allowed(""))
    with pytest.raises(ValueError, match="artifact_urls: file:///x: "):
        read_allowed("file:///x")


def test_a_redirect_is_judged_like_the_url_itself() -> None:
    url = parse("https://files.example.com/penstock/x")
    assert redirected(url, "y?z", ALLOWED) == parse("https://files.example.com/penstock/y?z")
    for location in (
        "/other/x",
        "http://files.example.com/penstock/x",
        "https://evil.com/penstock/x",
        "http://127.0.0.1:9000/x",
        "s3://models/team-a/x",
    ):
        with pytest.raises(OriginNotAllowed):
            redirected(url, location, ALLOWED)
    for location in ("file:///etc/passwd", "https://a:b@files.example.com/penstock/x"):
        with pytest.raises(InvalidArgument):
            redirected(url, location, ALLOWED)


@pytest.mark.parametrize("address", ["93.184.216.34", "10.1.2.3", "2606:2800:220:1::1", "fd12::1"])
def test_addresses_of_other_hosts_are_connected_to(address: str) -> None:
    check_address(parse("https://files.example.com/x"), address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
    ],
)
def test_a_name_that_means_this_host_or_its_link_is_refused(address: str) -> None:
    with pytest.raises(OriginNotAllowed):
        check_address(parse("https://files.example.com/x"), address)


@pytest.mark.parametrize(("host", "address"), [("localhost", "::1"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")])
def test_this_host_is_connected_to_where_it_is_named_so(host: str, address: str) -> None:
    check_address(parse(f"http://{host}/x"), address)
