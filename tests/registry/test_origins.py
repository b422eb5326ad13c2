"""Versions that the registry fetches itself, from a web server and from an S3, both on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from penstock import errors
from penstock.registry.artifacts import Artifacts
from penstock.registry.limits import Limits
from penstock.registry.origins import Origin, Origins
from penstock.registry.servicer import SERVICE, RegistryServicer
from penstock.registry.urls import read_allowed
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.v1 import registry_pb2 as pb
from penstock.v1 import registry_pb2_grpc

from .conftest import World, entry
from .test_artifacts import files_in, read
from .wire import Stub, header, send

CONTENT = bytes(range(256)) * 10_000
"""2.5 MB."""
PYTHON = "scale.py:Scale"


class Web(ThreadingHTTPServer):
    """Answers what it is told to, by path; counts how often it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.silent = threading.Event()
        """Set: who waits in `/silent` goes on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/silent":
            self.server.silent.wait(20)
        status, headers, body = self.server.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.silent.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 with the bucket `models`; the environment has what the registry needs to reach it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="models")
        yield client
        client.close()
    server.stop()


@pytest.fixture
async def fetching(world: World, artifacts: Artifacts, web: Web) -> AsyncIterator[Stub]:
    """A registry that may read below the web server's `/models/` and in the bucket `models`."""
    origins = Origins(read_allowed(f"{web.url}/models/ {web.url}/silent s3://models"), 10.0)
    servicer = RegistryServicer(world.registry, artifacts, origins=origins)
    server = build(CallInterceptor(), [(SERVICE, servicer)])
    port = bind(server, "127.0.0.1:0", "--registry-port")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as channel:
            yield registry_pb2_grpc.RegistryServiceStub(channel)
    finally:
        await server.stop(0)


async def fetch(stub: Stub, url: str, entry_: str = "model.pt2", **more: Any) -> pb.PublishResponse:
    made = pb.PublishHeader(name="digits", format="torch_export", entry=entry_, url=url, **more)
    return await send(stub, pb.PublishRequest(header=made))


async def test_a_file_of_a_web_server_becomes_a_version(fetching: Stub, web: Web, artifacts: Artifacts) -> None:
    web.answers["/models/model.pt2?token=x"] = (200, {}, CONTENT)
    answer = await fetch(fetching, f"{web.url}/models/model.pt2?token=x#sha256={entry(CONTENT).sha256}")
    [file] = answer.manifest.files
    assert (file.path, file.size, file.sha256) == ("model.pt2", len(CONTENT), entry(CONTENT).sha256)
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT


async def test_files_that_are_sent_come_beside_those_that_are_fetched(fetching: Stub, web: Web) -> None:
    web.answers["/models/model.pt2"] = (200, {}, CONTENT)
    first = header(entry(b"{}", "signature.json"))
    first.header.entry, first.header.url = "model.pt2", f"{web.url}/models/model.pt2"
    answer = await send(fetching, first, b"{}")
    assert [file.path for file in answer.manifest.files] == ["signature.json", "model.pt2"]
    again = await send(fetching, first, b"{}")
    assert again.manifest.version == 2


async def test_a_redirect_is_followed_only_to_where_may_be_read(fetching: Stub, web: Web) -> None:
    web.answers["/models/model.pt2"] = (302, {"Location": "moved.pt2"}, b"")
    web.answers["/models/moved.pt2"] = (200, {}, CONTENT)
    assert (await fetch(fetching, f"{web.url}/models/model.pt2")).manifest.files[0].path == "model.pt2"
    web.answers["/secret/x"] = (200, {}, CONTENT)
    for location in ("/secret/x", "http://169.254.169.254/latest", "http://localhost:1/models/x", "file:///etc/passwd"):
        web.answers["/models/model.pt2"] = (302, {"Location": location}, b"")
        with pytest.raises((errors.OriginNotAllowed, errors.InvalidArgument)):
            await fetch(fetching, f"{web.url}/models/model.pt2")
    assert "/secret/x" not in web.asked
    web.answers["/models/model.pt2"] = (302, {"Location": "model.pt2"}, b"")
    with pytest.raises(errors.FailedPrecondition, match="more than 5 times"):
        await fetch(fetching, f"{web.url}/models/model.pt2")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, {}, b"x"), errors.NotFound),
        ((403, {}, b"secret"), errors.FailedPrecondition),
        ((503, {}, b""), errors.Unavailable),
        ((200, {"Content-Encoding": "gzip"}, b"x"), errors.FailedPrecondition),
        ((200, {"Content-Length": "10"}, b"short"), errors.Unavailable),
    ],
)
async def test_what_does_not_come_whole_is_not_published(
    fetching: Stub, web: Web, artifacts: Artifacts, tmp_path: Path, answer: Any, error: type[errors.PenstockError]
) -> None:
    web.answers["/models/model.pt2?token=secret"] = answer
    with pytest.raises(error) as caught:
        await fetch(fetching, f"{web.url}/models/model.pt2?token=secret")
    assert "secret" not in caught.value.message
    assert files_in(tmp_path / "artifacts") == []
    assert artifacts.room.used == 0


