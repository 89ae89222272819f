"""The hooks of a policy, in the order in which a session comes to them.

All are coroutine methods that return to let the client go on and raise `Refuse` to stop it. They run before the
handler's hook of the same name, under the same clock, and what else they raise is answered in the same way: 451 and a
log record. One object serves many connections: it keeps what it knows of one by `Session.id`, by peer or by account, in
bounded memory, or in `Session.extras`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final, Protocol

from trio_smtp._checks import check_hooks
from trio_smtp.handler import Session
from trio_smtp.protocol import Envelope, Hello, MailFrom, RcptTo

__all__ = ["HEADER_BOUND", "HOOKS", "Content", "Policy"]

HEADER_BOUND: Final = 1 << 20
"""Octets of a header section that policies see at most."""


class Content(Protocol):
    """A whole message, for the hook `Policy.content`. It may lie on disk, and can be read as often as you like."""

    @property
    def size(self) -> int:
        """How many octets it has."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The octets, dots removed, in chunks of any length; each loop begins at the first."""
        ...

    async def read(self, limit: int = -1) -> bytes:
        """The first `limit` octets, or all of them."""
        ...


class Policy:
    """Rules for clients. Override the hooks that you need; the others cost nothing."""

    overrides: ClassVar[frozenset[str]] = frozenset()
    """The hooks that a class overrides, itself or by what it inherits; the others are not called."""
    header_bound: int = HEADER_BOUND
    """How many octets of a header section the hook `header` sees, at most 1 MiB. A connection may hold as many."""

    def applies_to(self, session: Session) -> bool:
        """Whether any hook is called for this connection; asked once, before `connect`."""
        return True

    async def connect(self, session: Session) -> None:
        """Before the greeting, with the peer that PROXY has announced, if there is a proxy."""

    async def hello(self, session: Session, event: Hello) -> None:
        """HELO, EHLO or LHLO (RFC 5321 §4.1.1.1)."""

    async def login(self, session: Session, username: str) -> None:
        """A client is about to prove that it is `username` (``""``: a token says who): before anything is checked.

        What is said here must not depend on whether there is such a user.
        """

    async def login_failed(self, session: Session, username: str) -> None:
        """It could not. What is raised here takes the place of 535, or of the challenge before it (RFC 7628 §3.2.3)."""

    async def mail(self, session: Session, event: MailFrom) -> None:
        """MAIL (RFC 5321 §4.1.1.2)."""

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        """RCPT (RFC 5321 §4.1.1.3)."""

    async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
        """The header section of a message has come in (RFC 5322 §2.1), while the rest is on its way.

        `header` is what stands before the first line that is no field, as a rule the empty one. Of a larger one it has
        the first `header_bound` octets, or more if another policy wants more.
        """

    async def content(self, session: Session, envelope: Envelope, content: Content) -> Sequence[tuple[str, str]] | None:
        """The last octet has come in and nothing is committed: the place for spam filters.

        Returns header fields to put in front, pairs of a name and a value of printable ASCII, or None. A server with
        such a policy keeps each message, on disk if it is large, before its handler sees the first octet.
        """

    async def fault(self, session: Session, errors: float, junk: float) -> None:
        """Commands were refused or led nowhere, and their replies are about to go out: the place for a delay.

        `errors` and `junk` say how much of `Limits.errors` and of `Limits.junk_commands` is used up, from 0 to 1.
        What is raised here is noted and changes nothing any more, for the commands have been answered.
        """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.overrides = check_hooks(cls, Policy, HOOKS)


HOOKS: Final = ("connect", "hello", "login", "login_failed", "mail", "rcpt", "header", "content", "fault")
