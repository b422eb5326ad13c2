"""A real etcd, of one member or several on this host, whose members a test kills, freezes and starts again."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = "etcd"
WHERE = "etcd is not installed (Debian: etcd-server; `make tools` installs it)"


def has_etcd() -> bool:
    """Whether there is an etcd to start."""
    return shutil.which(PROGRAM) is not None


class Member:
    """One member. Made by `etcd`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        client_port: int,
        peers: dict[str, int],
        tls: Path | None,
        flags: Sequence[str],
    ) -> None:
        self.endpoint = f"127.0.0.1:{client_port}"
        self._log = folder / f"{name}.log"
        self._trust = ssl.create_default_context(cafile=str(tls / "ca.pem")) if tls else None
        self._url = f"{'https' if tls else 'http'}://{self.endpoint}"
        client, peer = self._url, f"http://127.0.0.1:{peers[name]}"
        cluster = ",".join(f"{other}=http://127.0.0.1:{port}" for other, port in peers.items())
        self._line = [
            PROGRAM,
            f"--name={name}",
            f"--data-dir={folder / name}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            *([f"--cert-file={tls / 'cert.pem'}", f"--key-file={tls / 'key.pem'}"] if tls else []),
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, also again with the data that it had; it is ready when `ask` answers."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it as a debugger would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Call its JSON gateway. Raises OSError while it does not answer."""
        request = urllib.request.Request(f"{self._url}/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=5, context=self._trust) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


class Etcd:
    """All members of one etcd."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def url(self, prefix: str = "penstock") -> str:
        """What `--store` takes."""
        return f"etcd://{','.join(member.endpoint for member in self.members)}/{prefix}"

    def wait(self) -> None:
        """Wait until it takes writes."""
        while True:
            for member in self.members:
                with suppress(OSError):
                    if member.runs:
                        member.ask("kv/put", key="aGVhbHRo", value="")
                        return
            time.sleep(0.05)

    def value(self, key: str) -> str:
        """What stands in a key; empty: it is not there. Raises OSError while no member answers."""
        failure = OSError("no member runs")
        for member in self.members:
            try:
                if member.runs:
                    found = member.ask("kv/range", key=base64.b64encode(key.encode()).decode()).get("kvs", [])
                    return base64.b64decode(found[0]["value"]).decode() if found else ""
            except OSError as error:
                failure = error
        raise failure

    def leader(self) -> Member:
        """The member that leads now; the others follow."""
        for member in self.members:
            if member.runs:
                status = member.ask("maintenance/status")
                if status["leader"] == status["header"]["member_id"]:
                    return member
        raise AssertionError("no member leads")

    def followers(self) -> list[Member]:
        """All others."""
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def compact(self) -> None:
        """Forget all that is not the present."""
        member = next(member for member in self.members if member.runs)
        revision = member.ask("kv/range", key="AA==")["header"]["revision"]
        member.ask("kv/compaction", revision=revision, physical=True)


@contextmanager
def etcd(folder: Path, members: int = 1, tls: Path | None = None, flags: Sequence[str] = ()) -> Iterator[Etcd]:
    """An etcd that takes writes, for the length of a block; its data and logs lie in the folder.

    Args:
        folder: made if it is not there.
        members: how many.
        tls: a folder with cert.pem, key.pem and ca.pem, for callers; None: plain text.
        flags: more of etcd's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(2 * members)
    peers = {f"etcd-{number}": ports[members + number] for number in range(members)}
    named = zip(peers, ports[:members], strict=True)
    made = Etcd([Member(folder, name, port, peers, tls, flags) for name, port in named])
    try:
        for member in made.members:
            member.start()
        made.wait()
        yield made
    finally:
        for member in made.members:
            member.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
