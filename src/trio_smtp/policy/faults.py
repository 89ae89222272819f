"""Growing delays for a client that keeps making mistakes, until the error budget of its session is used up."""

from __future__ import annotations

import trio

from trio_smtp._checks import check_type
from trio_smtp.handler import Session
from trio_smtp.policy.base import Policy

__all__ = ["FaultDelay"]


class FaultDelay(Policy):
    """Delays the replies to a client that has used up a large part of `Limits.errors` or of `Limits.junk_commands`.

    Args:
        most: the delay of the last reply within the budget, in seconds. The delay grows linearly up to it.
        after: the share of a budget that can be used without delay, at least 0 and less than 1.

    Raises:
        TypeError: if one of them is not a number.
        ValueError: if `most` is negative, or `after` is out of range.
    """

    def __init__(self, most: float = 0.5, *, after: float = 0.5) -> None:
        check_type("most", most, int, float)
        check_type("after", after, int, float)
        if not most >= 0 or not 0 <= after < 1:
            raise ValueError("FaultDelay needs a time of at least 0 seconds, and a share from 0 to less than 1")
        self._most = most
        self._after = after

    async def fault(self, session: Session, errors: float, junk: float) -> None:
        over = (max(errors, junk) - self._after) / (1 - self._after)
        if over > 0:
            await trio.sleep(self._most * min(over, 1))
