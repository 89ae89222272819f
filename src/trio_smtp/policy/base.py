"""The hooks of a policy, in the order in which a session calls them.

All hooks are coroutine methods. They return None to let the client go on and raise `Refuse` to refuse the command. Each
runs before the handler's hook of the same name, under the same time limit. Any other exception, or any other result
than `content` may have, is logged and answered with 451, in the login hooks with 454, as a fault of the handler is. One
object serves many connections, so it keeps its state in `Session.extras`, or in bounded memory under `Session.id`, the
peer or the account.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final, Protocol

from trio_smtp._checks import check_hooks
from trio_smtp.handler import Session
from trio_smtp.protocol import Envelope, Hello, MailFrom, RcptTo

__all__ = ["HEADER_BOUND", "HOOKS", "Content", "Policy"]

HEADER_BOUND: Final = 1 << 20
"""The most octets of a header section that policies are given."""


class Content(Protocol):
    """A whole message, for the hook `Policy.content`. It may be on disk and can be read any number of times."""

    @property
    def size(self) -> int:
        """The number of octets."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The octets without dot-stuffing, in chunks of any length. Each loop starts at the beginning."""
        ...

    async def read(self, limit: int = -1) -> bytes:
        """The first `limit` octets, or all of them."""
        ...


class Policy:
    """Rules for clients. Override the hooks that you need; the others cost nothing."""

    overrides: ClassVar[frozenset[str]] = frozenset()
    """The hooks that the class or one of its bases overrides. The other hooks are not called."""
    header_bound: int = HEADER_BOUND
    """The most octets of a header section that the hook `header` needs, up to 1 MiB. A connection buffers as many."""

    def applies_to(self, session: Session) -> bool:
        """Whether the hooks are called for this connection. Called once, before `connect`. Not async."""
        return True

    async def connect(self, session: Session) -> None:
        """Called before the greeting. Behind a proxy, `session.peer` is the peer that the PROXY header names."""

    async def hello(self, session: Session, event: Hello) -> None:
        """HELO, EHLO or LHLO (RFC 5321 §4.1.1.1)."""

    async def login(self, session: Session, username: str) -> None:
        """A client tries to log in as `username` (``""`` if only a token names the user). Nothing has been checked yet.
        In SCRAM this is called again before the client's proof is checked, some time after the exchange has begun.

        The answer must not depend on whether the user exists.
        """

    async def login_failed(self, session: Session, username: str) -> None:
        """The login failed. A `Refuse` replaces the 535, or the error challenge that precedes it (RFC 7628 §3.2.3)."""

    async def mail(self, session: Session, event: MailFrom) -> None:
        """MAIL (RFC 5321 §4.1.1.2)."""

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        """RCPT (RFC 5321 §4.1.1.3)."""

    async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
        """The header section of a message has been received (RFC 5322 §2.1), usually before the body has.

        `header` is everything before the first line that is not a field, usually the empty line. A larger header
        section is cut off after `header_bound` octets, or later if another policy needs more.
        """

    async def content(self, session: Session, envelope: Envelope, content: Content) -> Sequence[tuple[str, str]] | None:
        """The whole message has been received and nothing is committed: the place for spam filters.

        Returns header fields to prepend, as pairs of a name and a value of printable ASCII, or None. Each is one line
        of at most 998 octets (RFC 5322 §2.1.1). With such a policy the server buffers each message, on disk if it is
        large, before its handler gets the first octet.
        """

    async def fault(self, session: Session, errors: float, junk: float) -> None:
        """Commands were refused or had no effect, and their replies are about to be sent: the place for a delay.

        `errors` and `junk` are the used shares of `Limits.errors` and of `Limits.junk_commands`, from 0 to 1. The
        replies are already decided: an exception raised here is counted or logged and has no other effect.
        """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.iscoroutinefunction(cls.applies_to):  # its result would always be true
            raise TypeError(f"{cls.__name__}.applies_to must not be async")
        cls.overrides = check_hooks(cls, Policy, HOOKS)


HOOKS: Final = ("connect", "hello", "login", "login_failed", "mail", "rcpt", "header", "content", "fault")
