"""The end of a session with 421: too many errors, too many commands without a message, too many transactions."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    AT_GREETED,
    AT_MAIL,
    AT_RCPT,
    AT_READY,
    BDAT,
    CONFIG,
    DATA,
    EHLO,
    MAIL,
    RCPT,
    Dialogue,
    check,
)
from trio_smtp.protocol import (
    AbortReason,
    CloseReason,
    ConnectionClosed,
    Event,
    Hello,
    Limits,
    MailFrom,
    MessageChunk,
    MessageEnd,
    RcptTo,
    Reply,
    StartTLS,
    TransactionAborted,
    replies,
)

ERRORS = ConnectionClosed(CloseReason.ERRORS)
JUNK = ConnectionClosed(CloseReason.JUNK)
CLOSING = TransactionAborted(AbortReason.CLOSING)
UNKNOWN = replies.MAILBOX_UNKNOWN
BUSY = replies.MAILBOX_BUSY

MESSAGE = AT_RCPT.wire.removeprefix(AT_READY.wire) + b"DATA\r\n.\r\n"
RSET_ONE = b"MAIL FROM:<ann@a.example>\r\nRSET\r\n"
MESSAGE_EVENTS: list[Event] = [MAIL, RCPT, DATA, MessageEnd(0)]

DIALOGUES = [
    Dialogue("19 errors", AT_READY, b"FOO\r\n" * 19 + b"NOOP\r\n", "500 " * 19 + "250"),
    Dialogue(
        "the 20th error, and nothing behind it", AT_READY, b"FOO\r\n" * 30, "500/5.5.1 " * 19 + "421/4.7.0", [ERRORS]
    ),
    Dialogue(
        "errors of any kind",
        AT_GREETED,
        b"EHLO\r\nMAIL FROM:<a@b>\r\nQUIT x\r\nNOOP \0\r\nNOOP\n\r\n" + b"x" * 3000 + b"\r\nBDAT 1\r\nxEXPN\r\n",
        "501 503 501 501 500 500 503 421",
        [ERRORS],
        config=dataclasses.replace(CONFIG, limits=Limits(errors=8)),
    ),
    Dialogue(
        "an error is also what the application refuses for good, not what it refuses for now",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\n" * 60,
        "550 " * 10 + "450 " * 30 + "550 " * 9 + "421",
        [*[RCPT] * 50, CLOSING, ERRORS],
        {RcptTo: [UNKNOWN] * 10 + [BUSY] * 30 + [UNKNOWN] * 10},
    ),
    Dialogue(
        "a message that is delivered: errors count anew",
        AT_READY,
        b"FOO\r\n" * 19 + MESSAGE + b"FOO\r\n" * 20,
        "500 " * 19 + "250 250 354 250 " + "500 " * 19 + "421",
        [*MESSAGE_EVENTS, ERRORS],
    ),
    Dialogue(
        "one that is refused for now: they do not",
        AT_READY,
        b"FOO\r\n" * 19 + MESSAGE + b"FOO\r\n",
        "500 " * 19 + "250 250 354 450 421",
        [*MESSAGE_EVENTS, ERRORS],
        {MessageEnd: [BUSY]},
    ),
    Dialogue(
        "one that is refused for good: one more",
        AT_READY,
        b"FOO\r\n" * 19 + MESSAGE,
        "500 " * 19 + "250 250 354 421",
        [*MESSAGE_EVENTS, ERRORS],
        {MessageEnd: [UNKNOWN]},
    ),
    Dialogue(
        "RSET and EHLO: they do not",
        AT_READY,
        b"FOO\r\n" * 19 + b"RSET\r\nEHLO c.example\r\nFOO\r\n",
        "500 " * 19 + "250 250 421",
        [EHLO, ERRORS],
    ),
    Dialogue("99 commands that lead nowhere; EHLO is none", AT_READY, b"NOOP\r\n" * 99, "250 " * 99),
    Dialogue("the 100th command that leads nowhere", AT_READY, b"NOOP\r\n" * 120, "250 " * 99 + "421/4.7.0", [JUNK]),
    Dialogue(
        "the first EHLO that is accepted is no junk, those before and after it are",
        AT_GREETED,
        b"EHLO c.example\r\n" * 120,
        "450 " * 10 + "250 " * 90 + "421",
        [*[EHLO] * 100, JUNK],
        {Hello: [BUSY] * 10},
    ),
    Dialogue(
        "also where no junk is allowed",
        AT_GREETED,
        b"EHLO c.example\r\nNOOP\r\n",
        "250 421",
        [EHLO, JUNK],
        config=dataclasses.replace(CONFIG, limits=Limits(junk_commands=1)),
    ),
    Dialogue(
        "one that is never accepted comes to an end",
        AT_GREETED,
        b"EHLO c.example\r\n" * 120,
        "450 " * 100 + "421",
        [*[EHLO] * 100, JUNK],
        {Hello: [BUSY] * 100},
    ),
    Dialogue(
        "after STARTTLS neither",
        AT_READY,
        (b"NOOP\r\n" * 97 + b"STARTTLS\r\n", b"EHLO c.example\r\nNOOP\r\nEHLO c.example\r\nNOOP\r\n"),
        "250 " * 97 + "220 250 250 250 421",
        [StartTLS(), EHLO, EHLO, JUNK],
    ),
    Dialogue(
        "junk of any kind",
        AT_RCPT,
        b"RSET\r\nVRFY x\r\nEXPN x\r\nHELP\r\nNOOP\r\nHELO\r\nVRFY\r\nRSET x\r\nEHLO c.example\r\n",
        "250 252 502 214 250 501 501 501 421",
        [TransactionAborted(AbortReason.RSET), JUNK],
        config=dataclasses.replace(CONFIG, limits=Limits(junk_commands=9)),
    ),
    *(
        Dialogue(
            f"junk whose last is {line!r}",
            AT_MAIL,
            b"NOOP\r\n" + line,
            "250 421",
            [CLOSING, JUNK],
            config=dataclasses.replace(CONFIG, limits=Limits(junk_commands=2)),
        )
        for line in (b"RSET\r\n", b"VRFY x\r\n", b"EXPN x\r\n", b"HELP\r\n", b"NOOP\r\n", b"HELO c.example\r\n")
    ),
    Dialogue(
        "chunks that bring nothing",
        AT_RCPT,
        b"BDAT 1\r\nx" * 200 + b"BDAT 0\r\n" * 110,
        "250 " * 299 + "421/4.7.0",
        [BDAT, MessageChunk(b"x" * 200), CLOSING, JUNK],
    ),
    Dialogue(
        "the first of them is one too many",
        AT_RCPT,
        b"NOOP\r\n" * 99 + b"BDAT 0\r\n",
        "250 " * 99 + "421",
        [CLOSING, JUNK],
    ),
    Dialogue(
        "an empty end is no junk",
        AT_RCPT,
        b"NOOP\r\n" * 99 + b"BDAT 0 LAST\r\n",
        "250 " * 100,
        [BDAT, MessageEnd(0)],
    ),
    Dialogue(
        "a message that is delivered: junk counts anew",
        AT_READY,
        b"NOOP\r\n" * 99 + MESSAGE + b"NOOP\r\n" * 100,
        "250 " * 99 + "250 250 354 250 " + "250 " * 99 + "421",
        [*MESSAGE_EVENTS, JUNK],
    ),
    Dialogue(
        "QUIT is no junk",
        AT_READY,
        b"NOOP\r\n" * 99 + b"QUIT\r\n",
        "250 " * 99 + "221",
        [ConnectionClosed(CloseReason.QUIT)],
    ),
    Dialogue(
        "the third message of a connection that may bring two",
        AT_READY,
        MESSAGE + RSET_ONE + MESSAGE,
        "250 250 354 250 250 250 421/4.7.0",
        [*MESSAGE_EVENTS, MAIL, TransactionAborted(AbortReason.RSET), ConnectionClosed(CloseReason.TRANSACTIONS)],
        config=dataclasses.replace(CONFIG, limits=Limits(transactions=2)),
    ),
    Dialogue(
        "a MAIL that is refused does not count",
        AT_READY,
        b"MAIL FROM:<a b>\r\nMAIL FROM:<ann@a.example>\r\n" + MESSAGE,
        "501 550 250 250 354 250",
        [MAIL, *MESSAGE_EVENTS],
        {MailFrom: [UNKNOWN, replies.SENDER_OK]},
        config=dataclasses.replace(CONFIG, limits=Limits(transactions=1)),
    ),
    Dialogue(
        "the application ends it with 421",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\nNOOP\r\n",
        "421/4.3.2",
        [MAIL, ConnectionClosed(CloseReason.CLOSING)],
        {MailFrom: [replies.CLOSING]},
    ),
    Dialogue(
        "and so in a transaction",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\nNOOP\r\n",
        "421/4.7.1",
        [RCPT, CLOSING, ConnectionClosed(CloseReason.CLOSING)],
        {RcptTo: [Reply(421, "go away", "4.7.1")]},
    ),
]


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dialogue)
