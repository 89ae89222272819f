"""Rate limits for connections, messages, recipients and failed logins, per peer and per account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from trio_smtp._checks import check_type
from trio_smtp.handler import Refuse, Session
from trio_smtp.mailbox.names import address_keys
from trio_smtp.policy.base import Policy
from trio_smtp.policy.peers import is_loopback, peer_network
from trio_smtp.policy.windows import SlidingWindow, Window
from trio_smtp.protocol import MailFrom, RcptTo

__all__ = ["Rate", "RateLimits"]

_NAME_LIMIT: Final = 64  # characters of a user name; longer names with the same first 64 count as one


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` times in `seconds`.

    The counts are estimates (see `SlidingWindow`), on the safe side for small ones: a client that keeps trying gets one
    less in each window, and with a count of 1 one in every second window.

    Args:
        count: how many are allowed in the window. Those over it are refused and not counted.
        seconds: the length of the window, which slides.
        everyone: whether peers on this machine (loopback addresses, Unix sockets) are counted too.

    Raises:
        TypeError: if `count` is not a whole number, or `seconds` is not a number.
        ValueError: if `count` or `seconds` is not positive.
    """

    count: int
    seconds: float
    everyone: bool = False

    def __post_init__(self) -> None:
        check_type("the count of a Rate", self.count, int)
        check_type("the seconds of a Rate", self.seconds, int, float)
        if self.count < 1 or not self.seconds > 0:
            raise ValueError("a Rate needs a count of at least 1 and more than 0 seconds")


class RateLimits(Policy):
    """Temporarily refuses peers and accounts that exceed a rate. None means no limit.

    A peer is an IPv4 address or an IPv6 /64 network. Connections over the rate get 421, messages and recipients 451,
    logins 454, all with 4.7.x, so that an honest client tries again. The failed logins of a user name are counted over
    all peers, whether the user exists or not. The reply to each further failure of a peer is delayed longer.

    Args:
        connections: of one peer.
        messages: of one peer; each MAIL counts.
        recipients: of one peer; each RCPT counts, whether it is accepted or not.
        login_failures: of one peer.
        account_messages: of one account that has logged in.
        account_recipients: of one account that has logged in.
        account_login_failures: of one user name.
        max_keys: how many peers or accounts each limit remembers, at least 1.
        most_delay: the longest delay of the answer to a failed login, in seconds.
        clock: returns the time in seconds.
        windows: makes the window of a limit, given its name in `Stats.rules` and the seconds of its rate. Processes use
            it to share their counts. By default a `SlidingWindow` of `max_keys`.

    Raises:
        TypeError: if a rate is neither a `Rate` nor None, or `max_keys` or `most_delay` is not a number.
        ValueError: if `max_keys` is less than 1, or `most_delay` is negative.
    """

    def __init__(
        self,
        *,
        connections: Rate | None = Rate(300, 60),
        messages: Rate | None = Rate(1_000, 600),
        recipients: Rate | None = Rate(10_000, 600),
        login_failures: Rate | None = Rate(30, 600),
        account_messages: Rate | None = Rate(1_000, 3600),
        account_recipients: Rate | None = Rate(10_000, 3600),
        account_login_failures: Rate | None = Rate(100, 3600),
        max_keys: int = 50_000,
        most_delay: float = 5,
        clock: Callable[[], float] = trio.current_time,
        windows: Callable[[str, float], Window] | None = None,
    ) -> None:
        check_type("most_delay", most_delay, int, float)
        if not most_delay >= 0:
            raise ValueError(f"most_delay must be at least 0 seconds, not {most_delay}")
        self._clock = clock
        self._most_delay = most_delay
        self.rates: Final = {
            "connections": connections,
            "messages": messages,
            "recipients": recipients,
            "login_failures": login_failures,
            "account_messages": account_messages,
            "account_recipients": account_recipients,
            "account_login_failures": account_login_failures,
        }
        """The rates in force, by argument name."""
        for name, rate in self.rates.items():
            if not isinstance(rate, Rate | None):
                raise TypeError(f"{name} must be a Rate, such as Rate(100, 60), or None, not {rate!r}")
        self._any_for_everyone = any(rate is not None and rate.everyone for rate in self.rates.values())
        make = windows or (lambda _, seconds: SlidingWindow(seconds, max_keys))
        self._connections = _Limit("connection-rate", connections, make, _TOO_MANY_CONNECTIONS)
        self._messages = _Limit("message-rate", messages, make, _TOO_MUCH_MAIL)
        self._recipients = _Limit("recipient-rate", recipients, make, _TOO_MUCH_MAIL)
        self._failures = _Limit("login-failure-rate", login_failures, make, _TOO_MANY_FAILURES)
        self._account_messages = _Limit("account-message-rate", account_messages, make, _TOO_MUCH_MAIL)
        self._account_recipients = _Limit("account-recipient-rate", account_recipients, make, _TOO_MUCH_MAIL)
        self._account_failures = _Limit("account-login-failure-rate", account_login_failures, make, _TOO_MANY_FAILURES)

    def applies_to(self, session: Session) -> bool:
        return self._any_for_everyone or not is_loopback(session.peer.host)

    async def connect(self, session: Session) -> None:
        self._connections.take(session, peer_network(session.peer.host), self._clock())

    async def mail(self, session: Session, event: MailFrom) -> None:
        now = self._clock()
        self._messages.take(session, peer_network(session.peer.host), now)
        self._account_messages.take(session, session.identity or "", now)

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        now = self._clock()
        self._recipients.take(session, peer_network(session.peer.host), now)
        self._account_recipients.take(session, session.identity or "", now)

    async def login(self, session: Session, username: str) -> None:
        now = self._clock()
        self._failures.check(session, peer_network(session.peer.host), now)
        self._account_failures.check(session, _key(username), now)

    async def login_failed(self, session: Session, username: str) -> None:
        now = self._clock()
        peer = peer_network(session.peer.host)
        before = self._failures.add(session, peer, now)
        self._account_failures.add(session, _key(username), now)
        if before >= 1:
            await trio.sleep(min(before / 2, self._most_delay))


