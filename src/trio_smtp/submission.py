"""Submission (RFC 6409): mail from people who have logged in, where `MailboxHandler` takes it from anyone.

Rules:

- **A login is required, the sender must be an address of the account, the recipient must be local.** Mail for other
  recipients is refused unless the application passes a `Relay`, so no setting makes an open relay. Addresses are read
  as in RFC 5321 §4.1.2: the local part is only a name, even if it looks like a route, as ``user%other.example`` or
  ``other.example!user`` (RFC 5321 §2.3.11), and a source route is dropped.
- **A missing Date or Message-ID is added** (RFC 6409 §8.2, §8.3) in front of the header. No other octet changes. If the
  end of the header was not found, no field is added, because the header may have it further on.
"""

from __future__ import annotations

import abc
import email.utils
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeAlias

from trio_smtp._checks import hint, is_async, takes
from trio_smtp.handler import Body, HandlerFactory, Mail
from trio_smtp.header_section import HeaderSection
from trio_smtp.mailbox.store import MailStore, NoSuchAccount, StoreError, require_store
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.protocol import Address, Envelope, MailFrom, RcptTo, Reply, replies
from trio_smtp.trace import received, separator_before

__all__ = ["Relay", "SubmissionHandler"]

Relay: TypeAlias = Callable[[Mail], Awaitable[None]]
"""A function that takes mail for other servers: it gets the message, with a Received line, and the recipients there.

Returning None means that the message is safe, for example in a queue on the disk; raising `Refuse` refuses the whole
message.
"""

HEADER_LIMIT: Final = 64 * 1024
"""Octets of a message that are held back to look for the end of its header."""

_FIELD_NAME: Final = re.compile(rb"^(?:\xef\xbb\xbf)?([!-9;-~]++)[ \t]*+:", re.MULTILINE)
_WANTED: Final = frozenset({b"date", b"message-id"})


class SubmissionHandler(MailboxHandler):
    """Takes mail from the accounts of a store for the accounts of that store and, with a `Relay`, for others.

    | what                                        | reply                                     |
    |---------------------------------------------|-------------------------------------------|
    | MAIL without a login                        | 530 5.7.0 (RFC 6409 §4.3)                 |
    | MAIL from another's address                 | 550 5.7.1 (RFC 6409 §6.1)                 |
    | MAIL of an account that has been removed    | 550 5.7.1                                 |
    | RCPT for an unknown user in a local domain  | 550 5.1.1                                 |
    | RCPT in another domain, without a relay     | 550 5.7.1                                 |

    An account's own addresses are those at which it gets mail, in any case and with any subaddress (``ann+shop@``).
    Everybody may use the null sender, because read receipts have it (RFC 6409 §3.2). A domain is local if an account
    has an address in it. Identities are names of accounts, as `StoreAuthenticator` returns them. Not for LMTP.

    Args:
        store, postmaster, catch_all: see `MailboxHandler`.
        any_sender: let every account send from any address.
        relay: takes the mail for recipients that are not local; without it they are refused. Such a message is in
            memory as a whole. The relay gets it before the store commits it: if the store then fails, the client will
            send it again, and the relay will get it twice.
    """

    def __init__(
        self,
        store: MailStore,
        postmaster: str | None = None,
        catch_all: str | None = None,
        *,
        any_sender: bool = False,
        relay: Relay | None = None,
    ) -> None:
        super().__init__(store, postmaster, catch_all)
        self._any_sender = any_sender
        self._relay = relay

    @classmethod
    def factory(
        cls,
        store: MailStore,
        *,
        postmaster: str | None = None,
        catch_all: str | None = None,
        any_sender: bool = False,
        relay: Relay | None = None,
    ) -> HandlerFactory:
        """Make the factory for `serve_smtp`, as `MailboxHandler.factory` does.

        Raises:
            TypeError: if `store` is not a `MailStore`, or `relay` is not an async function of one argument.
        """
        require_store(store)
        if relay is not None and not is_async(relay):
            raise TypeError(f"a relay must be an async function of one Mail, not {relay!r}{hint(relay)}")
        if relay is not None and not takes(relay, 1):
            raise TypeError(f"a relay must take one argument, the Mail, and {relay!r} does not")
        return HandlerFactory(lambda: cls(store, postmaster, catch_all, any_sender=any_sender, relay=relay))

    async def mail(self, event: MailFrom) -> Reply | None:
        identity = self.session.identity
        if identity is None:  # whatever `Config.auth_required` says
            return replies.AUTH_REQUIRED
        try:
            return None if await self._may_send(identity, event.sender) else replies.NOT_YOUR_ADDRESS
        except NoSuchAccount:
            return replies.ACCOUNT_GONE
        except StoreError as error:
            return self._reply_to(error)

    async def rcpt(self, event: RcptTo) -> Reply | None:
        reply = await super().rcpt(event)
        if reply is not replies.MAILBOX_UNKNOWN:
            return reply
        try:
            ours = await self._is_ours(event.recipient.domain)
        except StoreError as error:
            return self._reply_to(error)
        if ours:
            return reply
        return replies.RELAY_DENIED if self._relay is None else None

    async def message(self, envelope: Envelope, body: Body) -> Reply | Sequence[Reply] | None:
        content: Body = _Completed(body, self.session.hostname)
        ours, others = Envelope(envelope.sender, envelope.params), list[Address]()
        for recipient, params in zip(envelope.recipients, envelope.recipient_params, strict=True):
            if recipient in self._accounts:
                ours.recipients.append(recipient)
                ours.recipient_params.append(params)
            else:
                others.append(recipient)
        if others:
            content = _Relayed(content, partial(self._pass_on, envelope, others))
        if ours.recipients:
            return await super().message(ours, content)
        await content.read()
        return None

    async def _may_send(self, identity: str, sender: Address | None) -> bool:
        """Whether the account `identity` may send from this address (None: ``<>``); override it for your own rules.

        Raises:
            NoSuchAccount: if the account has been removed since the login.
        """
        await self._store.get_account(identity)
        if self._any_sender or sender is None:
            return True
        owner = await self._store.find_account(str(sender))
        return owner is not None and owner.name == identity

    async def _pass_on(self, envelope: Envelope, recipients: list[Address], content: bytes) -> None:
        assert self._relay is not None  # or `rcpt` would have refused these recipients
        trace = received(self.session, recipients, smtputf8=envelope.params.smtputf8, when=int(time.time()))
        content = trace + separator_before(content) + content
        relay: Callable[[Mail], Awaitable[object]] = self._relay
        answer = await relay(Mail(envelope.sender, tuple(recipients), envelope.params, content, self.session))
        if answer is not None:  # perhaps a refusal: the client would get 250, and the mail would be lost
            raise TypeError(f"a relay must return None or raise Refuse, and {relay!r} returned {answer!r}")


