"""How large files, versions and the whole store may be. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import StorageFull

GIB = 1024**3
MAX_FILE_BYTES = 64 * GIB
MAX_VERSION_BYTES = 256 * GIB
MIN_FREE_BYTES = GIB // 4
MAX_UNFINISHED_BYTES = 64 * GIB


@dataclass(frozen=True, slots=True)
class Limits:
    """All in bytes; each is a setting of the same name."""

    max_file_bytes: int = MAX_FILE_BYTES
    max_version_bytes: int = MAX_VERSION_BYTES
    max_store_bytes: int = 0
    """Of all files of all versions, and of what is uploaded; 0: as much as the disk has."""
    min_free_bytes: int = MIN_FREE_BYTES
    """What uploads leave free on the disk, so that the store of models and aliases can still be written."""
    max_unfinished_bytes: int = MAX_UNFINISHED_BYTES
    """Of uploads that broke off and may go on; the oldest go first."""


DEFAULT_LIMITS = Limits()


def check_room(coming: int, used: int, free: int, limits: Limits) -> None:
    """Refuse what does not fit.

    Args:
        coming: how many bytes are to be added.
        used: how many the store holds.
        free: how many the disk has left.
        limits: what is allowed.

    Raises:
        StorageFull: the quota or the disk would be exceeded; the message names the setting.
    """
    if limits.max_store_bytes and used + coming > limits.max_store_bytes:
        text = f"{coming} bytes more would make {used + coming} in the registry's store, which may hold "
        mend = "remove versions with `penstock delete` and `penstock gc`, or raise it"
        raise StorageFull(f"{text}{limits.max_store_bytes} (setting max_store_bytes); {mend}")
    if free - coming < limits.min_free_bytes:
        text = f"{coming} bytes more would leave less than {limits.min_free_bytes} free on the registry's disk"
        raise StorageFull(f"{text} (setting min_free_bytes); make room there and try again")
