"""DATA: the message, its end, its faults, its size. RFC 5321 §4.1.1.4, §4.5.2."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    ANN,
    AT_DATA,
    AT_GREETED,
    AT_MAIL,
    AT_RCPT,
    AT_READY,
    CONFIG,
    DATA,
    MAIL,
    RCPT,
    Dialogue,
    Player,
    check,
    codes,
    cuts,
)
from trio_smtp.protocol import (
    AbortReason,
    CloseReason,
    Config,
    ConnectionClosed,
    Event,
    Limits,
    MailFrom,
    MailParameters,
    MessageChunk,
    MessageEnd,
    MessageStart,
    RcptTo,
    Reply,
    State,
    TransactionAborted,
    replies,
)

KEEP = dataclasses.replace(CONFIG, bare_newline="keep")
SMALL = dataclasses.replace(CONFIG, limits=Limits(message_size=20))
SMALL_KEEP = dataclasses.replace(SMALL, bare_newline="keep")
FULL = replies.MAILBOX_OVER_QUOTA
LATER = replies.LOCAL_ERROR

EVIL = b"MAIL FROM:<evil@e.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nsmuggled\r\n.\r\n"
BARE = TransactionAborted(AbortReason.BARE_NEWLINE)
TOO_BIG = TransactionAborted(AbortReason.SIZE)


def message(content: bytes) -> list[Event]:
    """Return the events of a message that is received without a fault."""
    return [*([MessageChunk(content)] if content else []), MessageEnd(len(content))]


# Sequences that do not end the data. A transaction follows each of them, and none of its commands may be executed.
SMUGGLING = [
    ("LF . LF", b"\n.\n"),
    ("LF . CRLF", b"\n.\r\n"),
    ("CRLF . LF", b"\r\n.\n"),
    ("CRLF . CR", b"\r\n.\r"),
    ("CR . CR", b"\r.\r"),
    ("CR . CRLF", b"\r.\r\n"),
    ("CR . LF", b"\r.\n"),
    ("LF . CR", b"\n.\r"),
    ("CR CRLF . CR CRLF", b"\r\r\n.\r\r\n"),
    ("CRLF . CR CRLF", b"\r\n.\r\r\n"),
    ("CRLF NUL . CRLF", b"\r\n\0.\r\n"),
    ("LF LF . CRLF", b"\n\n.\r\n"),
]


def unstuffed(content: bytes) -> bytes:
    """Undo dot-stuffing (RFC 5321 §4.5.2), line by line."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


def first_bare(content: bytes) -> int:
    """Return the position of the first CR or LF that is not part of a CRLF; the length if there is none."""
    rest = content.replace(b"\r\n", b"..")
    return min(len(rest.partition(b"\r")[0]), len(rest.partition(b"\n")[0]))


SMUGGLED = [(name, b"hello" + end + EVIL[:-3]) for name, end in SMUGGLING]
SMUGGLED += [(f"{start!r} at the start", start + EVIL[:-3]) for start in (b".\r", b".\n", b"\n.\r", b"\n.\r\n")]

REFUSED = [
    Dialogue(
        name,
        AT_DATA,
        wire + b".\r\nNOOP\r\n",
        "550/5.6.0 250",
        [*([MessageChunk(content[:fault])] if fault else []), BARE],
        state=State.READY,
    )
    for name, wire in SMUGGLED
    for content in [unstuffed(wire)]
    for fault in [first_bare(content)]
    if fault < len(content)
]
KEPT = [
    Dialogue(
        name, AT_DATA, wire + b".\r\nNOOP\r\n", "250 250", message(unstuffed(wire)), config=KEEP, state=State.READY
    )
    for name, wire in SMUGGLED
]

