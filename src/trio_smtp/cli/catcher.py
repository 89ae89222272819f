"""``trio-smtp catch``: all mail is taken, whoever it is for, and shown; for those who develop what sends it.

It is ``trio-smtp serve`` with this handler, which refuses nobody, unless ``--refuse`` has it. What is caught is in a
store, so that ``trio-smtp mail`` reads it as any other mail. Nothing leaves the machine.
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
    """The handler: everything goes to the account `CAUGHT` and to standard output."""
    turn = trio.Lock()
    return HandlerFactory(lambda: _Catcher(store, _as_json if as_json else _as_text, turn))


def catching(config: Config, refusals: Sequence[tuple[str, int]] = ()) -> SessionOptions:
    """What goes with it: every login is right, inside TLS and outside, and nothing is too much or too odd.

    A client that begins with TLS where nobody expects it has often spoken before the greeting. It is turned away for
    what it said, so that the log tells what is the matter.

    Args:
        config: of the server.
        refusals: what to refuse all the same, and by which codes.
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
    """Keeps and shows.

    Args:
        store: where to keep.
        text: how to show.
        turn: one message at a time.
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
        assert isinstance(delivered, Delivered)  # or `commit` would have raised
        async with self._turn:
            with contextlib.suppress(StoreError):  # deleted already
                message = await self._store.get_message(CAUGHT, INBOX, delivered.uid)
                await trio.to_thread.run_sync(self._show, message, envelope, abandon_on_cancel=True)
        return None

    def _show(self, message: Message, envelope: Envelope) -> None:
        with contextlib.suppress(OutputError):  # a broken pipe, a full disk: mail comes in all the same
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
    """Why other servers may refuse what is taken here."""
    if first_bare_newline(message.content) is not None:
        yield "a CR or LF stands alone, where most mail servers take CRLF only (RFC 5321 section 2.3.8)"
