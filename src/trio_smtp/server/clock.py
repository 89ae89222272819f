"""The clock of a session: one cancel scope whose deadline is moved from phase to phase, as seldom as possible.

A new scope for each read or hook would cost five times as much as moving a deadline, and moving one costs as much as
parsing a command. So the deadline is not moved

- if it is right to within 1 % of the timeout;
- if it is too early for a command and no hook is running: should it expire, the session goes on with a new scope;
- when a hook starts. It is moved when the hook first waits, which most hooks never do.
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
    """What the session waits for, which decides what happens when the scope expires."""

    PEER = enum.auto()
    REPLY = enum.auto()
    """The peer again: it has to take output that could not be sent at once."""
    HOOK = enum.auto()
    COMMIT = enum.auto()
    """A hook that has the whole message."""


_PEER, _HOOK, _COMMIT = Phase.PEER, Phase.HOOK, Phase.COMMIT  # CPython 3.11 is slow to find a member of an Enum
_TOLERANCE: Final = 0.01  # of a timeout


class Clock:
    """What a session waits for at the moment, and until when. Must be created inside trio, when the session begins.

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
        now = self._now()
        self._ends_at = now + timeouts.session
        self._until = math.inf  # when the session gives up waiting
        # Of the scope; may be earlier than `_until`. Early enough for the first command and the first message, neither
        # of which has to move it then.
        self._deadline = now + min(timeouts.command, timeouts.data)
        self._waiting_since = 0.0
        self._command_until: float | None = None  # when the timeout of a command ends; more octets do not extend it
        self._hook_seconds: float | None = None  # the time limit of a hook that has not waited yet
        self._hook_waits = False  # the hook is suspended; calls then come from a child task that it waits for
        self._body_credit = 0.0  # seconds by which the message being received is ahead of the minimum rate
        self.phase = _PEER
        self.scope = trio.CancelScope(deadline=self._deadline, shield=True)
        self.waits_for = "command-timeout"
        """The name of the rule that strikes if the peer does not act in time."""
        self.before_wait: Callable[[], None] | None = None
        """Called just before a hook waits."""

    def renew(self) -> None:
        """Go on with a new scope, after the old one has expired."""
        self.scope = trio.CancelScope(shield=True)
        self._deadline = math.inf  # the next wait sets one
        self.phase = _PEER

    def stop(self) -> None:
        """Remove the deadline: the next step has a timeout of its own."""
        self._command_until = None
        self._until = math.inf
        self._expire_at(math.inf)

    def cancel(self) -> None:
        """Cancel the scope, whatever the session waits for."""
        self._until = self._deadline = -math.inf
        self.scope.cancel()

    def has_expired(self) -> bool:
        """Whether the scope is cancelled, by its deadline or by `cancel`."""
        # `cancel_called` makes trio check whether the deadline has passed. That is not cheap, so compare times first.
        return self._now() >= self._deadline and self.scope.cancel_called

    def is_over(self) -> bool:
        """Whether the peer has no time left. If it has, the deadline of the scope was only too early."""
        return self._now() >= self._until

    def wait_for_peer(self, *, receiving: bool, replied: bool, in_hook: bool) -> None:
        """Start to wait for the peer: for its next command, or for more of its message.

        Args:
            receiving: a message is being received.
            replied: a reply has just gone out. If not, the timeout of the command runs on, so that a client that drips
                octets gains nothing.
            in_hook: a hook waits for its message, or between two chunks of it; a deadline that is too early would
                cancel the hook.
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
        if not receiving and not in_hook:  # no message is being received
            self._body_credit = 0
        elif self._body_credit < 0 and now + self._timeouts.data + self._body_credit < until:
            until = now + self._timeouts.data + self._body_credit
            self.waits_for = "minimum-rate"
        if until > self._ends_at:
            until = self._ends_at
            self.waits_for = "session-time"
        self._until = until
        too_early = until - self._deadline
        exact = in_hook or receiving  # a new scope would begin the timeout for a refused message anew
        if exact and 0 <= too_early < timeout * _TOLERANCE:
            self._until = self._deadline
        elif exact:
            self._expire_at(until)
        elif too_early < 0:  # set it early enough for a message too, so that the first one does not move it again
            self._expire_at(min(until, now + self._timeouts.data) if replied else until)

    def count_body(self, octets: int) -> None:
        """Count received octets of a message: they earn time at the minimum rate, less the time spent waiting."""
        self._body_credit += octets / self._timeouts.minimum_rate - (self._now() - self._waiting_since)

    def wait_for_reply_to_go(self) -> Phase:
        """Start to wait, as long as for a command, until the peer takes a reply; return the phase to restore then.

        At the end of the session's time the peer still gets `Timeouts.goodbye`: the reply may be that to a message
        which was committed.
        """
        now, timeouts = self._now(), self._timeouts
        self._waiting_since = now
        self._command_until = None  # it starts again when the reply is out
        self._until = min(now + timeouts.command, max(self._ends_at, now + timeouts.goodbye))
        self._expire_at(self._until)
        self.waits_for = "command-timeout"
        phase, self.phase = self.phase, Phase.REPLY
        return phase

    def start_hook(self) -> None:
        """Start the time limit of a hook, `Timeouts.hook`. The hook must be run by `run`."""
        self._command_until = None
        self.phase = _HOOK
        self._hook_seconds = self._timeouts.hook

    def resume_hook(self, seconds: float | None) -> None:
        """Resume the paused hook, if there is one, with the seconds that it had left."""
        if seconds is not None:
            self.phase = _HOOK
            self._give(seconds)

    def abandon_pause(self, seconds: float | None) -> None:
        """The wait that paused the hook was cancelled: resume the hook, if it was the hook that gave up waiting."""
        if not self.has_expired():
            self.resume_hook(seconds)

    def start_commit(self) -> None:
        """The message is complete: from now on only the commit deadline cancels the hook."""
        self.phase = _COMMIT
        self._give(self._timeouts.commit)

    def _give(self, seconds: float) -> None:
        self._hook_seconds = seconds
        if self._hook_waits:
            self._begin_wait(seconds)

    def _begin_wait(self, seconds: float) -> None:
        """The hook begins to wait: set its deadline."""
        if self.before_wait is not None:
            self.before_wait()
        self._until = self._now() + seconds
        if not 0 <= self._until - self._deadline < seconds * _TOLERANCE:
            self._expire_at(self._until)
        self._hook_seconds = None

    def pause_hook(self) -> float | None:
        """Stop the hook's clock while the peer is waited for; return the seconds it has left, None without a hook."""
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
        """Run a hook and return its result. Its deadline is set when it first waits, before trio suspends the task.

        Args:
            hook: the hook's coroutine, which has not been started unless `trap` is given.
            trap: what the coroutine has yielded to trio already, if it has been started.
        """
        outer_waits = self._hook_waits  # of the message hook whose child task runs this hook, between two chunks
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
        """Shorten the wait for the peer to so many seconds, counted from when it began."""
        self._until = min(self._until, self._waiting_since + seconds)
        self._expire_at(min(self._deadline, self._until))

    def _expire_at(self, deadline: float) -> None:
        self.scope.deadline = self._deadline = deadline
