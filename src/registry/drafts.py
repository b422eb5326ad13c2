"""Whether what somebody wants to publish is well formed: names, paths, sizes, bounds. Decisions only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from math import isfinite, isnan

from ..errors import Violation
from ..optimization import Optimization
from ..servable import Padding
from .limits import DEFAULT_LIMITS, Limits
from .names import name_violations, quoted, refuse, version_violations
from .state import Draft, FileEntry

MAX_FILES = 1000
MAX_INSTANCES = 1024
MAX_LABELS = 64
MAX_ALIASES = 64
MAX_QUEUE_DELAY_S = 60.0
MAX_MASKS = 64
MAX_BUCKETS = 256
MAX_INPUT = 256

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_DEVICE = re.compile(r"[a-z]{1,16}(:[0-9]{1,4})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_sha256(text: str) -> bool:
    """Whether these are 64 lower case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def check_draft(draft: Draft, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise InvalidArgument with everything that is wrong (16 things at most)."""
    refuse(
        chain(
            name_violations("name", draft.name),
            version_violations("version", draft.version) if draft.version else (),
            _aliases(draft),
            file_violations(draft.files, limits),
            _entry(draft),
            _batching(draft),
            _labels(draft),
            instance_violations(draft.instances),
            device_violations(draft.device),
            _examples(draft),
            _optimization(draft),
        )
    )


def instance_violations(instances: int) -> Iterator[Violation]:
    """What is wrong with a number of workers; 0 means that it is not said."""
    if not 0 <= instances <= MAX_INSTANCES:
        yield Violation("instances", f"{instances} workers: must be from 0 to {MAX_INSTANCES}")


def device_violations(device: str) -> Iterator[Violation]:
    """What is wrong with a device's name; empty means that it is not said."""
    if device and not _DEVICE.fullmatch(device):
        yield Violation("device", f"{quoted(device)} is not a device; write auto, cpu, cuda or cuda:1")


def _aliases(draft: Draft) -> Iterator[Violation]:
    if len(draft.aliases) > MAX_ALIASES:
        yield Violation("aliases", f"{len(draft.aliases)} aliases: at most {MAX_ALIASES}")
    for index, alias in enumerate(draft.aliases[:MAX_ALIASES]):
        yield from name_violations(f"aliases[{index}]", alias)


def file_violations(files: Sequence[FileEntry], limits: Limits) -> Iterator[Violation]:
    """What is wrong with the files of a version."""
    if not 1 <= len(files) <= MAX_FILES:
        yield Violation("files", f"{len(files)} files: a version has from 1 to {MAX_FILES}")
        return
    total = sum(max(file.size, 0) for file in files)
    if total > limits.max_version_bytes:
        text = f"{total} bytes: a version has at most {limits.max_version_bytes} (setting max_version_bytes)"
        yield Violation("files", text)
    seen: dict[str, int] = {}
    for index, file in enumerate(files):
        yield from _file(f"files[{index}]", file, limits)
        first = seen.setdefault(file.path.casefold(), index)
        if first != index:
            text = (
                f"{quoted(file.path)} is there twice, first as files[{first}] (upper and lower case count as the same)"
            )
            yield Violation(f"files[{index}].path", text)
        elif any(parent in seen for parent in _parents(file.path.casefold())):
            yield Violation(f"files[{index}].path", f"{quoted(file.path)} lies in a folder that is also a file")


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def _file(field: str, file: FileEntry, limits: Limits) -> Iterator[Violation]:
    problem = _path_problem(file.path)
    if problem:
        yield Violation(f"{field}.path", f"{quoted(file.path)} {problem}")
    if not 0 <= file.size <= limits.max_file_bytes:
        text = f"{file.size} bytes: must be from 0 to {limits.max_file_bytes} (setting max_file_bytes)"
        yield Violation(f"{field}.size", text)
    if not is_sha256(file.sha256):
        yield Violation(f"{field}.sha256", "must be 64 lower case hexadecimal digits")


def _path_problem(path: str) -> str:
    """Why a worker could not write the file into its folder, and nowhere else; empty if it can."""
    parts = path.split("/")
    if not path or len(path.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts):
        return "is empty or too long (255 bytes for each part, 1,024 for all)"
    if path.startswith("/") or "\\" in path or _CONTROL.search(path):
        return "must be relative, with '/' between its parts, without backslashes and control characters"
    if any(part in ("", ".", "..") for part in parts):
        return "must not have an empty part, '.' or '..'"
    return ""


def _entry(draft: Draft) -> Iterator[Violation]:
    if not _FORMAT.fullmatch(draft.format):
        yield Violation(
            "format", f"{quoted(draft.format)} is not a format, such as torch_export, torchscript or python"
        )
    # `scale.py:Scale` names a class in a file; which formats have classes is the workers' business.
    names = {draft.entry, draft.entry.rpartition(":")[0]}
    if not any(file.path in names for file in draft.files):
        yield Violation("entry", f"{quoted(draft.entry)} is none of the files; name the one to load first")


def _batching(draft: Draft) -> Iterator[Violation]:
    batching = draft.batching
    for field, value in (("max_batch_size", batching.max_batch_size), ("max_queue_size", batching.max_queue_size)):
        if value < 0:
            yield Violation(f"batching.{field}", f"{value} rows: must not be negative")
    if not 0 <= batching.max_queue_delay_s <= MAX_QUEUE_DELAY_S:
        text = f"{batching.max_queue_delay_s:g} s: must be from 0 to {MAX_QUEUE_DELAY_S:g} s"
        yield Violation("batching.max_queue_delay", text)
    if batching.padding is not None:
        yield from _padding("batching.padding", batching.padding)


def _padding(field: str, padding: Padding) -> Iterator[Violation]:
    """Whether it fits the model's inputs is seen when a worker has loaded it."""
    if isnan(padding.value):
        yield Violation(f"{field}.value", "must be a number")
    if not 0 <= padding.max_pad_fraction < 1:
        text = f"{padding.max_pad_fraction:g}: must be at least 0 (no bound) and below 1"
        yield Violation(f"{field}.max_pad_fraction", text)
    yield from _buckets(f"{field}.buckets", padding.buckets)
    yield from _masks(f"{field}.masks", padding.masks)


def _buckets(field: str, buckets: tuple[int, ...]) -> Iterator[Violation]:
    if len(buckets) > MAX_BUCKETS:
        yield Violation(field, f"{len(buckets)} lengths: at most {MAX_BUCKETS}")
    elif any(length <= before for before, length in pairwise((0, *buckets))):
        yield Violation(field, f"{list(buckets)}: lengths are at least 1, and each is greater than the one before")


def _masks(field: str, masks: Mapping[str, str]) -> Iterator[Violation]:
    if len(masks) > MAX_MASKS:
        yield Violation(field, f"{len(masks)} masks: at most {MAX_MASKS}")
    elif any(not 1 <= len(name) <= MAX_INPUT for pair in masks.items() for name in pair):
        yield Violation(field, f"the name of an input has from 1 to {MAX_INPUT} characters")
    elif len({*masks, *masks.values()}) < 2 * len(masks):
        yield Violation(field, "each mask is an input of its own, and belongs to one other input")


def _labels(draft: Draft) -> Iterator[Violation]:
    if len(draft.labels) > MAX_LABELS:
        yield Violation("labels", f"{len(draft.labels)} labels: at most {MAX_LABELS}")
    if any(not 1 <= len(key) <= 128 or len(value) > 4096 for key, value in draft.labels.items()):
        yield Violation("labels", "a key has from 1 to 128 characters, a value at most 4,096")


def _examples(draft: Draft) -> Iterator[Violation]:
    """What is in the files is seen when a worker has loaded the version."""
    examples, paths = draft.examples, {file.path for file in draft.files}
    for field, path in (("golden", examples.golden), ("warm_up", examples.warm_up)):
        if path and path not in paths:
            yield Violation(f"examples.{field}", f"{quoted(path)} is none of the files")
    for field, value in (("rtol", examples.rtol), ("atol", examples.atol)):
        if value is not None and not (isfinite(value) and value >= 0):
            yield Violation(f"examples.{field}", f"{value:g}: must be a number, at least 0")
        elif value is not None and not examples.golden and draft.optimization == Optimization.NONE:
            yield Violation(f"examples.{field}", "there is nothing to compare: no golden example, no optimization")


def _optimization(draft: Draft) -> Iterator[Violation]:
    if draft.optimization not in list(Optimization):
        yield Violation("optimization", f"{draft.optimization} is not known to this release")
