"""The clock of a session: one cancel scope whose deadline is moved from phase to phase, as seldom as possible.

A new scope for each read or hook would cost five times as much as moving a deadline, and moving one costs 2 us, so it
is left alone where it is right to within 1 % of the timeout; and for a hook it is not moved before the hook really
waits, which most of them never do.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

import trio

from trio_smtp.server.timeouts import Timeouts

__all__ = ["Clock", "Phase"]

_T = TypeVar("_T")


class Phase(enum.Enum):
    """What the clock runs for."""

    PEER = enum.auto()
    REPLY = enum.auto()
    """The peer again, which is to take what it was not ready to take at once."""
    HOOK = enum.auto()
    COMMIT = enum.auto()
    """A hook that has the whole message."""


class Clock:
    """What a session waits for at the moment, and until when.

    Args:
        timeouts: how long it waits for what.
    """

    __slots__ = (
        "_body_credit",
        "_command_runs",
        "_ends_at",
        "_hook_seconds",
        "_timeouts",
        "phase",
        "scope",
        "waits_for",
    )

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._ends_at = math.inf
        self._command_runs = False  # the deadline is that of the next command
        self._hook_seconds: float | None = None  # that a hook has from when it first waits on
        self._body_credit = 0.0  # by how many seconds the message that is coming is ahead of the minimum rate
        self.phase = Phase.PEER
        self.scope = trio.CancelScope(shield=True)
        self.waits_for = "command-timeout"
        """What of the peer is waited for: the name of the rule that strikes when it does not come."""

    def start(self) -> None:
        """The session begins."""
        self._ends_at = trio.current_time() + self._timeouts.session

    def renew(self) -> None:
        """Go on with a new scope, after the old one has expired."""
        self.scope = trio.CancelScope(shield=True)
        self.phase = Phase.PEER

    def stop(self) -> None:
        """Stand still: what comes next has a deadline of its own."""
        self._command_runs = False
        self.scope.deadline = math.inf

    def wait_for_peer(self, now: float, *, receiving: bool, replied: bool) -> None:
        """The peer has until then for its next command, or for more of its message.

        Args:
            now: the time.
            receiving: a message is on its way in.
            replied: a reply has just gone out; otherwise the clock of the command runs on, for the client drips.
        """
        if receiving:
            timeout = self._timeouts.data
            until = now + timeout + min(0, self._body_credit)
            self.waits_for = "data-timeout" if self._body_credit >= 0 else "minimum-rate"
        else:
            self._body_credit = 0
            if self._command_runs and not replied:
                return
            timeout = self._timeouts.command
            until = now + timeout
            self.waits_for = "command-timeout"
        self._command_runs = not receiving
        if until > self._ends_at:
            until = self._ends_at
            self.waits_for = "session-time"
        self._expire_at(until, timeout)

    def count_body(self, octets: int, began_at: float) -> None:
        """So many octets of a message have come since then; they buy time, waiting costs it."""
        self._body_credit += octets / self._timeouts.minimum_rate - (trio.current_time() - began_at)

    def wait_for_reply_to_go(self) -> Phase:
        """The peer has as long as for a command to take what it is sent; returns the phase to come back to."""
        self.scope.deadline = min(trio.current_time() + self._timeouts.command, self._ends_at)
        self.waits_for = "command-timeout"
        phase, self.phase = self.phase, Phase.REPLY
        return phase

    def start_hook(self, seconds: float | None = None) -> None:
        """A hook runs now, for so many seconds at most, `Timeouts.hook` by default. To be run by `run`."""
        self.phase = Phase.HOOK
        self._command_runs = False
        self._hook_seconds = self._timeouts.hook if seconds is None else seconds

    def start_commit(self) -> None:
        """The message is complete: nothing but this deadline stops the hook any more."""
        self.start_hook(self._timeouts.commit)
        self.phase = Phase.COMMIT

    def pause_hook(self) -> float:
        """The peer is waited for now; returns the seconds that the hook has left."""
        self.phase = Phase.PEER
        left, self._hook_seconds = self._hook_seconds, None
        return self.scope.deadline - trio.current_time() if left is None else left

    def end_hook(self) -> None:
        """The hook is over."""
        self.phase = Phase.PEER
        self._hook_seconds = None

    @types.coroutine
    def run(self, hook: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
        """What a hook returns or raises. Its deadline is set when it waits, before that is told to trio."""
        try:
            trap = hook.send(None)
            while True:
                if self._hook_seconds is not None:
                    seconds, self._hook_seconds = self._hook_seconds, None
                    self._expire_at(trio.current_time() + seconds, seconds)
                try:
                    value = yield trap
                except BaseException as error:  # noqa: ASYNC103, BLE001 - it is thrown into the hook
                    trap = hook.throw(error)
                else:
                    trap = hook.send(value)
        except StopIteration as result:
            answer: _T = result.value
            return answer

    def hurry(self, seconds: float) -> None:
        """Whatever is waited for has so many seconds left, or less."""
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + seconds)

    def _expire_at(self, until: float, timeout: float) -> None:
        if not 0 <= until - self.scope.deadline < timeout / 100:
            self.scope.deadline = until
