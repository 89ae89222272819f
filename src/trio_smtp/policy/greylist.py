"""Greylisting (RFC 6647): a stranger has to try again. Mail servers do, some minutes later; much of spam does not.

A try is known by the network of the peer (one sender's servers are often neighbours), the sender and the recipient. The
store keeps a note of each, under a hash that only who has the store's secret can compute: ``tried`` and when, then
``passed`` and when that was last noted.

What cannot be remembered is let through, for a try that leaves no trace would be refused for ever: when the store keeps
as many notes as it can, or cannot be used at all. The handler then says whether it takes mail.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from trio_smtp.handler import Refuse, Session
from trio_smtp.mailbox.store import MailStore, StoreUnavailable, require_store
from trio_smtp.policy.base import Policy
from trio_smtp.policy.peers import is_loopback, peer_network
from trio_smtp.protocol import RcptTo

__all__ = ["Greylist"]

_DAY: Final = 86_400


class Greylist(Policy):
    """Refuses a recipient with 451 4.7.1 until the same sender has tried the same recipient some time ago.

    The null sender is one like any other (RFC 5321 §4.5.5: what comes from it is tried again too). Never refused are
    mail for a postmaster (RFC 5321 §4.5.1), those who have logged in, LMTP, and what comes over a Unix socket.

    As policies are asked before the handler, a stranger hears 451 for recipients that do not exist too, and learns only
    after `delay` which do. Put it behind `RateLimits`, which bounds how many notes one peer can make.

    Args:
        store: where tries are remembered; the processes that share it share them.
        delay: seconds from the first try on in which others are refused.
        window: seconds after that in which another try counts; later it is a first one again.
        lifetime: seconds that a peer, a sender and a recipient stay known after their last mail, or up to a day less.
        everyone: whether loopback addresses are greylisted too.
        clock: the time in seconds since 1970.

    Raises:
        TypeError: if the store is none.
        ValueError: for a time that is not positive.
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
        if not (delay > 0 and window > 0 and lifetime > 0):
            raise ValueError("the times of a Greylist are more than 0 seconds")
        self._store = store
        self._delay = delay
        self._window = window
        self._lifetime = lifetime
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
        # Only equality counts here, so folding too much does no harm: at worst too many are known.
        attempt = json.dumps([network, sender.casefold(), recipient.casefold()])
        key = "greylist " + hmac.digest(await store.get_secret(), attempt.encode(), "sha256").hex()
        state, _, since = (await store.get_note(key) or f"new {now}").partition(" ")
        age = now - int(since)
        if state == "new" or age < 0:  # the clock was set back: nobody shall wait for what it showed before
            await store.put_note(key, f"tried {now}", expires=int(now + self._delay + self._window))
            return False
        if state == "tried" and age < self._delay:
            return False
        if state == "tried" or age >= _DAY:  # not with each message
            await store.put_note(key, f"passed {now}", expires=int(now + self._lifetime))
        return True


@lru_cache(maxsize=4096)
def _sender_network(host: str) -> str:
    """An IPv4 /24 or an IPv6 /64 network; ``""`` where there is no address."""
    network = peer_network(host)
    return network if ":" in network or not network else str(ipaddress.IPv4Network((network, 24), strict=False))
