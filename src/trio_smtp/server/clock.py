"""The clock of a session: one cancel scope whose deadline is moved from phase to phase, as seldom as possible.

A new scope for each read or hook would cost five times as much as moving a deadline, and moving one costs as much as
parsing a command. So it is left alone

- where it is right to within 1 % of the timeout;
- where it is too early and no hook is running: should it expire, the session goes on with a new scope;
- for a hook until the hook really waits, which most of them never do.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

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


_PEER, _HOOK, _COMMIT = Phase.PEER, Phase.HOOK, Phase.COMMIT  # CPython 3.11 is slow to find a member of an Enum
_TOLERANCE: Final = 0.01  # of a timeout


class Clock:
    """What a session waits for at the moment, and until when. To be made inside trio.

    Args:
        timeouts: how long it waits for what.
    """

    __slots__ = (
        "_body_credit",
        "_command_until",
        "_deadline",
        "_ends_at",
        "_hook_seconds",
        "_hook_waits",
        "_now",
        "_timeouts",
        "_until",
        "_waiting_since",
        "before_wait",
        "phase",
        "scope",
        "waits_for",
    )

    def __init__(self, timeouts: Timeouts) -> None:
        self._now: Final = trio.lowlevel.current_clock().current_time  # a third of the cost of trio.current_time
        self._timeouts = timeouts
        self._ends_at = math.inf
        self._until = math.inf  # when what is waited for is given up
        self._deadline = math.inf  # of the scope, which may be earlier
        self._waiting_since = 0.0
        self._command_until: float | None = None  # when the time for a command ends, which more octets do not move
        self._hook_seconds: float | None = None  # what a hook has, counted from its first wait
        self._hook_waits = False  # it is suspended: who calls us meanwhile is a task that it has started and waits for
        self._body_credit = 0.0  # seconds by which the message that is coming is ahead of the minimum rate
        self.phase = _PEER
        self.scope = trio.CancelScope(shield=True)
        self.waits_for = "command-timeout"
        """What of the peer is waited for: the name of the rule that strikes when it does not come."""
        self.before_wait: Callable[[], None] | None = None
        """To be done before a hook waits."""

    def start(self) -> None:
        """The session begins."""
        self._ends_at = self._now() + self._timeouts.session

    def renew(self) -> None:
        """Go on with a new scope, after the old one has expired."""
        self.scope = trio.CancelScope(shield=True)
        self._deadline = math.inf  # whatever is waited for next has one
        self.phase = _PEER

    def stop(self) -> None:
        """Stand still: what comes next has a deadline of its own."""
        self._command_until = None
        self._until = math.inf
        self._expire_at(math.inf)

    def cancel(self) -> None:
        """Wait no longer, whatever for."""
        self._until = self._deadline = -math.inf
        self.scope.cancel()

    def has_expired(self) -> bool:
        """Whether the scope is cancelled by now, whatever for."""
        # trio may not have looked at the deadline since it passed; it does so when it is asked, but that is not cheap.
        return self._now() >= self._deadline and self.scope.cancel_called

    def is_over(self) -> bool:
        """Whether the peer has no time left; if it has, the scope has only expired too early."""
        return self._now() >= self._until

    def wait_for_peer(self, *, receiving: bool, replied: bool, in_hook: bool) -> None:
        """The peer is waited for from now on, for its next command or for more of its message.

        Args:
            receiving: a message is on its way in.
            replied: a reply has just gone out; otherwise the clock of the command runs on, for the client drips.
            in_hook: a hook waits with us for its message, or between two chunks of it; a scope that expires too early
                would cancel it.
        """
        now = self._waiting_since = self._now()
        if receiving:
            timeout = self._timeouts.data
            until = now + timeout
            self._command_until = None
            self.waits_for = "data-timeout"
        else:
            timeout = self._timeouts.command
            if self._command_until is None or replied:
                self._command_until = now + timeout
            until = self._command_until
            self.waits_for = "command-timeout"
        if not receiving and not in_hook:  # no message is on its way
            self._body_credit = 0
        elif self._body_credit < 0 and now + self._timeouts.data + self._body_credit < until:
            until = now + self._timeouts.data + self._body_credit
            self.waits_for = "minimum-rate"
        if until > self._ends_at:
            until = self._ends_at
            self.waits_for = "session-time"
        self._until = until
        too_early = until - self._deadline
        if in_hook and 0 <= too_early < timeout * _TOLERANCE:
            self._until = self._deadline
        elif in_hook:
            self._expire_at(until)
        elif too_early < 0:  # early enough for a message, too: it is not to move with the first one
            self._expire_at(min(until, now + self._timeouts.data))

    def count_body(self, octets: int) -> None:
        """So many octets of a message have come since they were waited for; they buy time, waiting costs it."""
        self._body_credit += octets / self._timeouts.minimum_rate - (self._now() - self._waiting_since)

    def wait_for_reply_to_go(self) -> Phase:
        """The peer has as long as for a command to take what it is sent; returns the phase to come back to.

        At the end of the session it is as long as for a goodbye: it may be the reply to a message that was committed.
        """
        now, timeouts = self._now(), self._timeouts
        self._waiting_since = now
        self._command_until = None  # it begins when the reply is out
        self._until = min(now + timeouts.command, max(self._ends_at, now + timeouts.goodbye))
        self._expire_at(self._until)
        self.waits_for = "command-timeout"
        phase, self.phase = self.phase, Phase.REPLY
        return phase

    def start_hook(self) -> None:
        """A hook runs now, for `Timeouts.hook` at most. To be run by `run`."""
        self._command_until = None
        self.phase = _HOOK
        self._hook_seconds = self._timeouts.hook

    def resume_hook(self, seconds: float | None) -> None:
        """The hook that was paused, if there is one, goes on with what it had left."""
        if seconds is not None:
            self.phase = _HOOK
            self._give(seconds)

    def abandon_pause(self, seconds: float | None) -> None:
        """What the hook was paused for was cancelled: it goes on, if it was the hook that has given up waiting."""
        if not self.has_expired():
            self.resume_hook(seconds)

    def start_commit(self) -> None:
        """The message is complete: nothing but this deadline stops the hook any more."""
        self.phase = _COMMIT
        self._give(self._timeouts.commit)

    def _give(self, seconds: float) -> None:
        self._hook_seconds = seconds
        if self._hook_waits:
            self._begin_wait(seconds)

    def _begin_wait(self, seconds: float) -> None:
        """The hook waits from now on."""
        if self.before_wait is not None:
            self.before_wait()
        self._until = self._now() + seconds
        if not 0 <= self._until - self._deadline < seconds * _TOLERANCE:
            self._expire_at(self._until)
        self._hook_seconds = None

    def pause_hook(self) -> float | None:
        """The peer is waited for now; returns the seconds that the hook has left, None if there is no hook."""
        if self.phase is _PEER:
            return None
        self.phase = _PEER
        left, self._hook_seconds = self._hook_seconds, None
        return self._deadline - self._now() if left is None else left

    def end_hook(self) -> None:
        """The hook is over."""
        self.phase = _PEER
        self._hook_seconds = None

    @types.coroutine
    def run(self, hook: Coroutine[Any, Any, _T], trap: Any = None) -> Generator[Any, Any, _T]:
        """What a hook returns or raises. Its deadline is set when it waits, before that is told to trio.

        Args:
            hook: the hook, of which nothing has run yet.
            trap: or else what it has first told trio.
        """
        outer_waits = self._hook_waits  # one in whose child task this one is called, between two chunks of a message
        try:
            if trap is None:
                trap = hook.send(None)
            while True:
                if self._hook_seconds is not None:
                    self._begin_wait(self._hook_seconds)
                self._hook_waits = True
                try:
                    value = yield trap
                except BaseException as error:  # noqa: ASYNC103, BLE001 - it is thrown into the hook
                    self._hook_waits = False
                    trap = hook.throw(error)
                else:
                    self._hook_waits = False
                    trap = hook.send(value)
        except StopIteration as result:
            answer: _T = result.value
            return answer
        finally:
            self._hook_waits = outer_waits

    def hurry(self, seconds: float) -> None:
        """The peer, which is waited for, has so many seconds in all, or less: those that it has had are among them."""
        self._until = min(self._until, self._waiting_since + seconds)
        self._expire_at(min(self._deadline, self._until))

    def _expire_at(self, deadline: float) -> None:
        self.scope.deadline = self._deadline = deadline
