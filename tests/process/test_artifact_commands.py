"""`delete`, `gc`, `sign`, `export` and `import`, against registries without gateways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.testing import CommandFailed, Server

from .conftest import write_scale
from .registries import Nursery, Registry

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

Make = Callable[[str], tuple[Registry, Server]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a registry with a folder of that name, and the way to run commands against it."""
    nursery = Nursery()
    made: list[Registry] = []

    def one(name: str) -> tuple[Registry, Server]:
        registry = nursery.make(tmp_path / name)
        made.append(registry)
        return registry, Server(registry.address, "", 0, tmp_path)

    yield one
    for registry in made:
        registry.kill()
        registry.channel.close()
    nursery.close()


def test_a_registry_is_taken_to_another_place_in_a_file(make: Make, tmp_path: Path) -> None:
    first, at_first = make("first")
    for factor in (2, 3):
        at_first.command("publish", "scale", write_scale(tmp_path, factor), "--no-wait", "--label", f"factor={factor}")
    archive, environment = str(tmp_path / "all.tar"), {"PENSTOCK_REGISTRY": first.address}
    facts = _direct("export", archive, environment=environment)
    assert (facts["models"], facts["versions"], facts["files"]) == (1, 2, 2)
    second, _ = make("second")
    for existed in ([], ["scale"]):
        facts = _direct("import", archive, environment={"PENSTOCK_REGISTRY": second.address})
        assert facts["existed"] == existed
    assert first.models() == second.models()
    for version in second.models()[0].versions:
        second.check(version)


def _direct(*words: str, environment: dict[str, str]) -> dict[str, object]:
    line = [sys.executable, "-m", "penstock", *words, "--output", "json"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment}, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_deleted_version_goes_and_its_files_with_it(make: Make, tmp_path: Path) -> None:
    registry, server = make("data")
    for factor in (2, 3):
        server.command("publish", "scale", write_scale(tmp_path, factor), "--no-wait")
    with pytest.raises(CommandFailed, match="alias 'stable'"):
        server.command("delete", "scale", "--version", "1")
    assert server.command("delete", "scale", "--version", "2")["deleted"]
    assert server.command("gc", "--dry-run", "--now")["files"] == 1
    assert server.command("gc")["files"] == 0  # it has been of no use for a moment only
    assert server.command("gc", "--now")["files"] == 1
    [model] = registry.models()
    assert [version.manifest.version for version in model.versions] == [1]
    registry.check(model.versions[0])


def test_what_is_signed_says_so_in_a_file(make: Make, tmp_path: Path) -> None:
    registry, server = make("data")
    key, source = tmp_path / "sign.pem", write_scale(tmp_path, 2)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    with pytest.raises(CommandFailed, match="--version"):
        server.command("publish", "scale", source, "--sign-key", str(key), "--no-wait")
    server.command("publish", "scale", source, "--sign-key", str(key), "--version", "1", "--no-wait")
    files = registry.models()[0].versions[0].manifest.files
    assert [file.path for file in files] == ["scale.py", "penstock.sig.json"]
