"""Whether what a registry says goes on from what was heard before, so that what it leaves out is gone. Decisions only.

A registry that lost its data, was set back to an older state, or is another one leaves out what it does not know. That
is no reason to stop what works: until an operator confirms it, only what such a registry says counts, and not what it
does not say.
"""

from __future__ import annotations


class Lineage:
    """What was last heard, and from whom. Each message is told to `heard` before it is used."""

    def __init__(self) -> None:
        self.registry_id = ""
        self.revision = 0
        self.believed = True
        """Whether the present stream goes on from what was known, or was confirmed to be right."""
        self._known = False
        self._stranger = ("", 0)

    def restore(self, registry_id: str, revision: int) -> None:
        """Begin with what an earlier process heard."""
        self.registry_id, self.revision, self._known = registry_id, revision, True

    def heard(self, registry_id: str, revision: int, *, snapshot: bool = False, confirmed: int = 0) -> bool:
        """Take in where a message comes from.

        Args:
            registry_id: which registry it is.
            revision: of the message.
            snapshot: it is the first one of a stream.
            confirmed: at which revision an operator last confirmed what is missing there; 0: never.

        Returns:
            Whether that was confirmed since the last message: what is missing now is gone.
        """
        if snapshot:
            self.believed = not self._known or (registry_id == self.registry_id and revision >= self.revision)
        news = self._known and confirmed > (self.revision if self.believed else 0)
        self._stranger = (registry_id, revision)
        if self.believed or news:
            self.adopt()
        return news

    def adopt(self) -> None:
        """Believe whoever was heard last: it was confirmed, or there is nothing left of what the old one knew."""
        self.believed = self._known = True
        self.registry_id, self.revision = self._stranger
