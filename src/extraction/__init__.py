"""Unpack a zip or a gzipped tar that nobody vouches for: all of it, into a new folder, or nothing.

Not by `extractall`: who made the archive chooses the names, the types and the sizes in it. A member that would leave
the folder, is neither a file nor a folder, or could be taken for another one is the archive's end, not the member's;
and what a header says of a size is believed no more than what is then read.
"""

from __future__ import annotations

from .extract import extract
from .rules import Limits

__all__ = ["Limits", "extract"]
