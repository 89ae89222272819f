"""Refusals to order: for tests of how a program that sends mail copes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trio_smtp.handler import Refuse, Session
from trio_smtp.policy.base import Content, Policy
from trio_smtp.protocol import Address, Envelope, MailFrom, RcptTo

__all__ = ["Refusals"]

STEPS: Final = ("connection", "login", "sender", "recipient", "message")
_TEXT: Final = "Refused to order, for a test"


@dataclass(slots=True)
class _Order:
    code: int
    text: str
    enhanced: str | None
    times: int | None  # that are left


class Refusals(Policy):
    """Refuses what it is told to, and nothing else. It may be told while it is in use, from any thread.

    `Stats.rules` counts by the step that was refused: ``refused-login``, ``refused-recipient`` and so on.
    """

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    def refuse(
        self, what: str, code: int, text: str = _TEXT, enhanced: str | None = None, *, times: int | None = None
    ) -> None:
        """Refuse this from now on. A later order for the same takes the place of an earlier one.

        Args:
            what: ``"connection"``, ``"login"``, ``"sender"`` (MAIL), ``"recipient"`` (RCPT), ``"message"`` (once it has
                come in), or the address of one recipient.
            code, text, enhanced: see `Refuse`.
            times: after so many it is taken again; None for no end.

        Raises:
            ValueError: for anything else, a code that refuses nothing, and a text that cannot go out on the wire.
        """
        if what not in STEPS:
            if "@" not in what:
                raise ValueError(f"{what!r} is none of {', '.join(STEPS)}, and no mail address")
            what = _key(Address.parse(what))
        Refuse(code, text, enhanced)  # is it one?
        self._orders[what] = _Order(code, text, enhanced, times)

    def clear(self) -> None:
        """Refuse nothing any more."""
        self._orders.clear()

    async def connect(self, session: Session) -> None:
        self._ask("connection")

    async def login(self, session: Session, username: str) -> None:
        self._ask("login")

    async def mail(self, session: Session, event: MailFrom) -> None:
        self._ask("sender")

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        self._ask("recipient", _key(event.recipient))
        self._ask("recipient")

    async def content(self, session: Session, envelope: Envelope, content: Content) -> Sequence[tuple[str, str]] | None:
        self._ask("message")
        return None

    def _ask(self, step: str, one: str = "") -> None:
        """Raise `Refuse` if that was ordered, for this one or for all."""
        order = self._orders.get(one or step)
        if order is None or order.times == 0:
            return
        if order.times is not None:
            order.times -= 1
        raise Refuse(order.code, order.text, order.enhanced, rule=f"refused-{step}")


def _key(address: Address) -> str:
    return str(address).lower()  # whatever RFC 5321 §2.4 lets a server make of it
