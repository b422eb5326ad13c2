from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.errors import InvalidArgument
from penstock.optimization import Optimization
from penstock.registry.drafts import check_draft
from penstock.registry.limits import MAX_FILE_BYTES, Limits
from penstock.registry.state import Batching, Draft, Examples, FileEntry
from penstock.servable import Padding

from .conftest import draft

DIGEST = "ab" * 32
MANY = {f"input_{number}": f"mask_{number}" for number in range(65)}


def fields_refused(bad: Draft) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        check_draft(bad)
    return [violation.field for violation in caught.value.violations]


def test_a_good_draft_passes() -> None:
    check_draft(draft(aliases=("canary",), instances=2, device="cuda:1", labels={"git": "abc"}))


def test_padding_of_any_kind_that_makes_sense_passes() -> None:
    full = Padding(float("-inf"), {"ids": "mask", "types": "types_mask"}, (1, 64, 128), 0.99)
    for padding in (Padding(), full):
        check_draft(draft(batching=Batching(padding=padding)))


def test_a_class_in_a_file_is_an_entry() -> None:
    files = (FileEntry("pkg/scale.py", 3, DIGEST),)
    check_draft(Draft("scale", 0, "python", "pkg/scale.py:Scale", files))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 256,
        "d/" * 600 + "x",
    ],
)
def test_a_path_that_could_leave_the_versions_folder_is_refused(path: str) -> None:
    good = FileEntry("model.pt2", 1, DIGEST)
    bad = replace(draft(), files=(good, FileEntry(path, 1, DIGEST)))
    assert fields_refused(bad) == ["files[1].path"]


@pytest.mark.parametrize("paths", [("a", "a"), ("Model.pt2", "model.PT2"), ("a", "a/b")])
def test_paths_that_clash_are_refused(paths: tuple[str, str]) -> None:
    files = tuple(FileEntry(path, 1, DIGEST) for path in paths)
    assert fields_refused(replace(draft(), entry=paths[0], files=files)) == ["files[1].path"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bad"}, "name"),
        ({"version": -1}, "version"),
        ({"format": ""}, "format"),
        ({"entry": "other.pt2"}, "entry"),
        ({"files": ()}, "files"),
        ({"files": tuple(FileEntry(f"f{i}", 1, DIGEST) for i in range(1001)), "entry": "f0"}, "files"),
        ({"files": (FileEntry("model.pt2", -1, DIGEST),)}, "files[0].size"),
        ({"files": (FileEntry("model.pt2", MAX_FILE_BYTES + 1, DIGEST),)}, "files[0].size"),
        ({"files": (FileEntry("model.pt2", 1, "AB" * 32),)}, "files[0].sha256"),
        ({"batching": Batching(max_batch_size=-1)}, "batching.max_batch_size"),
        ({"batching": Batching(max_queue_size=-1)}, "batching.max_queue_size"),
        ({"batching": Batching(max_queue_delay_s=61)}, "batching.max_queue_delay"),
        ({"batching": Batching(padding=Padding(float("nan")))}, "batching.padding.value"),
        ({"batching": Batching(padding=Padding(max_pad_fraction=-0.1))}, "batching.padding.max_pad_fraction"),
        ({"batching": Batching(padding=Padding(max_pad_fraction=1))}, "batching.padding.max_pad_fraction"),
        ({"batching": Batching(padding=Padding(max_pad_fraction=float("nan")))}, "batching.padding.max_pad_fraction"),
        ({"batching": Batching(padding=Padding(buckets=(-8, 8)))}, "batching.padding.buckets"),
        ({"batching": Batching(padding=Padding(buckets=(16, 8)))}, "batching.padding.buckets"),
        ({"batching": Batching(padding=Padding(buckets=tuple(range(1, 258))))}, "batching.padding.buckets"),
        ({"batching": Batching(padding=Padding(masks={"ids": ""}))}, "batching.padding.masks"),
        ({"batching": Batching(padding=Padding(masks={"ids": "ids"}))}, "batching.padding.masks"),
        ({"batching": Batching(padding=Padding(masks={"a": "mask", "b": "mask"}))}, "batching.padding.masks"),
        (
            {"batching": Batching(padding=Padding(masks=MANY))},
            "batching.padding.masks",
        ),
        ({"labels": {"": "x"}}, "labels"),
        ({"aliases": ("good", "..")}, "aliases[1]"),
        ({"instances": -1}, "instances"),
        ({"device": "gpu zero"}, "device"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], field: str) -> None:
    assert field in fields_refused(replace(draft(), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_file_bytes", "max_version_bytes"])
def test_limits_are_settings_and_their_refusal_names_them(name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"7 bytes.* 6 \(setting {name}\)"):
        check_draft(draft(content=b"weights"), Limits(**{name: 6}))
    check_draft(draft(content=b"weights"), Limits(**{name: 7}))


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert fields_refused(replace(draft(), name="..", instances=-1, device="?")) == ["name", "instances", "device"]


def test_examples_among_the_files_pass() -> None:
    for examples in (
        Examples("model.pt2"),
        Examples(warm_up="model.pt2"),
        Examples("model.pt2", "model.pt2", 0.0, 0.5),
    ):
        check_draft(draft(examples=examples))
    check_draft(draft(examples=Examples(rtol=0.5), optimization=Optimization.AUTO))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"examples": Examples("golden.npz")}, "examples.golden"),
        ({"examples": Examples(warm_up="../model.pt2")}, "examples.warm_up"),
        ({"examples": Examples("model.pt2", rtol=-1.0)}, "examples.rtol"),
        ({"examples": Examples("model.pt2", atol=float("nan"))}, "examples.atol"),
        ({"examples": Examples("model.pt2", atol=float("inf"))}, "examples.atol"),
        ({"examples": Examples(rtol=0.1)}, "examples.rtol"),
        ({"optimization": 9}, "optimization"),
    ],
)
def test_examples_and_optimizations_that_mean_nothing_are_refused(change: dict[str, Any], field: str) -> None:
    assert fields_refused(draft(**change)) == [field]
