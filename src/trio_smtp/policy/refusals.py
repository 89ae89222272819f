"""Refusals on demand, to test how a program that sends mail copes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Final

from trio_smtp._checks import check_type
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
    times: int | None  # refusals left; None for no end


class Refusals(Policy):
    """Refuses what `refuse` has named, and nothing else. Any thread may call its methods while a server runs.

    `Stats.rules` counts refusals by step: ``refused-login``, ``refused-recipient`` and so on.
    """

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    def refuse(
        self, what: str, code: int, text: str = _TEXT, enhanced: str | None = None, *, times: int | None = None
    ) -> None:
        """Refuse `what` from now on. A later call for the same `what` replaces an earlier one.

        Args:
            what: ``"connection"``, ``"login"``, ``"sender"`` (MAIL), ``"recipient"`` (RCPT), ``"message"`` (after it
                has been received), or the address of one recipient.
            code, text, enhanced: see `Refuse`.
            times: how many times to refuse it before it is accepted again; None for no end.

        Raises:
            TypeError: if `what` is not a str, or `times` is not a whole number.
            ValueError: if `what` is anything else, `code` does not refuse, `text` cannot be sent in a reply, or `times`
                is negative.
        """
        check_type("what", what, str)
        check_type("times", times, int, NoneType)
        if times is not None and times < 0:
            raise ValueError(f"times must be at least 0, not {times}; None means no end")
        if what not in STEPS:
            if "@" not in what:
                raise ValueError(f"{what!r} is neither a step ({', '.join(STEPS)}) nor a mail address")
            what = _key(Address.parse(what))
        Refuse(code, text, enhanced)  # raises ValueError if this is not a valid refusal
        self._orders[what] = _Order(code, text, enhanced, times)

    def clear(self) -> None:
        """Stop refusing anything."""
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
        """Raise `Refuse` if there is an order for the recipient `one`, or without it for the whole step."""
        order = self._orders.get(one or step)
        if order is None or order.times == 0:
            return
        if order.times is not None:
            order.times -= 1
        raise Refuse(order.code, order.text, order.enhanced, rule=f"refused-{step}")


def _key(address: Address) -> str:
    return str(address).lower()  # case-insensitive; RFC 5321 §2.4 leaves the case of the local part to the server