async def test_a_file_that_is_not_the_one_that_was_meant_is_refused(fetching: Stub, web: Web, tmp_path: Path) -> None:
    web.answers["/models/model.pt2"] = (200, {}, CONTENT)
    with pytest.raises(errors.ArtifactCorrupt):
        await fetch(fetching, f"{web.url}/models/model.pt2#sha256={'ab' * 32}")
    assert files_in(tmp_path / "artifacts") == []


async def test_a_file_that_is_too_large_is_not_read_to_its_end(
    fetching: Stub, web: Web, artifacts: Artifacts, tmp_path: Path
) -> None:
    web.answers["/models/model.pt2"] = (200, {}, CONTENT)
    artifacts.room.limits = Limits(max_file_bytes=2_000_000)
    with pytest.raises(errors.InvalidArgument, match="max_file_bytes"):
        await fetch(fetching, f"{web.url}/models/model.pt2")
    assert files_in(tmp_path / "artifacts") == []


async def read_all(origin: Origin, path: str) -> None:
    async with aclosing(origin.read(path)) as chunks:
        async for _ in chunks:
            pass


async def test_a_server_that_says_nothing_does_not_hold_the_publisher(
    world: World, artifacts: Artifacts, web: Web
) -> None:
    origins = Origins(read_allowed(web.url), 0.2)
    _, origin = origins.open(f"{web.url}/silent")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_all(origin, "silent"), 0.2)


async def test_nobody_there_is_unavailable(artifacts: Artifacts) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        _, origin = Origins(read_allowed(url)).open(f"{url}/x")
        with pytest.raises(errors.Unavailable, match="cannot be reached"):
            await anext(origin.read("x"))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://127.0.0.1:1/models/x", "gs://models/x", "s3://other/x", "nonsense"]
)
async def test_what_is_not_allowed_is_refused_before_anything_is_opened(fetching: Stub, web: Web, url: str) -> None:
    with pytest.raises((errors.OriginNotAllowed, errors.InvalidArgument)):
        await fetch(fetching, url)
    assert web.asked == []


async def test_without_the_setting_nothing_is_fetched(stub: Stub) -> None:
    with pytest.raises(errors.OriginNotAllowed, match="artifact_urls"):
        await fetch(stub, "s3://models/model.pt2")


# Objects


def put(s3: Any, key: str, content: bytes) -> None:
    s3.put_object(Bucket="models", Key=key, Body=content)


async def test_an_object_becomes_a_version(fetching: Stub, s3: Any, artifacts: Artifacts) -> None:
    put(s3, "one/model.pt2", CONTENT)
    answer = await fetch(fetching, f"s3://models/one/model.pt2#sha256={entry(CONTENT).sha256}")
    assert [(file.path, file.size) for file in answer.manifest.files] == [("model.pt2", len(CONTENT))]
    assert b"".join(await read(artifacts, CONTENT)) == CONTENT


async def test_all_objects_below_a_folder_become_one_and_none_of_its_neighbours(fetching: Stub, s3: Any) -> None:
    for key in ("two/", "two/scale.py", "two/sub/weights.bin", "two/sub/", "twofold/x", "two.txt"):
        put(s3, key, key.encode() if not key.endswith("/") else b"")
    answer = await fetch(fetching, "s3://models/two/", PYTHON)
    assert [file.path for file in answer.manifest.files] == ["scale.py", "sub/weights.bin"]


async def test_more_objects_than_a_version_has_are_refused_before_they_are_read(
    fetching: Stub, s3: Any, tmp_path: Path
) -> None:
    for index in range(1002):
        put(s3, f"many/{index}", b"")
    with pytest.raises(errors.InvalidArgument, match="from 1 to 1000"):
        await fetch(fetching, "s3://models/many/", "0")
    assert files_in(tmp_path / "artifacts") == []


async def test_objects_that_are_too_large_are_refused_before_they_are_read(
    fetching: Stub, s3: Any, artifacts: Artifacts
) -> None:
    put(s3, "large/model.pt2", CONTENT)
    artifacts.room.limits = Limits(max_store_bytes=1_000_000)
    with pytest.raises(errors.StorageFull):
        await fetch(fetching, "s3://models/large/model.pt2")
    artifacts.room.limits = Limits(max_version_bytes=1_000_000)
    with pytest.raises(errors.InvalidArgument, match="max_version_bytes"):
        await fetch(fetching, "s3://models/large/model.pt2")


@pytest.mark.parametrize("url", ["s3://models/none/model.pt2", "s3://models/none/"])
async def test_objects_that_are_not_there_are_not_found(fetching: Stub, s3: Any, url: str) -> None:
    with pytest.raises(errors.NotFound):
        await fetch(fetching, url)


async def test_where_obstore_is_missing_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, fetching: Stub
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(errors.FailedPrecondition, match=r"penstock\[s3\]"):
        await fetch(fetching, "s3://models/x.pt2", "x.pt2")
