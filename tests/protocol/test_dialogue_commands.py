"""HELO and EHLO, commands outside of transactions (RSET, NOOP, VRFY, ...), limits of lines, input that is not SMTP."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    ANN,
    AT_GREETED,
    AT_MAIL,
    AT_RCPT,
    AT_READY,
    BOB,
    CONFIG,
    DATA,
    EHLO,
    MAIL,
    RCPT,
    Dialogue,
    Player,
    check,
)
from trio_smtp.protocol import (
    AbortReason,
    CloseReason,
    ConnectionClosed,
    Hello,
    Limits,
    MessageEnd,
    RcptParameters,
    Reply,
    State,
    TransactionAborted,
    Verify,
    replies,
)

VERIFYING = dataclasses.replace(CONFIG, verify=True)
NARROW = dataclasses.replace(CONFIG, limits=Limits(command_line=512))
HELO = Hello("HELO", "c.example")

HELLOS = [
    Dialogue("EHLO", AT_GREETED, b"EHLO c.example\r\n", "250/", [EHLO], state=State.READY),
    Dialogue("HELO", AT_GREETED, b"HELO c.example\r\n", "250/", [HELO], state=State.READY),
    Dialogue("any word will do", AT_GREETED, b"EHLO a_b!\r\n", "250", [Hello("EHLO", "a_b!")]),
    Dialogue("a literal", AT_GREETED, b"EHLO [IPv6:::1]\r\n", "250", [Hello("EHLO", "[IPv6:::1]")]),
    Dialogue("lower case", AT_GREETED, b"ehlo C.example\r\n", "250", [Hello("EHLO", "C.example")]),
    Dialogue("trailing space (RFC 5321 4.1.1)", AT_GREETED, b"EHLO c.example  \r\n", "250", [EHLO]),
    Dialogue("UTF-8", AT_GREETED, "EHLO ç.example\r\n".encode(), "250", [Hello("EHLO", "ç.example")]),
    Dialogue("no argument", AT_GREETED, b"EHLO\r\nHELO\r\nHELO \r\n", "501/ 501/ 501/", state=State.GREETED),
    Dialogue("two words", AT_GREETED, b"EHLO a b\r\n", "501/", state=State.GREETED),
    Dialogue("not UTF-8", AT_GREETED, b"EHLO \xff\r\n", "501/", state=State.GREETED),
    Dialogue("LHLO is for LMTP", AT_GREETED, b"LHLO c.example\r\n", "500", state=State.GREETED),
    Dialogue("MAIL after a failed EHLO", AT_GREETED, b"EHLO\r\nMAIL FROM:<ann@a.example>\r\n", "501 503"),
    Dialogue(
        "a failed EHLO changes nothing",
        AT_RCPT,
        b"EHLO\r\nRCPT TO:<bob@b.example>\r\n",
        "501 250",
        [RCPT],
        state=State.RCPT,
    ),
    Dialogue(
        "the application refuses",
        AT_GREETED,
        b"EHLO c.example\r\nMAIL FROM:<ann@a.example>\r\nHELO c.example\r\n",
        "550/ 503 250",
        [EHLO, HELO],
        {Hello: [Reply(550, "no", "5.7.1")]},
        state=State.READY,
    ),
    Dialogue(
        "the application refuses a second EHLO: the transaction stays",
        AT_MAIL,
        b"EHLO c.example\r\nRCPT TO:<bob@b.example>\r\n",
        "450/ 250",
        [EHLO, RCPT],
        {Hello: [None, Reply(450, "no")]},
    ),
    Dialogue(
        "EHLO in a transaction clears sender and recipients",
        AT_RCPT,
        b"EHLO c.example\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nMAIL FROM:<ann@a.example>\r\nDATA\r\n",
        "250 503 503 250 503",
        [EHLO, TransactionAborted(AbortReason.HELLO), MAIL],
        state=State.MAIL,
    ),
    Dialogue(
        "and so does HELO",
        AT_MAIL,
        b"HELO c.example\r\nRCPT TO:<bob@b.example>\r\n",
        "250 503",
        [HELO, TransactionAborted(AbortReason.HELLO)],
        state=State.READY,
    ),
    Dialogue(
        "after HELO no parameter is known (RFC 5321 3.2)",
        AT_READY,
        b"HELO c.example\r\nMAIL FROM:<ann@a.example> SIZE=1\r\nMAIL FROM:<ann@a.example>\r\n",
        "250 555/5.5.4 250",
        [HELO, MAIL],
    ),
]

SIMPLE = [
    Dialogue("NOOP", AT_READY, b"NOOP\r\nnoop \r\nNoOp a b c\r\n", "250/2.0.0 250 250"),
    Dialogue("HELP", AT_READY, b"HELP\r\nHELP MAIL\r\n", "214/2.0.0 214"),
    Dialogue("VRFY", AT_READY, b"VRFY bob\r\nVRFY <a@b>\r\nVRFY\r\n", "252/2.5.2 252 501/5.5.4"),
    Dialogue("VRFY of no UTF-8", AT_READY, b"VRFY \xff\r\n", "501"),
    Dialogue("EXPN", AT_READY, b"EXPN list\r\nEXPN\r\n", "502/5.5.1 502"),
    Dialogue("RSET", AT_READY, b"RSET\r\nRSET x\r\n", "250/2.0.0 501/5.5.4", state=State.READY),
    Dialogue("RSET before EHLO", AT_GREETED, b"RSET\r\n", "250", state=State.GREETED),
    Dialogue(
        "RSET clears sender and recipients",
        AT_RCPT,
        b"RSET\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nMAIL FROM:<ann@a.example>\r\nDATA\r\n",
        "250 503 503 250 503",
        [TransactionAborted(AbortReason.RSET), MAIL],
        state=State.MAIL,
    ),
    Dialogue("QUIT", AT_READY, b"QUIT\r\n", "221/2.0.0", [ConnectionClosed(CloseReason.QUIT)]),
    Dialogue("QUIT before EHLO", AT_GREETED, b"QUIT \r\n", "221", [ConnectionClosed(CloseReason.QUIT)]),
    Dialogue("QUIT with an argument", AT_READY, b"QUIT now\r\n", "501", state=State.READY),
    Dialogue(
        "nothing after QUIT is done",
        AT_RCPT,
        b"QUIT\r\nDATA\r\nhello\r\n.\r\nEHLO c.example\r\n",
        "221",
        [TransactionAborted(AbortReason.QUIT), ConnectionClosed(CloseReason.QUIT)],
    ),
    Dialogue("unknown", AT_READY, b"FOO\r\nETRN x\r\nSEND FROM:<a@b>\r\n\r\n", "500/5.5.1 500 500 500"),
    Dialogue("a space in front", AT_READY, b" NOOP\r\n \r\n", "500 500"),
    Dialogue("a tab is no space", AT_READY, b"NOOP\tx\r\nMAIL\tFROM:<ann@a.example>\r\n", "500 500"),
    Dialogue("8-bit verb", AT_READY, b"\xff\xfe\r\nNOOP\xa0\r\n", "500 500"),
    Dialogue("a long s is no S", AT_READY, "\u017fTARTTLS\r\nR\u017fET\r\n".encode(), "500 500"),
    Dialogue(
        "nothing between RCPT and DATA touches the envelope",
        AT_RCPT,
        b"VRFY <x@y> z\r\nVRFY\r\nEXPN a\r\nHELP ;\r\nNOOP `x`\r\nNOOP \0\r\nVRFY \x1b[0m\r\nFOO\r\nRSET x\r\n"
        b"DATA\r\n.\r\n",
        "252 501 502 214 250 501 501 500 501 354 250",
        [DATA, MessageEnd(0)],
    ),
    Dialogue("VRFY for the application", AT_READY, b"VRFY bob\r\n", "252", [Verify("bob")], config=VERIFYING),
    Dialogue(
        "VRFY with a reply of its own",
        AT_READY,
        b"VRFY bob\r\nVRFY eve\r\nVRFY\r\n",
        "250/2.1.5 550/5.1.1 501",
        [Verify("bob"), Verify("eve")],
        {Verify: [Reply(250, "Bob <bob@b.example>", "2.1.5"), replies.MAILBOX_UNKNOWN]},
        config=VERIFYING,
    ),
    Dialogue("VRFY in UTF-8", AT_RCPT, "VRFY bób\r\n".encode(), "252", [Verify("bób")], config=VERIFYING),
]

LINES = [
    Dialogue("a bare LF", AT_READY, b"NOOP\nNOOP\r\nNOOP\r\n", "500/5.5.2 250"),
    Dialogue("a bare CR", AT_READY, b"NOOP\rNOOP\r\nNOOP\r\r\n\rNOOP\r\n", "500/5.5.2 500 500"),
    Dialogue("nothing but a bare LF or CR", AT_READY, b"\n\r\n\r\r\n", "500/5.5.2 500/5.5.2"),
    Dialogue(
        "nothing hides behind a newline",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\nRCPT TO:<bob@b.example>\r\n",
        "500",
        state=State.READY,
    ),
    Dialogue(
        "LF ends no line, and nobody waits for an answer", AT_READY, b"NOOP\nQUIT\n", "500/5.5.2", state=State.READY
    ),
    Dialogue(
        "nor does it in a line that is too long",
        AT_READY,
        b"x" * 3000 + b"\nQUIT\n\r\nNOOP\nNOOP " + b"x" * 3000 + b"\n\r\nNOOP\r\n",
        "500/5.5.2 500/5.5.2 250",
    ),
    Dialogue("a line at the limit", AT_READY, b"NOOP %s\r\n" % (b"x" * 2041), "250"),
    Dialogue("one octet over it", AT_READY, b"NOOP %s\r\nNOOP\r\n" % (b"x" * 2042), "500/5.5.2 250"),
    Dialogue(
        "a limit of one's own",
        AT_READY,
        b"NOOP %s\r\nNOOP %s\r\n" % (b"x" * 505, b"x" * 506),
        "250 500",
        config=NARROW,
    ),
    Dialogue("3,000 octets", AT_READY, b"NOOP %s\r\nNOOP\r\n" % (b"x" * 3000), "500/5.5.2 250"),
    Dialogue(
        "nothing in a line that is too long is a command",
        AT_READY,
        b"x" * 3000 + b"\nQUIT\n\rQUIT\r\r\n",
        "500",
        state=State.READY,
    ),
    Dialogue("nor is the rest of one", AT_READY, b"x" * 2046 + b"QUIT\r\nNOOP\r\n", "500 250"),
]

# RFC 5321 §2.4: no control characters in an argument. CR and LF are left out here, for they end the line.
CONTROLS = [
    Dialogue(f"{octet:#04x} in {command!r}", opening, command % bytes([octet]) + b"\r\n", code, state=opening.state)
    for octet in (*range(0x20), 0x7F)
    if octet not in b"\r\n"
    for opening, command, code in [
        (AT_GREETED, b"EHLO c%b", "501"),
        (AT_READY, b"MAIL FROM:<ann@a.example>%b", "501"),
        (AT_READY, b"MAIL FROM:<ann%b@a.example>", "501"),
        (AT_READY, b"MAIL FROM:<ann@a.example> BODY=%b7BIT", "501"),
        (AT_READY, b"MAIL FROM:<ann@a.example> SMTPUTF8%b", "501"),
        (AT_MAIL, b"RCPT TO:<bob@b%b.example>", "501"),
        (AT_MAIL, b"RCPT TO:%b<bob@b.example>", "501"),
        (AT_READY, b"NOOP %b", "501"),
        (AT_READY, b"HELP %b", "501"),
        (AT_READY, b"VRFY a%b", "501"),
        (AT_READY, b"EXPN %b", "502"),
        (AT_RCPT, b"RSET %b", "501"),
        (AT_RCPT, b"DATA %b", "501"),
        (AT_READY, b"QUIT %b", "501"),
        (AT_READY, b"STARTTLS %b", "501"),
    ]
]

NOT_SMTP = [
    *(
        Dialogue(f"{line[:40]!r}", AT_GREETED, line, "421/4.7.0", [ConnectionClosed(CloseReason.NOT_SMTP)])
        for line in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n",
            b"POST /x HTTP/1.1\r\nEHLO c.example\r\n",
            b"CONNECT mx.example:25 HTTP/1.1\r\n",
            b"OPTIONS * HTTP/1.1\r\n",
            b"get /\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0",
            b"\x16\x03\x01\x02\0\r\n\x01",
            b"\x16\x03\n\x01\r\n",
            b"\x16 foo\r\n",
            b"\x16" * 3000 + b"\r\nNOOP\r\n",
        )
    ),
    Dialogue(
        "in a transaction",
        AT_RCPT,
        b"GET / HTTP/1.1\r\n",
        "421",
        [TransactionAborted(AbortReason.CLOSING), ConnectionClosed(CloseReason.NOT_SMTP)],
    ),
    Dialogue("HTTP inside a line is none", AT_READY, b"NOOP GET /\r\n GET /\r\nGETX\r\n", "250 500 500"),
    Dialogue("nor is 0x16 in a line that is too long", AT_READY, b"x" * 2500 + b"\x16" * 2500 + b"\r\n", "500"),
]


@pytest.mark.parametrize("dialogue", [*HELLOS, *SIMPLE, *LINES, *NOT_SMTP], ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("dialogue", CONTROLS, ids=str)
def test_control_characters(dialogue: Dialogue) -> None:
    check(dialogue)


def test_ehlo_reply() -> None:
    player = Player.start()
    player.feed(b"EHLO c.example\r\n")
    assert player.sent == (
        b"220 mx.example ESMTP trio-smtp\r\n"
        b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 33554432\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-LIMITS RCPTMAX=1000\r\n"
        b"250-STARTTLS\r\n250 HELP\r\n"
    )


def test_hello_with_a_text_of_ones_own() -> None:
    player = Player.at(AT_GREETED, verdicts={Hello: [Reply(250, "hello, c.example"), Reply(250, "hello again")]})
    player.feed(b"HELO c.example\r\nEHLO c.example\r\n")
    lines = player.sent.splitlines()
    assert lines[:2] == [b"250 mx.example hello, c.example", b"250-mx.example hello again"]
    assert lines[-1] == b"250 HELP"


def test_what_the_connection_remembers() -> None:
    player = Player.start()
    connection = player.connection
    assert (connection.hello, connection.envelope) == (None, None)
    player.feed(AT_RCPT.wire)
    assert connection.hello == EHLO
    assert connection.envelope is not None
    assert (connection.envelope.sender, connection.envelope.recipients) == (ANN, [BOB])
    assert connection.envelope.recipient_params == [RcptParameters()]
    player.feed(b"HELO d.example\r\n")
    assert connection.hello == Hello("HELO", "d.example")
    assert connection.envelope is None


@pytest.mark.parametrize("piece", [b"x" * 65536, b"NOOP\n" * 13107, b"\r" * 65536, b"\rx" * 32768])
def test_a_line_without_end_is_not_kept(piece: bytes) -> None:
    player = Player.at(AT_READY)
    for _ in range(64 * 1024 * 1024 // len(piece)):
        player.feed(piece)  # asserts how many octets are held
    at_once = replies.BARE_NEWLINE_IN_COMMAND.wire if b"\n" in piece else b""
    assert player.sent == at_once
    player.feed(b"\r\nNOOP\r\n")
    assert player.sent == (at_once or replies.LINE_TOO_LONG.wire) + replies.OK.wire