# Bodies -------------------------------------------------------------------------------------------------------------


class _Changed(abc.ABC):
    """A body that is made from another one."""

    def __init__(self, body: Body) -> None:
        self._chunks = aiter(body)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @abc.abstractmethod
    async def __anext__(self) -> bytes: ...

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self])


class _Completed(_Changed):
    """The body with a Date and a Message-ID in front, if they were missing."""

    def __init__(self, body: Body, hostname: str) -> None:
        super().__init__(body)
        self._hostname = hostname
        self._section: HeaderSection | None = HeaderSection(HEADER_LIMIT)  # until the header has been seen

    async def __anext__(self) -> bytes:
        section, self._section = self._section, None
        if section is None:
            return await anext(self._chunks)
        header: bytes | None = None
        while header is None:
            header = section.feed(await anext(self._chunks, b""))
        separator = separator_before(section.content)
        if separator:
            header = b""
        missing = missing_fields(header) if len(header) < HEADER_LIMIT else frozenset()
        return _fields(missing, self._hostname) + separator + section.content


class _Relayed(_Changed):
    """The same body, passed to the relay as a whole once it is complete, before the reader learns that it is."""

    def __init__(self, body: Body, relay: Callable[[bytes], Awaitable[None]]) -> None:
        super().__init__(body)
        self._relay = relay
        self._kept: list[bytes] = []

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            await self._relay(b"".join(self._kept))
            raise StopAsyncIteration
        self._kept.append(chunk)
        return chunk


def missing_fields(header: bytes) -> frozenset[bytes]:
    """Those of Date and Message-ID that are not in a header section, in lower case."""
    return _WANTED - {name.lower() for name in _FIELD_NAME.findall(header)}


def _fields(names: frozenset[bytes], hostname: str) -> bytes:
    """The lines of those fields."""
    lines = b""
    if b"date" in names:
        lines += b"Date: %b\r\n" % email.utils.format_datetime(datetime.now(UTC)).encode()
    if b"message-id" in names:
        lines += b"Message-ID: <%b@%b>\r\n" % (secrets.token_hex(16).encode(), hostname.encode())
    return lines