class _Limit:
    """One rate: its window of counts, and the refusal for a key that is over it."""

    __slots__ = ("_everyone", "_most", "_refusal", "_rule", "_window")

    def __init__(
        self, rule: str, rate: Rate | None, make: Callable[[str, float], Window], refusal: tuple[int, str, str]
    ) -> None:
        self._rule = rule
        self._refusal = refusal
        self._window = None if rate is None else make(rule, rate.seconds)
        self._most = 0 if rate is None else rate.count
        self._everyone = rate is not None and rate.everyone

    def check(self, session: Session, key: str, now: float) -> None:
        """Raise `Refuse` if one more would exceed the rate."""
        window = self._window_for(session, key)
        if window is not None and window.count(key, now) + 1 > self._most:
            raise Refuse(*self._refusal, rule=self._rule)

    def add(self, session: Session, key: str, now: float) -> float:
        """Count one, even over the rate, and return the count before it."""
        window = self._window_for(session, key)
        if window is None:
            return 0
        before = window.count(key, now)
        window.add(key, now)
        return before

    def take(self, session: Session, key: str, now: float) -> None:
        """Count one, or raise `Refuse` if it would exceed the rate."""
        window = self._window_for(session, key)
        if window is not None and not window.take(key, now, self._most):
            raise Refuse(*self._refusal, rule=self._rule)

    def _window_for(self, session: Session, key: str) -> Window | None:
        """The window for a key, None if it is not counted. The key is ``""`` without an address or before a login."""
        counts = key and (self._everyone or not is_loopback(session.peer.host))
        return self._window if counts else None


def _key(username: str) -> str:
    """The key of a user name: without case and subaddress, of which a client could make up any number.

    It is cut off, because a client can send a long name to use up memory.
    """
    return address_keys(username)[-1][:_NAME_LIMIT]


_TOO_MANY_CONNECTIONS: Final = (421, "Too many connections, try again later", "4.7.0")
_TOO_MUCH_MAIL: Final = (451, "Too much mail from you, try again later", "4.7.1")
_TOO_MANY_FAILURES: Final = (454, "Too many failed logins, try again later", "4.7.0")
