"""How many connections are open, by which admission is decided."""

from __future__ import annotations

from collections import Counter

__all__ = ["Connections"]


class Connections:
    """How many connections to a server are open, in total and per peer.

    Each server has its own counts, unless `ServerOptions.connection_counts` makes it share those of other processes.
    """

    def __init__(self) -> None:
        self._open = 0
        self._peers: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many connections are open."""
        return self._open

    @property
    def ahead(self) -> bool:
        """Whether another process that accepts from the same sockets has fewer, and should get the next one."""
        return False

    def of(self, peer: str) -> int:
        """How many connections this peer has."""
        return self._peers[peer]

    def enter(self) -> None:
        """Count a new connection."""
        self._open += 1

    def leave(self) -> None:
        """Uncount a connection that has ended."""
        self._open -= 1

    def enter_as(self, peer: str) -> None:
        """Count a connection, which has entered, as this peer's."""
        self._peers[peer] += 1

    def leave_as(self, peer: str) -> None:
        """Uncount one of this peer's connections."""
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