# For each name, the octets that are sent before the final dot and the content that they stand for.
STUFFED = {
    "empty": (b"", b""),
    "one line": (b"hello\r\n", b"hello\r\n"),
    "an empty line": (b"\r\n", b"\r\n"),
    "..": (b"..\r\n", b".\r\n"),
    "..x": (b"..x\r\n", b".x\r\n"),
    ".x": (b".x\r\n", b"x\r\n"),
    "...": (b"a\r\n...\r\nb\r\n", b"a\r\n..\r\nb\r\n"),
    "a dot at the end of a line": (b"a.\r\n", b"a.\r\n"),
    "1,000 dots": (b"." * 1000 + b"\r\n", b"." * 999 + b"\r\n"),
    "many dot lines": (b"..\r\n" * 100, b".\r\n" * 100),
    "long lines stream": (b"x" * 5000 + b"\r\n", b"x" * 5000 + b"\r\n"),
    "8-bit and NUL": (bytes(set(range(256)) - {13, 10}) + b"\r\n", bytes(set(range(256)) - {13, 10}) + b"\r\n"),
    "commands are text": (b"STARTTLS\r\nQUIT\r\nAUTH PLAIN\r\n", b"STARTTLS\r\nQUIT\r\nAUTH PLAIN\r\n"),
}

ENDS = [
    Dialogue(
        "two messages in one transaction each",
        AT_DATA,
        b"one\r\n.\r\nMAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n",
        "250/2.6.0 250 250 354 250/2.6.0 221",
        [*message(b"one\r\n"), MAIL, RCPT, DATA, *message(b"two\r\n"), ConnectionClosed(CloseReason.QUIT)],
    ),
    Dialogue(
        "what is pipelined behind the final dot is answered",
        AT_DATA,
        b".\r\nRSET\r\nNOOP\r\nFOO\r\nQUIT\r\n",
        "250 250 250 500 221",
        [*message(b""), ConnectionClosed(CloseReason.QUIT)],
    ),
    Dialogue(
        "a reply of one's own",
        AT_DATA,
        b".\r\n",
        "250/2.0.0",
        message(b""),
        {MessageEnd: [Reply(250, "queued as 42", "2.0.0")]},
    ),
    Dialogue(
        "refused at the end, for good",
        AT_DATA,
        b".\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nMAIL FROM:<ann@a.example>\r\n",
        "552/5.2.2 503 503 250",
        [*message(b""), MAIL],
        {MessageEnd: [FULL]},
    ),
    Dialogue(
        "refused at the end, for now",
        AT_DATA,
        b".\r\nRCPT TO:<bob@b.example>\r\n",
        "451/4.3.0 503",
        message(b""),
        {MessageEnd: [LATER]},
        state=State.READY,
    ),
    Dialogue(
        "421 at the end",
        AT_DATA,
        b".\r\nNOOP\r\n",
        "421/4.3.2",
        [*message(b""), ConnectionClosed(CloseReason.CLOSING)],
        {MessageEnd: [replies.CLOSING]},
    ),
]

DATA_COMMAND = [
    Dialogue(
        "before RCPT",
        AT_MAIL,
        b"DATA\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n.\r\n",
        "503/5.5.1 250 354 250",
        [RCPT, DATA, *message(b"")],
    ),
    Dialogue("before MAIL", AT_READY, b"DATA\r\n", "503/5.5.1", state=State.READY),
    Dialogue("with an argument", AT_RCPT, b"DATA now\r\n", "501/5.5.4", state=State.RCPT),
    Dialogue(
        "BINARYMIME needs BDAT (RFC 3030 3)",
        AT_READY,
        b"MAIL FROM:<ann@a.example> BODY=BINARYMIME\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n",
        "250 250 503/5.5.1",
        [MailFrom(ANN, MailParameters(body="BINARYMIME")), RCPT],
        state=State.RCPT,
    ),
    Dialogue(
        "every recipient refused, then the message without waiting: its lines are commands (RFC 2920 3.1)",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\nDATA\r\nSubject: hi\r\n\r\nQUIT the job\r\n.\r\nNOOP\r\n",
        "550 503 500 500 501 500 250",
        [RCPT],
        {RcptTo: [replies.MAILBOX_UNKNOWN]},
        state=State.MAIL,
    ),
    Dialogue(
        "DATA refused by the application; it may be tried again",
        AT_RCPT,
        b"DATA\r\nSubject: hi\r\n.\r\nDATA\r\n.\r\n",
        "451 500 500 354 250",
        [DATA, DATA, *message(b"")],
        {MessageStart: [LATER]},
    ),
    Dialogue(
        "the error budget ends it",
        AT_MAIL,
        b"DATA\r\n" + b"spam and eggs\r\n" * 40,
        "503" + " 500" * 18 + " 421/4.7.0",
        [TransactionAborted(AbortReason.CLOSING), ConnectionClosed(CloseReason.ERRORS)],
    ),
    Dialogue(
        "the message without waiting for 354",
        AT_GREETED,
        AT_DATA.wire + b"hello\r\n.\r\nQUIT\r\n",
        "250 250 250 354 250 221",
        [*AT_DATA.events, *message(b"hello\r\n"), ConnectionClosed(CloseReason.QUIT)],
    ),
]

