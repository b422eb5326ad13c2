"""The files of all versions, on disk: how they come, how they are read, and when they are removed."""

from .disk import CHUNK_BYTES, storage_errors, sync_folder
from .store import Artifacts
from .upload import Upload

__all__ = ["CHUNK_BYTES", "Artifacts", "Upload", "storage_errors", "sync_folder"]
