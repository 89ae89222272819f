"""BDAT: chunks, refusals at every place, sequence, sizes. RFC 3030."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    ANN,
    AT_BDAT,
    AT_DATA,
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
    Player,
    Verdicts,
    check,
    codes,
    cuts,
)
from trio_smtp.protocol import (
    AbortReason,
    CloseReason,
    ConnectionClosed,
    Hello,
    Limits,
    MailFrom,
    MailParameters,
    MessageChunk,
    MessageEnd,
    MessageStart,
    State,
    TransactionAborted,
    Verify,
    replies,
)

SMALL = dataclasses.replace(CONFIG, limits=Limits(message_size=20))
VERIFYING = dataclasses.replace(CONFIG, verify=True)
FULL = replies.MAILBOX_OVER_QUOTA
REFUSE_START: Verdicts = {MessageStart: [FULL]}
REFUSE_END: Verdicts = {MessageEnd: [FULL]}

NEW_MAIL = b"MAIL FROM:<ann@a.example>\r\n"
RSET = TransactionAborted(AbortReason.RSET)
TOO_BIG = TransactionAborted(AbortReason.SIZE)
CLOSING = TransactionAborted(AbortReason.CLOSING)

MESSAGES = [
    Dialogue(
        "one chunk",
        AT_RCPT,
        b"BDAT 5 LAST\r\nhello" + NEW_MAIL,
        "250/2.6.0 250/2.1.0",
        [BDAT, MessageChunk(b"hello"), MessageEnd(5), MAIL],
        state=State.MAIL,
    ),
    Dialogue(
        "three chunks",
        AT_RCPT,
        b"BDAT 3\r\nhelBDAT 2\r\nloBDAT 1 LAST\r\n!NOOP\r\n",
        "250/2.0.0 250/2.0.0 250/2.6.0 250",
        [BDAT, MessageChunk(b"hello!"), MessageEnd(6)],
        state=State.READY,
    ),
    Dialogue("case and spaces", AT_RCPT, b"bdat 1  last \r\nx", "250/2.6.0", [BDAT, MessageChunk(b"x"), MessageEnd(1)]),
    Dialogue(
        "0 LAST at the end",
        AT_RCPT,
        b"BDAT 5\r\nhelloBDAT 0 LAST\r\nNOOP\r\n",
        "250 250/2.6.0 250",
        [BDAT, MessageChunk(b"hello"), MessageEnd(5)],
    ),
    Dialogue("0 LAST alone", AT_RCPT, b"BDAT 0 LAST\r\nNOOP\r\n", "250/2.6.0 250", [BDAT, MessageEnd(0)]),
    Dialogue(
        "0 first, and again",
        AT_RCPT,
        b"BDAT 0\r\nBDAT 0\r\nBDAT 00002 LAST\r\nhi",
        "250/2.0.0 250/2.0.0 250/2.6.0",
        [BDAT, MessageChunk(b"hi"), MessageEnd(2)],
    ),
    Dialogue(
        "anything may be in a chunk, dots and bare newlines too",
        AT_RCPT,
        b"BDAT 15 LAST\r\n\r\n.\r\n.\n\r..\0\xff\r\n\rNOOP\r\n",
        "250 250",
        [BDAT, MessageChunk(b"\r\n.\r\n.\n\r..\0\xff\r\n\r"), MessageEnd(15)],
    ),
    Dialogue(
        "commands in a chunk are data",
        AT_RCPT,
        b"BDAT 10\r\nSTARTTLS\r\nBDAT 12 LAST\r\nAUTH PLAIN\r\nNOOP\r\n",
        "250 250 250",
        [BDAT, MessageChunk(b"STARTTLS\r\nAUTH PLAIN\r\n"), MessageEnd(22)],
    ),
    Dialogue(
        "BINARYMIME",
        AT_READY,
        b"MAIL FROM:<ann@a.example> BODY=BINARYMIME SIZE=3\r\nRCPT TO:<bob@b.example>\r\nBDAT 3 LAST\r\n\r\0\n",
        "250 250 250",
        [
            MailFrom(ANN, MailParameters(body="BINARYMIME", size=3)),
            RCPT,
            MessageStart(chunking=True, declared_size=3),
            MessageChunk(b"\r\0\n"),
            MessageEnd(3),
        ],
    ),
    Dialogue(
        "DATA in the next transaction",
        AT_RCPT,
        b"BDAT 2 LAST\r\nhi" + NEW_MAIL + b"RCPT TO:<bob@b.example>\r\nDATA\r\n.\r\n",
        "250 250 250 354 250",
        [BDAT, MessageChunk(b"hi"), MessageEnd(2), MAIL, RCPT, DATA, MessageEnd(0)],
    ),
]

BETWEEN = [
    Dialogue(
        "what changes nothing",
        AT_BDAT,
        b"NOOP\r\nVRFY bob\r\nHELP\r\nEXPN x\r\nFOO\r\nEHLO\r\nRSET x\r\nBDAT 2 LAST\r\nde",
        "250 252 214 502 500 501 501 250/2.6.0",
        [MessageChunk(b"de"), MessageEnd(5)],
    ),
    Dialogue(
        "what comes out of sequence",
        AT_BDAT,
        b"DATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nAUTH PLAIN\r\nSTARTTLS\r\nBDAT 0 LAST\r\n",
        "503/5.5.1 503 503 503 503 250",
        [MessageEnd(3)],
    ),
    Dialogue("RSET", AT_BDAT, b"RSET\r\nBDAT 1\r\nx" + NEW_MAIL, "250 503 250", [RSET, MAIL], state=State.MAIL),
    Dialogue(
        "EHLO",
        AT_BDAT,
        b"EHLO c.example\r\nBDAT 1\r\nx" + NEW_MAIL,
        "250 503 250",
        [EHLO, TransactionAborted(AbortReason.HELLO), MAIL],
        state=State.MAIL,
    ),
    Dialogue(
        "VRFY for the application",
        AT_BDAT,
        b"VRFY bob\r\nBDAT 0 LAST\r\n",
        "550 250",
        [Verify("bob"), MessageEnd(3)],
        {Verify: [replies.MAILBOX_UNKNOWN]},
        config=VERIFYING,
    ),
    Dialogue(
        "QUIT", AT_BDAT, b"QUIT\r\n", "221", [TransactionAborted(AbortReason.QUIT), ConnectionClosed(CloseReason.QUIT)]
    ),
    Dialogue("gone in a chunk", AT_BDAT, b"BDAT 9 LAST\r\nabc", "", [MessageChunk(b"abc")], state=State.BDAT),
]

# Refusals at each place. The octets of the refused chunk are discarded first, even if they look like commands.
REFUSALS = [
    Dialogue(
        "the first of several",
        AT_RCPT,
        b"BDAT 6\r\nQUIT\r\nBDAT 2\r\nhiBDAT 0 LAST\r\nRSET\r\n" + NEW_MAIL,
        "552/5.2.2 503 503 250 250",
        [BDAT, MAIL],
        REFUSE_START,
        state=State.MAIL,
    ),
    Dialogue("the first, empty", AT_RCPT, b"BDAT 0\r\n", "552", [BDAT], REFUSE_START, state=State.FAILED),
    Dialogue(
        "the only one: a full reset",
        AT_RCPT,
        b"BDAT 6 LAST\r\nQUIT\r\n" + NEW_MAIL,
        "552 250",
        [BDAT, MAIL],
        REFUSE_START,
        state=State.MAIL,
    ),
    Dialogue("the only one, empty", AT_RCPT, b"BDAT 0 LAST\r\n", "552", [BDAT], REFUSE_START, state=State.READY),
    Dialogue(
        "the first, with 421: the chunk goes first",
        AT_RCPT,
        b"BDAT 6\r\nQUIT\r\nNOOP\r\n",
        "421/4.3.2",
        [BDAT, ConnectionClosed(CloseReason.CLOSING)],
        {MessageStart: [replies.CLOSING]},
    ),
    Dialogue(
        "at the end: a full reset",
        AT_BDAT,
        b"BDAT 3 LAST\r\ndefBDAT 1\r\nxRCPT TO:<bob@b.example>\r\n" + NEW_MAIL,
        "552 503 503 250",
        [MessageChunk(b"def"), MessageEnd(6), MAIL],
        REFUSE_END,
        state=State.MAIL,
    ),
    Dialogue(
        "at an empty end",
        AT_BDAT,
        b"BDAT 0 LAST\r\nDATA\r\n" + NEW_MAIL,
        "552 503 250",
        [MessageEnd(3), MAIL],
        REFUSE_END,
        state=State.MAIL,
    ),
]

SIZES = [
    Dialogue(
        "at the limit",
        AT_RCPT,
        b"BDAT 10\r\n0123456789BDAT 10 LAST\r\n0123456789",
        "250 250",
        [BDAT, MessageChunk(b"0123456789" * 2), MessageEnd(20)],
        config=SMALL,
    ),
    Dialogue(
        "what came before does not count",
        AT_DATA,
        b"x" * 18 + b"\r\n.\r\n" + AT_RCPT.wire.removeprefix(AT_READY.wire) + b"BDAT 20 LAST\r\n" + b"x" * 20,
        "250 250 250 250",
        [MessageChunk(b"x" * 18 + b"\r\n"), MessageEnd(20), MAIL, RCPT, BDAT, MessageChunk(b"x" * 20), MessageEnd(20)],
        config=SMALL,
    ),
    Dialogue(
        "the first chunk over it",
        AT_RCPT,
        b"BDAT 21\r\n" + b"QUIT\r\n" * 3 + b"xxxBDAT 1 LAST\r\nxRSET\r\n" + NEW_MAIL,
        "552/5.3.4 503 250 250",
        [TOO_BIG, MAIL],
        config=SMALL,
        state=State.MAIL,
    ),
    Dialogue(
        "the only chunk over it",
        AT_RCPT,
        b"BDAT 21 LAST\r\n" + b"x" * 21 + NEW_MAIL,
        "552/5.3.4 250",
        [TOO_BIG, MAIL],
        config=SMALL,
        state=State.MAIL,
    ),
    Dialogue(
        "a later chunk over it",
        AT_BDAT,
        b"BDAT 17\r\n" + b"x" * 17 + b"BDAT 1\r\nxBDAT 0 LAST\r\nRSET\r\n" + NEW_MAIL,
        "250 552 503 250 250",
        [MessageChunk(b"x" * 17), TOO_BIG, MAIL],
        config=SMALL,
    ),
    Dialogue(
        "the last chunk over it",
        AT_BDAT,
        b"BDAT 18 LAST\r\n" + b"x" * 18 + NEW_MAIL,
        "552 250",
        [TOO_BIG, MAIL],
        config=SMALL,
    ),
    Dialogue(
        "ten times the limit is read to its end",
        AT_RCPT,
        b"BDAT 200 LAST\r\n" + b"x" * 200 + b"NOOP\r\n",
        "552 250",
        [TOO_BIG],
        config=SMALL,
    ),
    Dialogue(
        "more closes the connection at once",
        AT_RCPT,
        b"BDAT 201 LAST\r\n",
        "552/5.3.4",
        [CLOSING, ConnectionClosed(CloseReason.OVERSIZE)],
        config=SMALL,
    ),
    Dialogue(
        "more in several chunks as well",
        AT_BDAT,
        b"BDAT 200 LAST\r\n" + b"x" * 200 + b"NOOP\r\n",
        "552",
        [TOO_BIG, ConnectionClosed(CloseReason.OVERSIZE)],
        config=SMALL,
    ),
    Dialogue(
        "out of sequence too", AT_READY, b"BDAT 201\r\n", "552", [ConnectionClosed(CloseReason.OVERSIZE)], config=SMALL
    ),
    Dialogue(
        "20 digits",
        AT_RCPT,
        b"BDAT 99999999999999999999\r\n",
        "552",
        [CLOSING, ConnectionClosed(CloseReason.OVERSIZE)],
    ),
    *(
        Dialogue(
            f"BDAT {argument}: where the next command begins is not known",
            opening,
            f"BDAT {argument}\r\nNOOP\r\n".encode(),
            "501/5.5.4",
            [
                *([] if opening.state in (State.GREETED, State.READY) else [CLOSING]),
                ConnectionClosed(CloseReason.FRAMING),
            ],
        )
        for argument, opening in [
            ("", AT_RCPT),
            ("-1", AT_RCPT),
            ("+1", AT_RCPT),
            ("1_0", AT_BDAT),
            ("1 FOO", AT_BDAT),
            ("1 LAST LAST", AT_RCPT),
            ("1LAST", AT_RCPT),
            ("LAST", AT_RCPT),
            ("0x1", AT_MAIL),
            ("\u0661", AT_MAIL),
            ("9" * 21, AT_READY),
            ("1\0", AT_GREETED),
        ]
    ),
]

SEQUENCE = [
    Dialogue(
        f"in {opening.state.name}",
        opening,
        b"BDAT 12 LAST\r\nQUIT\r\nQUIT\r\nBDAT 0\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n",
        "503/5.5.1 503 503 250",
        state=opening.state,
    )
    for opening in (AT_GREETED, AT_READY, AT_MAIL)
] + [
    Dialogue(
        f"in {opening.state.name}, not offered",
        opening,
        b"BDAT 4\r\nRSETNOOP\r\nBDAT 4 LAST\r\nRSETNOOP\r\n",
        "502/5.5.1 250 502 250",
        state=opening.state,
        config=dataclasses.replace(CONFIG, without=["CHUNKING"]),
    )
    for opening in (AT_GREETED, AT_READY, AT_MAIL, AT_RCPT)
]


@pytest.mark.parametrize("dialogue", [*MESSAGES, *BETWEEN, *SIZES, *SEQUENCE], ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("dialogue", REFUSALS, ids=str)
def test_refusal(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize(
    ("wire", "expected", "state"),
    [
        (b"BDAT 6\r\nQUIT\r\nBDAT 1 LAST\r\nx", ["552/5.2.2", "503/5.5.1"], State.FAILED),
        (b"BDAT 0\r\n", ["552/5.2.2"], State.FAILED),
        (b"BDAT 6 LAST\r\nQUIT\r\n", ["552/5.2.2"], State.READY),
        (b"BDAT 0 LAST\r\n", ["552/5.2.2"], State.READY),
        (b"NOOP\r\nVRFY x\r\nBDAT 0 LAST\r\n", ["250/2.0.0", "252/2.5.2", "552/5.2.2"], State.READY),
        (b"DATA\r\nBDAT 0 LAST\r\n", ["503/5.5.1", "552/5.2.2"], State.READY),
        (b"BDAT 50000000\r\n", [], State.BDAT),  # over the limit, but refused before that
        (b"RSET\r\nMAIL FROM:<ann@a.example>\r\n", ["250/2.0.0", "250/2.1.0"], State.MAIL),
        (b"HELO c.example\r\nMAIL FROM:<ann@a.example>\r\n", ["250/", "250/2.1.0"], State.MAIL),
    ],
)
def test_refused_between_chunks(wire: bytes, expected: list[str], state: State) -> None:
    for pieces in cuts(wire, "between"):
        player = Player.at(AT_BDAT)
        player.connection.reject(FULL)
        assert player.connection.envelope is None
        player.play([pieces])
        assert (codes(player.sent), player.connection.state) == (expected, state)
        # No `TransactionAborted`: the application has ended the transaction itself by its refusal.
        assert all(type(event) in (Hello, MailFrom) for event in player.events)


@pytest.mark.parametrize("line", [b"RSET\r\n", b"EHLO c.example\r\n"])
def test_a_refusal_between_chunks_ends_with_its_transaction(line: bytes) -> None:
    player = Player.at(AT_BDAT)
    player.connection.reject(FULL)
    player.feed(line + AT_BDAT.wire.removeprefix(AT_READY.wire) + b"BDAT 0 LAST\r\n")
    assert codes(player.sent)[-2:] == ["250/2.0.0", "250/2.6.0"]


@pytest.mark.parametrize(("command", "state"), [(b"BDAT 11 LAST\r\n", State.READY), (b"BDAT 11\r\n", State.FAILED)])
def test_refused_in_a_chunk(command: bytes, state: State) -> None:
    for pieces in cuts(command + b"hello\r\n.\r\n!NOOP\r\n", "in"):
        player = Player.at(AT_RCPT, verdicts={MessageChunk: [FULL]})
        player.play([pieces])
        assert codes(player.sent) == ["552/5.2.2", "250/2.0.0"]
        assert player.connection.state is state
        assert [type(event) for event in player.events] == [MessageStart, MessageChunk]


def test_what_is_held_does_not_grow_with_the_chunks() -> None:
    player = Player.at(AT_BDAT)
    for _ in range(200):
        player.feed(b"BDAT 1\r\nx" * 100)  # asserts how many octets are held
    player.feed(b"BDAT 1 LAST\r\nx")
    assert player.events[-2:] == [MessageChunk(b"x" * 20_001), MessageEnd(20_004)]
    assert codes(player.sent).count("250/2.0.0") == 20_000


def test_what_comes_after_the_end_of_input_is_ignored() -> None:
    player = Player.at(AT_BDAT)
    player.connection.receive_data(b"BDAT 10 LAST\r\nabc")
    player.connection.receive_data(b"")
    player.connection.receive_data(b"defghijQUIT\r\n")
    player.run()
    player.feed(b"NOOP\r\n")
    assert player.events[-3:] == [
        MessageChunk(b"abc"),
        TransactionAborted(AbortReason.EOF),
        ConnectionClosed(CloseReason.EOF),
    ]
    assert player.sent == b""
