"""What a server counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

__all__ = ["Stats"]


@dataclass(slots=True)
class Stats:
    """Counters since the server started. Those of several servers can be added up."""

    connections: int = 0
    connections_refused: int = 0
    messages_accepted: int = 0
    messages_refused: int = 0
    octets_accepted: int = 0
    logins: int = 0
    login_failures: int = 0
    hook_errors: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    """How often each limit and policy has struck, by the names in docs/dos-mitigations.md."""

    def __add__(self, other: Stats) -> Stats:
        return Stats(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Stats)})
