"""Whether a model of an archive is whole and well formed. Decisions only.

An archive is a file that somebody had in hand: nothing in it is believed because a registry wrote it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from ..errors import Violation
from .drafts import check_draft, is_sha256
from .limits import Limits
from .names import name_violations, quoted, refuse, version_violations
from .rules import MAX_CHANGES
from .serving_policy import check_policy
from .state import STABLE, AliasChange, Draft, FileEntry, Model, Version

MAX_VERSIONS = 10_000
MAX_ALIASES = 1000
MAX_FILES = 100_000


def check_archived(model: Model, files: Sequence[FileEntry], limits: Limits) -> None:
    """Judge a model and the files that come with it.

    Args:
        model: as the archive has it.
        files: those of all versions, each content once.
        limits: how large files and versions may be.

    Raises:
        InvalidArgument: something is wrong; nothing is to be put back.
    """
    refuse(chain(name_violations("model.name", model.name), _versions(model), _aliases(model), _changes(model)))
    refuse(_files(model, files, limits))
    check_policy(model.settings.serving)
    for version in model.versions:
        check_draft(draft_of(version), limits)


def draft_of(version: Version) -> Draft:
    """What would have to be published to get the version."""
    manifest = version.manifest
    return Draft(
        manifest.name,
        manifest.version,
        manifest.format,
        manifest.entry,
        manifest.files,
        manifest.batching,
        manifest.labels,
        instances=version.instances,
        device=version.device,
        examples=manifest.examples,
        optimization=manifest.optimization,
    )


def _versions(model: Model) -> Iterator[Violation]:
    numbers = [version.number for version in model.versions]
    if not 1 <= len(numbers) <= MAX_VERSIONS:
        yield Violation("model.versions", f"{len(numbers)} versions: there are from 1 to {MAX_VERSIONS}")
    if len(set(numbers)) < len(numbers):
        yield Violation("model.versions", "two have the same number")
    for index, version in enumerate(model.versions):
        yield from version_violations(f"model.versions[{index}].manifest.version", version.number)
        if version.manifest.name != model.name:
            text = f"{quoted(version.manifest.name)} is the name of another model"
            yield Violation(f"model.versions[{index}].manifest.name", text)


def _aliases(model: Model) -> Iterator[Violation]:
    numbers = {version.number for version in model.versions}
    if STABLE not in model.aliases or len(model.aliases) > MAX_ALIASES:
        yield Violation("model.aliases", f"there are from 1 to {MAX_ALIASES}, {STABLE!r} among them")
    for alias, number in model.aliases.items():
        yield from name_violations("model.aliases", alias)
        if number not in numbers:
            yield Violation("model.aliases", f"{quoted(alias)} means version {number}, which is not there")


def _changes(model: Model) -> Iterator[Violation]:
    if len(model.changes) > MAX_CHANGES + MAX_ALIASES:
        yield Violation("model.alias_changes", f"at most {MAX_CHANGES + MAX_ALIASES} are remembered")
    for change in model.changes:
        yield from name_violations("model.alias_changes", change.alias)
        if not _is_change(change):
            yield Violation("model.alias_changes", "a version's number or a principal is not well formed")


def _is_change(change: AliasChange) -> bool:
    numbers = all(number == 0 or not version_violations("", number) for number in (change.version, change.previous))
    return numbers and len(change.principal) <= 128 and (change.principal.isprintable())


def _files(model: Model, files: Sequence[FileEntry], limits: Limits) -> Iterator[Violation]:
    if len(files) > MAX_FILES:
        yield Violation("files", f"{len(files)} files: at most {MAX_FILES}")
    sizes = {file.sha256: file.size for file in files}
    if len(sizes) < len(files):
        yield Violation("files", "a content is there twice")
    for index, file in enumerate(files):
        if not is_sha256(file.sha256) or not 0 <= file.size <= limits.max_file_bytes:
            yield Violation(f"files[{index}]", "its digest or its size is not well formed")
    for file in chain.from_iterable(version.manifest.files for version in model.versions):
        if sizes.get(file.sha256) != file.size:
            yield Violation("files", f"{quoted(file.path)} of a version is missing, or has another size")
