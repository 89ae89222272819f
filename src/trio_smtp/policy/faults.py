"""Clients that only make mistakes are answered ever more slowly, until the budget of the session is used up."""

from __future__ import annotations

import trio

from trio_smtp.handler import Session
from trio_smtp.policy.base import Policy

__all__ = ["FaultDelay"]


class FaultDelay(Policy):
    """Holds back replies to a client that has used up a good part of `Limits.errors` or of `Limits.junk_commands`.

    Args:
        most: seconds that the last reply within the budget is held back; those before it less, growing evenly.
        after: the part of a budget that is free of delay, from 0 to 1.

    Raises:
        ValueError: for a part that is none, or a negative time.
    """

    def __init__(self, most: float = 0.5, *, after: float = 0.5) -> None:
        if not most >= 0 or not 0 <= after < 1:
            raise ValueError("FaultDelay takes a time of at least 0 seconds, and a part from 0 to less than 1")
        self._most = most
        self._after = after

    async def fault(self, session: Session, errors: float, junk: float) -> None:
        over = (max(errors, junk) - self._after) / (1 - self._after)
        if over > 0:
            await trio.sleep(self._most * min(over, 1))
