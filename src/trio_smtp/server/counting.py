"""How many connections are open: what admission is decided by."""

from __future__ import annotations

from collections import Counter

__all__ = ["Connections"]


class Connections:
    """How many connections to a server are open, in all and of each peer.

    A server has one of its own, unless `ServerOptions.connection_counts` gives it one that several processes share.
    """

    def __init__(self) -> None:
        self._open = 0
        self._peers: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many there are."""
        return self._open

    @property
    def ahead(self) -> bool:
        """Whether another process that takes connections from the same sockets has fewer, and should have the next."""
        return False

    def of(self, peer: str) -> int:
        """How many this peer has."""
        return self._peers[peer]

    def enter(self) -> None:
        """One more."""
        self._open += 1

    def leave(self) -> None:
        """One fewer."""
        self._open -= 1

    def enter_as(self, peer: str) -> None:
        """One that has entered is this peer's."""
        self._peers[peer] += 1

    def leave_as(self, peer: str) -> None:
        """One of this peer's ends."""
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
