"""``trio-smtp catch``: accept and show all mail, for developers of programs that send it.

This is ``trio-smtp serve`` with a handler that refuses nothing but what ``--refuse`` names. It keeps the mail in a
store, where ``trio-smtp mail`` can read it like any other mail. It sends nothing on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import trio

from trio_smtp._escape import escape
from trio_smtp.cli.errors import OutputError
from trio_smtp.cli.mail import record_with_content
from trio_smtp.cli.output import flush, is_coloured, json_text, say
from trio_smtp.cli.readable import note, readable
from trio_smtp.handler import Body, HandlerFactory
from trio_smtp.mailbox.store import INBOX, Delivered, MailStore, Message, StoreError, Target
from trio_smtp.mailbox_handler import MailboxHandler, copy_to
from trio_smtp.policy import Refusals
from trio_smtp.protocol import Config, Envelope, RcptTo, Reply
from trio_smtp.protocol.readers import first_bare_newline
from trio_smtp.server import SessionOptions
from trio_smtp.trace import delivered_to, received, return_path

__all__ = ["CAUGHT", "catcher", "catching"]

CAUGHT: Final = "caught"
"""The account that gets all mail."""


def catcher(store: MailStore, *, as_json: bool) -> HandlerFactory:
    """The handler, which stores all mail in the account `CAUGHT` and prints it to standard output."""
    turn = trio.Lock()
    return HandlerFactory(lambda: _Catcher(store, _as_json if as_json else _as_text, turn))


def catching(config: Config, refusals: Sequence[tuple[str, int]] = ()) -> SessionOptions:
    """The options for the handler: every login succeeds, with or without TLS, and no limits or policies apply.

    Early talkers are allowed, because a client that wrongly begins with TLS has often sent its ClientHello before the
    greeting. The server then refuses it for what it sent, so that the log shows the real mistake.

    Args:
        config: the configuration of the server.
        refusals: what to refuse nevertheless, and with which codes.
    """
    config = replace(config, auth_requires_tls=False, bare_newline="keep")
    ordered = Refusals()
    for what, code in refusals:
        ordered.refuse(what, code, "Refused, as --refuse has it")
    return {
        "config": config,
        "authenticator": _anybody,
        "policy": ordered if refusals else (),
        "early_talkers": "allow",
    }


async def _anybody(username: str, _: str, /) -> str:
    return username


class _Catcher(MailboxHandler):
    """Stores and shows each message.

    Args:
        store: where to keep messages.
        text: formats a message for standard output.
        turn: held while a message is shown, so that messages do not mix.
    """

    def __init__(self, store: MailStore, text: Callable[[Message, Envelope], str], turn: trio.Lock) -> None:
        super().__init__(store)
        self._text = text
        self._turn = turn

    async def rcpt(self, event: RcptTo) -> Reply | None:
        return None

    async def message(self, envelope: Envelope, body: Body) -> Reply | Sequence[Reply] | None:
        prefix = return_path(envelope.sender) + b"".join(map(delivered_to, envelope.recipients))
        prefix += received(self.session, envelope.recipients, smtputf8=envelope.params.smtputf8, when=int(time.time()))
        try:
            async with self._store.deliver([Target(CAUGHT, INBOX, prefix)]) as delivery:
                await copy_to(delivery, body)
                [delivered] = await delivery.commit()
        except StoreError as error:
            return self._reply_to(error)
        assert isinstance(delivered, Delivered)  # `commit` raises otherwise
        async with self._turn:
            with contextlib.suppress(StoreError):  # the message may already have been deleted
                message = await self._store.get_message(CAUGHT, INBOX, delivered.uid)
                await trio.to_thread.run_sync(self._show, message, envelope, abandon_on_cancel=True)
        return None

    def _show(self, message: Message, envelope: Envelope) -> None:
        with contextlib.suppress(OutputError):  # a broken pipe or a full disk must not stop the server
            say(self._text(message, envelope))
            flush()


def _as_json(message: Message, _: Envelope) -> str:
    return json_text({**record_with_content(message), "notes": list(_notes(message))})


def _as_text(message: Message, envelope: Envelope) -> str:
    return "\n".join(_lines(message, envelope))


def _lines(message: Message, envelope: Envelope) -> Iterator[str]:
    recipients = ", ".join(map(str, envelope.recipients))
    yield escape(f"--- message {message.info.uid}, from <{envelope.sender or ''}>, to {recipients}")
    coloured = is_coloured()
    yield from readable(message, coloured=coloured, with_envelope=False)
    yield from (note(text, coloured=coloured) for text in _notes(message))
    yield ""


def _notes(message: Message) -> Iterator[str]:
    """Reasons for which other servers may refuse the message."""
    if first_bare_newline(message.content) is not None:
        yield "it contains a CR or LF outside a CRLF, which most mail servers refuse (RFC 5321 section 2.3.8)"
