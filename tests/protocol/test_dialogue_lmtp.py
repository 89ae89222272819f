"""LMTP: LHLO, and one reply per recipient. RFC 2033."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    AT_GREETED,
    CONFIG,
    DATA,
    LMTP,
    LMTP_DATA,
    LMTP_MAIL,
    LMTP_RCPT,
    LMTP_READY,
    MAIL,
    RCPT,
    RCPT_CAT,
    Dialogue,
    Player,
    check,
    codes,
)
from trio_smtp.protocol import (
    AbortReason,
    CloseReason,
    Config,
    ConnectionClosed,
    Hello,
    Limits,
    LocalProtocolError,
    MessageChunk,
    MessageEnd,
    MessageStart,
    RcptTo,
    Reply,
    State,
    TransactionAborted,
    replies,
)

GOOD = replies.MESSAGE_ACCEPTED
FULL = replies.MAILBOX_FULL
GONE = replies.MAILBOX_UNKNOWN
SMALL = dataclasses.replace(LMTP, limits=Limits(message_size=20))
START_BDAT = MessageStart(chunking=True, declared_size=None)
HELLO_CHUNK = MessageChunk(b"hello\r\n")

DIALOGUES = [
    Dialogue("LHLO", AT_GREETED, b"LHLO c.example\r\n", "250/", [Hello("LHLO", "c.example")], state=State.READY),
    Dialogue("lhlo", AT_GREETED, b"lhlo c.example\r\n", "250/", [Hello("LHLO", "c.example")]),
    Dialogue("no argument", AT_GREETED, b"LHLO\r\n", "501/"),
    Dialogue("HELO and EHLO are SMTP's", AT_GREETED, b"HELO c.example\r\nEHLO c.example\r\n", "500 500"),
    Dialogue("MAIL first", AT_GREETED, b"MAIL FROM:<ann@a.example>\r\n", "503/5.5.1"),
    Dialogue("HELP", LMTP_READY, b"HELP\r\n", "214/2.0.0"),
    Dialogue(
        "LHLO in a transaction",
        LMTP_RCPT,
        b"LHLO c.example\r\nDATA\r\n",
        "250 503",
        [Hello("LHLO", "c.example"), TransactionAborted(AbortReason.HELLO)],
    ),
    Dialogue(
        "all accepted",
        LMTP_DATA,
        b"hello\r\n.\r\nQUIT\r\n",
        "250/2.6.0 250/2.6.0 221",
        [HELLO_CHUNK, MessageEnd(7), ConnectionClosed(CloseReason.QUIT)],
    ),
    Dialogue(
        "one reply each, in order",
        LMTP_DATA,
        b"hello\r\n.\r\nNOOP\r\n",
        "250/2.6.0 452/4.2.2 250/2.0.0",
        [HELLO_CHUNK, MessageEnd(7)],
        {MessageEnd: [[GOOD, FULL]]},
        state=State.READY,
    ),
    Dialogue(
        "only for those who were accepted",
        LMTP_MAIL,
        b"RCPT TO:<bob@b.example>\r\n" * 4 + b"DATA\r\n.\r\n",
        "250 550 250 450 354 250 550/5.1.1",
        [RCPT, RCPT, RCPT, RCPT, DATA, MessageEnd(0)],
        {RcptTo: [None, GONE, None, replies.MAILBOX_BUSY], MessageEnd: [[GOOD, GONE]]},
    ),
    Dialogue(
        "the same recipient twice: two replies",
        LMTP_MAIL,
        b"RCPT TO:<bob@b.example>\r\n" * 2 + b"DATA\r\n.\r\n",
        "250 250 354 250 250",
        [RCPT, RCPT, DATA, MessageEnd(0)],
    ),
    Dialogue(
        "the next transaction counts anew",
        LMTP_DATA,
        b".\r\nMAIL FROM:<ann@a.example>\r\nRCPT TO:<cat@b.example>\r\nDATA\r\n.\r\n",
        "250 250 250 250 354 250",
        [MessageEnd(0), MAIL, RCPT_CAT, DATA, MessageEnd(0)],
    ),
    Dialogue(
        "nobody accepted: DATA is refused (RFC 2033 4.2)",
        LMTP_MAIL,
        b"RCPT TO:<bob@b.example>\r\nDATA\r\n",
        "550 503/5.5.1",
        [RCPT],
        {RcptTo: [GONE]},
    ),
    Dialogue(
        "DATA refused by the application: one reply",
        LMTP_RCPT,
        b"DATA\r\nNOOP\r\n",
        "451 250",
        [DATA],
        {MessageStart: [replies.LOCAL_ERROR]},
    ),
    Dialogue(
        "too big: one reply each",
        LMTP_DATA,
        b"x" * 30 + b"\r\n.\r\nNOOP\r\n",
        "552/5.3.4 552/5.3.4 250",
        [MessageChunk(b"x" * 20), TransactionAborted(AbortReason.SIZE)],
        config=SMALL,
    ),
    Dialogue(
        "a bare LF: one reply each",
        LMTP_DATA,
        b"x\ny\r\n.\r\n",
        "550/5.6.0 550/5.6.0",
        [MessageChunk(b"x"), TransactionAborted(AbortReason.BARE_NEWLINE)],
    ),
    Dialogue(
        "BDAT: one reply for each chunk, one each for the last",
        LMTP_RCPT,
        b"BDAT 3\r\nabcBDAT 3 LAST\r\ndefNOOP\r\n",
        "250/2.0.0 250/2.6.0 550/5.1.1 250/2.0.0",
        [START_BDAT, MessageChunk(b"abcdef"), MessageEnd(6)],
        {MessageEnd: [[GOOD, GONE]]},
    ),
    Dialogue(
        "BDAT refused before the last",
        LMTP_RCPT,
        b"BDAT 3\r\nabcBDAT 3 LAST\r\ndefRSET\r\n",
        "452 503 250",
        [START_BDAT],
        {MessageStart: [FULL]},
        state=State.READY,
    ),
    Dialogue(
        "BDAT, the only one, refused",
        LMTP_RCPT,
        b"BDAT 3 LAST\r\nabcNOOP\r\n",
        "452 452 250",
        [START_BDAT],
        {MessageStart: [FULL]},
        state=State.READY,
    ),
    Dialogue(
        "a 421 among the replies ends it after the last",
        LMTP_DATA,
        b".\r\nNOOP\r\n",
        "421/4.3.2 250/2.6.0",
        [MessageEnd(0), ConnectionClosed(CloseReason.CLOSING)],
        {MessageEnd: [[replies.CLOSING, GOOD]]},
    ),
    Dialogue(
        "refused for everybody is one error",
        LMTP_DATA,
        b".\r\nFOO\r\nFOO\r\n",
        "550 550 500 421",
        [MessageEnd(0), ConnectionClosed(CloseReason.ERRORS)],
        {MessageEnd: [[GONE, GONE]]},
        config=dataclasses.replace(LMTP, limits=Limits(errors=3)),
    ),
    Dialogue(
        "delivered to one is no error",
        LMTP_DATA,
        b"x\r\n.\r\nFOO\r\nFOO\r\nFOO\r\n",
        "550 250 500 500 421",
        [MessageChunk(b"x\r\n"), MessageEnd(3), ConnectionClosed(CloseReason.ERRORS)],
        {MessageEnd: [[GONE, GOOD]]},
        config=dataclasses.replace(LMTP, limits=Limits(errors=3)),
    ),
]


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dataclasses.replace(dialogue, config=LMTP) if not dialogue.config.lmtp else dialogue)


def at_end() -> Player:
    """Return the player of a connection that waits for the verdicts on a message for two recipients."""
    player = Player.at(LMTP_DATA, LMTP)
    player.connection.receive_data(b".\r\n")
    assert player.connection.next_event() == MessageEnd(0)
    return player


def test_greeting() -> None:
    player = Player.start(LMTP)
    player.feed(b"LHLO c.example\r\n")
    assert player.sent.startswith(b"220 mx.example LMTP trio-smtp\r\n250-mx.example\r\n250-PIPELINING\r\n")


@pytest.mark.parametrize(
    ("config", "verb", "reply"),
    [
        (LMTP, b"helo", replies.THIS_IS_LMTP),
        (LMTP, b"EHLO", replies.THIS_IS_LMTP),
        (CONFIG, b"LHLO", replies.THIS_IS_SMTP),
    ],
)
def test_the_greeting_of_the_other_protocol(config: Config, verb: bytes, reply: Reply) -> None:
    player = Player.start(config)
    player.feed(verb + b" c.example\r\n")
    assert player.sent.endswith(b"trio-smtp\r\n" + reply.wire)
    assert player.events == []


def test_verdicts_one_by_one() -> None:
    player = at_end()
    connection = player.connection
    connection.reject(FULL)
    assert connection.waiting == MessageEnd(0)
    assert connection.data_to_send() == b""
    connection.accept(Reply(250, "yes", "2.1.5"))
    player.run()
    assert codes(player.sent) == ["452/4.2.2", "250/2.1.5"]
    assert connection.state is State.READY


def test_the_rest_at_once() -> None:
    player = at_end()
    player.connection.accept()
    with pytest.raises(LocalProtocolError):
        player.connection.accept_each([GOOD, GOOD])
    player.connection.accept_each([GONE])
    player.run()
    assert codes(player.sent) == ["250/2.6.0", "550/5.1.1"]


@pytest.mark.parametrize("verdicts", [[], [GOOD], [GOOD] * 3, [GOOD, replies.START_INPUT]])
def test_verdicts_that_do_not_fit(verdicts: list[Reply]) -> None:
    player = at_end()
    with pytest.raises(LocalProtocolError):
        player.connection.accept_each(verdicts)
    player.connection.accept_each([GOOD, FULL])
    player.run()
    assert codes(player.sent) == ["250/2.6.0", "452/4.2.2"]


def test_closing_between_two_verdicts() -> None:
    player = at_end()
    player.connection.accept()
    player.connection.close()
    player.run()
    assert player.events == [TransactionAborted(AbortReason.CLOSING), ConnectionClosed(CloseReason.CLOSING)]
    assert codes(player.sent) == ["421/4.3.2"]