# The limit is 20 octets. The final dot and stuffed dots do not count (RFC 1870 §6.3).
SIZES = [
    Dialogue("at the limit", AT_DATA, b"x" * 18 + b"\r\n.\r\n", "250", message(b"x" * 18 + b"\r\n"), config=SMALL),
    Dialogue(
        "stuffed dots are not counted",
        AT_DATA,
        b"." + b"." * 18 + b"\r\n.\r\n",
        "250",
        message(b"." * 18 + b"\r\n"),
        config=SMALL,
    ),
    *(
        Dialogue(
            f"over the limit by {len(content) - 20}",
            AT_DATA,
            content + b".\r\nNOOP\r\nRCPT TO:<bob@b.example>\r\nMAIL FROM:<ann@a.example>\r\n",
            "552/5.3.4 250 503 250",
            [MessageChunk(content[:20]), TOO_BIG, MAIL],
            config=SMALL,
        )
        for content in (b"x" * 19 + b"\r\n", b"x" * 20 + b"\r\n", b"x" * 21 + b"\r\n", b"QUIT\r\n" * 30)
    ),
    Dialogue(
        "too big before bare",
        AT_DATA,
        b"x" * 20 + b"\ny\r\n.\r\n",
        "552",
        [MessageChunk(b"x" * 20), TOO_BIG],
        config=SMALL,
    ),
    Dialogue(
        "bare before too big",
        AT_DATA,
        b"x" * 19 + b"\ny\r\n.\r\n",
        "550",
        [MessageChunk(b"x" * 19), BARE],
        config=SMALL,
    ),
    Dialogue(
        "a bare CR at the limit",
        AT_DATA,
        b"x" * 19 + b"\ry\r\n.\r\n",
        "550",
        [MessageChunk(b"x" * 19), BARE],
        config=SMALL,
    ),
    Dialogue(
        "a bare CR over the limit",
        AT_DATA,
        b"x" * 20 + b"\ry\r\n.\r\n",
        "552",
        [MessageChunk(b"x" * 20), TOO_BIG],
        config=SMALL,
    ),
    Dialogue(
        "a newline kept counts",
        AT_DATA,
        b"\n" * 21 + b"\r\n.\r\n",
        "552",
        [MessageChunk(b"\n" * 20), TOO_BIG],
        config=SMALL_KEEP,
    ),
    Dialogue(
        "ten times the limit is read to its end",
        AT_DATA,
        b"x" * 198 + b"\r\n.\r\nNOOP\r\n",
        "552 250",
        [MessageChunk(b"x" * 20), TOO_BIG],
        config=SMALL,
        state=State.READY,
    ),
    Dialogue(
        "more closes the connection",
        AT_DATA,
        b"x" * 199 + b"\r\n.\r\nNOOP\r\n",
        "552/5.3.4",
        [MessageChunk(b"x" * 20), TOO_BIG, ConnectionClosed(CloseReason.OVERSIZE)],
        config=SMALL,
    ),
    Dialogue(
        "more of what has a bare newline as well",
        AT_DATA,
        b"\n" + b"x" * 201,
        "552",
        [BARE, ConnectionClosed(CloseReason.OVERSIZE)],
        config=SMALL,
    ),
    Dialogue(
        "the next message begins at 0",
        AT_DATA,
        b"x" * 15 + b"\r\n.\r\n" + AT_DATA.wire.removeprefix(AT_READY.wire) + b"y" * 15 + b"\r\n.\r\n",
        "250 250 250 354 250",
        [*message(b"x" * 15 + b"\r\n"), MAIL, RCPT, DATA, *message(b"y" * 15 + b"\r\n")],
        config=SMALL,
    ),
]


