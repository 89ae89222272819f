"""Greylisting (RFC 6647): an unknown sender must try again. Mail servers do so after some minutes; most spam does not.

An attempt is identified by the network of the peer (the servers of one sender are often in one network), the sender and
the recipient. For each attempt the store keeps a note, under a key that is an HMAC with the store's secret. The note is
``tried`` and the time of the first attempt, later ``passed`` and the time at which it was last renewed.

If the store cannot keep a note, because it is full or unavailable, the recipient is accepted: an attempt without a note
would be refused for ever. The handler then decides.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from trio_smtp._checks import check_type
from trio_smtp.handler import Refuse, Session
from trio_smtp.mailbox.store import MailStore, StoreUnavailable, require_store
from trio_smtp.policy.base import Policy
from trio_smtp.policy.peers import is_loopback, peer_network
from trio_smtp.protocol import RcptTo

__all__ = ["Greylist"]

_DAY: Final = 86_400
_LAST: Final = 2**63 - 1  # the last time at which a note can expire


class Greylist(Policy):
    """Refuses a recipient with 451 4.7.1 until the same sender has tried the same recipient some time ago.

    The null sender is treated like any other, because its mail is retried too (RFC 5321 §4.5.5). Mail for a postmaster
    (RFC 5321 §4.5.1), mail of clients that have logged in, and mail over LMTP or a Unix socket is never refused.

    Policies run before the handler, so an unknown sender gets 451 for recipients that do not exist too, and learns only
    after `delay` which ones exist. Put this policy after `RateLimits`, which bounds the number of notes per peer.

    Args:
        store: where attempts are remembered. Processes that share the store share the attempts.
        delay: seconds after the first attempt in which further ones are refused.
        window: seconds after the delay in which an attempt passes; a later one counts as the first again.
        lifetime: seconds for which a passed triple is remembered after its last mail. It can be up to a day less, or
            half of it if that is shorter, because not every mail renews the note.
        everyone: whether loopback addresses are greylisted too.
        clock: returns the time in seconds since 1970.

    Raises:
        TypeError: if `store` is not a `MailStore`, or one of the times is not a number.
        ValueError: if one of the times is not positive.
    """

    def __init__(
        self,
        store: MailStore,
        *,
        delay: float = 300,
        window: float = _DAY,
        lifetime: float = 36 * _DAY,
        everyone: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        require_store(store)
        for name, seconds in (("delay", delay), ("window", window), ("lifetime", lifetime)):
            check_type(name, seconds, int, float)
        if not (delay > 0 and window > 0 and lifetime > 0):
            raise ValueError("delay, window and lifetime must be greater than 0")
        self._store = store
        self._delay = delay
        self._window = window
        self._lifetime = lifetime
        self._renewal = min(_DAY, lifetime / 2)  # to renew a note once a day saves a write for each message
        self._everyone = everyone
        self._clock = clock

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        if session.identity is not None or session.lmtp or event.recipient.local_part.lower() == "postmaster":
            return
        network = _sender_network(session.peer.host)
        if not network or (is_loopback(session.peer.host) and not self._everyone):
            return
        envelope = session.envelope
        assert envelope is not None  # there is no RCPT without MAIL
        try:
            known = await self._is_known(network, str(envelope.sender or ""), str(event.recipient))
        except StoreUnavailable:
            return
        if not known:
            raise Refuse(451, "Not known yet, try again in some minutes", "4.7.1", rule="greylist")

    async def _is_known(self, network: str, sender: str, recipient: str) -> bool:
        store, now = self._store, int(self._clock())
        # Keys are only compared. Folding the case of too much is harmless: at worst some attempts pass that need not.
        attempt = json.dumps([network, sender.casefold(), recipient.casefold()])
        key = "greylist " + hmac.digest(await store.get_secret(), attempt.encode(), "sha256").hex()
        state, _, since = (await store.get_note(key) or f"new {now}").partition(" ")
        age = now - int(since)
        if state == "new" or age < 0:  # age < 0: the clock was set back, so start over
            await store.put_note(key, f"tried {now}", expires=_whole(now + self._delay + self._window))
            return False
        if state == "tried" and age < self._delay:
            return False
        if state == "tried" or age >= self._renewal:
            await store.put_note(key, f"passed {now}", expires=_whole(now + self._lifetime))
        return True


def _whole(time: float) -> int:
    """The time as the store wants it, also if it is infinite."""
    return int(min(time, _LAST))


@lru_cache(maxsize=4096)
def _sender_network(host: str) -> str:
    """The IPv4 /24 or IPv6 /64 network of a host, ``""`` if the host is not an IP address."""
    network = peer_network(host)
    return network if ":" in network or not network else str(ipaddress.IPv4Network((network, 24), strict=False))