@pytest.mark.parametrize("dialogue", REFUSED, ids=str)
def test_bare_newlines_are_refused_at_the_true_end(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("dialogue", KEPT, ids=str)
def test_bare_newlines_are_kept(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", STUFFED)
def test_dots(name: str, keep: bool) -> None:
    wire, content = STUFFED[name]
    config = KEEP if keep else CONFIG
    check(Dialogue(name, AT_DATA, wire + b".\r\nNOOP\r\n", "250 250", message(content), config=config))


@pytest.mark.parametrize("dialogue", [*ENDS, *DATA_COMMAND, *SIZES], ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dialogue)


def test_a_million_dots() -> None:
    player = Player.at(AT_DATA)
    for _ in range(100):
        player.feed(b"." * 10_000)
    player.feed(b"\r\n.\r\n")
    assert player.events == message(b"." * 999_999 + b"\r\n")


@pytest.mark.parametrize(
    ("rest", "config"),
    [
        (b"hello\r\n.\r\n", CONFIG),
        (b"h\r\n..\r\n.\r\n", CONFIG),
        (b"he\nllo\r\n.\r\n", CONFIG),  # a fault after the refusal does not change the reply
        (b"hello" * 10 + b"\r\n.\r\n", SMALL),
    ],
)
def test_refused_in_the_middle(rest: bytes, config: Config) -> None:
    for pieces in cuts(rest + b"NOOP\r\nDATA\r\nMAIL FROM:<ann@a.example>\r\n", "refused"):
        player = Player.at(AT_DATA, config, {MessageChunk: [FULL]})
        player.play([pieces])
        assert codes(player.sent) == ["552/5.2.2", "250/2.0.0", "503/5.5.1", "250/2.1.0"]
        assert [type(event) for event in player.events] == [MessageChunk, MailFrom]


def test_refused_in_the_middle_with_421() -> None:
    player = Player.at(AT_DATA, verdicts={MessageChunk: [replies.CLOSING]})
    player.feed(b"hello\r\n.\r\nNOOP\r\n")
    assert codes(player.sent) == ["421/4.3.2"]
    assert player.events[-1] == ConnectionClosed(CloseReason.CLOSING)


def test_half_closed_after_the_final_dot() -> None:
    player = Player.at(AT_DATA)
    player.connection.receive_data(b"hello\r\n.\r\nNOOP\r\n")
    player.connection.receive_data(b"")
    player.run()
    assert player.events == [*message(b"hello\r\n"), ConnectionClosed(CloseReason.EOF)]
    assert codes(player.sent) == ["250/2.6.0", "250/2.0.0"]


@pytest.mark.parametrize("body", [b"h", b"hello", b"hello\r\n", b"hello\r\n.", b"hello\r\n.\r", b"hello\n.\n"])
def test_gone_in_the_middle(body: bytes) -> None:
    player = Player.at(AT_DATA, KEEP)
    player.connection.receive_data(body)
    player.feed(b"")
    assert player.events[-2:] == [TransactionAborted(AbortReason.EOF), ConnectionClosed(CloseReason.EOF)]
    assert player.sent == b""
