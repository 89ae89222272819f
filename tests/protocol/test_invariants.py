"""Properties of all dialogues: points 2 to 5 of the contract of `SMTPConnection`, and the end of input at any octet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.dialogue import (
    AT_BDAT,
    AT_DATA,
    AT_RCPT,
    AT_READY,
    OPEN,
    Player,
    Verdicts,
    check_end,
    codes,
    cuts,
)
from trio_smtp.protocol import (
    AbortReason,
    Auth,
    CloseReason,
    Config,
    ConnectionClosed,
    Event,
    Hello,
    Limits,
    MailFrom,
    MessageChunk,
    MessageEnd,
    MessageStart,
    RcptTo,
    State,
    TransactionAborted,
    replies,
)


def without_chunks(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if type(event) is not MessageChunk]


SESSION = (
    AT_RCPT.wire
    + b"NOOP\nNOOP\r\nDATA\r\n.hello\r\n..\r\n.\r\n"
    + AT_BDAT.wire.removeprefix(AT_READY.wire)
    + b"BDAT 4\r\n.\r\n\nVRFY x\r\nBDAT 0 LAST\r\nBDAT 3\r\nfooRSET\r\nAUTH PLAIN\r\nAAAA\r\n"
    + AT_DATA.wire.removeprefix(AT_READY.wire)
    + b"bare\nx\r\n.\r\nFOO\r\nAUTH LOGIN\r\n*\r\nQUIT\r\n"
)


def test_gone_after_every_octet() -> None:
    """Only complete commands are answered, and the application is told that the open transaction is aborted."""
    whole = Player.start(OPEN, {Auth: [b"", b""]})
    whole.feed(SESSION)
    assert whole.events[-1] == ConnectionClosed(CloseReason.QUIT)
    for end in range(1, len(SESSION)):
        player = Player.start(OPEN, {Auth: [b"", b""]})
        player.feed(SESSION[:end])
        check_end(player)
        assert whole.sent.startswith(player.sent)
        *seen, last = without_chunks(player.events)
        assert last == ConnectionClosed(CloseReason.EOF)
        if seen and seen[-1] == TransactionAborted(AbortReason.EOF):
            seen.pop()
        assert seen == without_chunks(whole.events)[: len(seen)]


# Lines that get one reply each, in every state in which commands are read.
PLAIN_LINES = [
    b"EHLO c.example\r\n",
    b"HELO c\r\n",
    b"EHLO\r\n",
    b"MAIL FROM:<ann@a.example>\r\n",
    b"MAIL FROM:<> SIZE=10 BODY=BINARYMIME\r\n",
    b"MAIL FROM:<ann@a.example> SIZE=1000\r\n",
    b"RCPT TO:<bob@b.example>\r\n",
    b"RCPT TO:<>\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"EXPN x\r\n",
    b"HELP\r\n",
    b"FOO\r\n",
    b"\r\n",
    b".\r\n",
    b"*\r\n",
    b"hello\r\n",
    b"x" * 600 + b"\r\n",
    b"NOOP\n\rNOOP\r\n",
    b"MAIL FROM:<\0@b>\r\n",
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 6\r\nQUIT\r\n",
    b"BDAT 5 LAST\r\n\r\n.\r\n",
    b"BDAT 30\r\n" + b"QUIT\r\n" * 5,
]
PIECES = [
    *PLAIN_LINES,
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 30 LAST\r\n",
    b"BDAT 999\r\n",
    b"BDAT x\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN AAAA\r\n",
    b"AUTH LOGIN =\r\n",
    b"AAAA\r\n",
    b"GET /\r\n",
    b"\x16\x03",
    b"\n",
    b"\r",
    b".",
    b"..\r\n",
    b"x" * 50,
    b"x" * 600,
    AT_READY.wire,
    AT_RCPT.wire.removeprefix(AT_READY.wire),
    AT_RCPT.wire.removeprefix(AT_READY.wire),
    AT_DATA.wire,
    AT_DATA.wire,
]

no = st.sampled_from([replies.MAILBOX_BUSY, replies.MAILBOX_UNKNOWN, replies.CLOSING])
some_verdicts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys([Hello, MailFrom, RcptTo, MessageStart, MessageEnd], st.lists(st.none() | no, max_size=4)),
        MessageChunk: st.lists(no, min_size=1, max_size=1),
        Auth: st.lists(st.none() | no | st.just(b"go on"), max_size=4),
    },
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join),
    some_verdicts,
    st.booleans(),
    st.sampled_from(["keep", "reject"]),
    st.integers(0, 2**32),
)
def test_3_4_5_the_cuts_do_not_show_and_nothing_raises(
    wire: bytes,
    verdicts: Verdicts,
    lmtp: bool,
    bare_newline: Literal["keep", "reject"],
    seed: int,
) -> None:
    config = Config(
        hostname="mx.example",
        lmtp=lmtp,
        bare_newline=bare_newline,
        limits=Limits(command_line=512, message_size=20, errors=10, junk_commands=10, recipients=3),
    )
    if lmtp:
        wire = wire.replace(b"EHLO", b"LHLO")
    seen: list[tuple[bytes, list[Event], State]] = []
    for pieces in cuts(wire, str(seed)):
        player = Player.start(config, verdicts, tls_active=True)
        player.play([pieces])  # also asserts how many octets are held
        codes(player.sent)
        # The verdict is on the first chunk, whose length depends on the cuts.
        events = without_chunks(player.events) if MessageChunk in verdicts else player.events
        seen.append((player.sent, list(events), player.connection.state))
        check_end(player)
    assert all(one == seen[0] for one in seen)


@given(st.lists(st.sampled_from(PLAIN_LINES), max_size=40))
def test_2_every_command_line_gets_one_reply(lines: list[bytes]) -> None:
    player = Player.start(Config(hostname="mx.example", limits=Limits(errors=99, message_size=20)))
    player.feed(AT_READY.wire + b"".join(lines))
    assert len(codes(player.sent)) == 2 + len(lines)


@pytest.mark.parametrize("octet", [b"x", b"\r", b"\n", b".", b"\r\n", b"\r\n.x", b"\0"])
def test_5_nothing_of_a_body_is_held(octet: bytes) -> None:
    player = Player.at(AT_DATA)
    connection = player.connection
    body = octet * 100_000
    for start_ in range(0, len(body), 4096):
        connection.receive_data(body[start_ : start_ + 4096])
        while type(connection.next_event()) is MessageChunk:
            pass
        assert connection.receiving_message
        assert not connection.has_unread_data


RECIPIENTS = [
    b"RCPT TO:<bob@b.example>\r\n",
    b"rcpt to:<bob@b.example>\r\n",
    b"RCPT TO:<a.b+c@b-1.example>\r\n",
    b"RCPT TO:<%b@b.example>\r\n" % (b"a" * 64),
    b"RCPT TO:<%b@b.example>\r\n" % (b"a" * 65),
    b"RCPT TO:<bob@%b.example>\r\n" % (b"b" * 242),  # a path of 256 octets
    b"RCPT TO:<bob@%b.example>\r\n" % (b"b" * 243),
    b"RCPT TO:<bob@b.example> \r\n",
    b"RCPT TO:<bob@b.example> NOTIFY=NEVER\r\n",
    b"RCPT TO:<bob@b.example> X=1\r\n",
    "RCPT TO:<bób@b.example>\r\n".encode(),
    "RCPT TO:<bob@bé.example>\r\n".encode(),
    b"RCPT TO:<bob@b\xff.example>\r\n",
    b'RCPT TO:<"b@b"@b.example>\r\n',
    b"RCPT TO:<@r.example:bob@b.example>\r\n",
    b"RCPT TO:<bob@[192.0.2.1]>\r\n",
    b"RCPT TO:<Postmaster>\r\n",
    b"RCPT TO:<.bob@b.example>\r\n",
    b"RCPT TO:<bob@b.example>\n\r\n",
    b"RCPT TO: <bob@b.example>\r\n",
    b"NOOP\r\n",
]


@example([line for each in RECIPIENTS for line in (RECIPIENTS[0], each)], b"", 100, False, False, 0)
@given(
    st.lists(st.sampled_from(RECIPIENTS + RECIPIENTS[:1] * 20), max_size=30),
    st.sampled_from([b"", b" SMTPUTF8"]),
    st.sampled_from([3, 11, 100]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_recipients_accepted_without_an_event_are_those_that_would_be_events(
    lines: list[bytes], parameter: bytes, most: int, lmtp: bool, loose: bool, seed: int
) -> None:
    config = Config(
        hostname="mx.example", lmtp=lmtp, loose_paths=loose, dsn=True, limits=Limits(recipients=most, errors=99)
    )
    hello = b"LHLO c\r\n" if lmtp else b"EHLO c\r\n"
    heard = Player.start(config)
    heard.feed(hello + b"MAIL FROM:<ann@a.example>%b\r\n" % parameter + b"".join(lines))
    envelope = heard.connection.envelope
    heard.feed(b"DATA\r\n.\r\n")
    assert envelope is not None
    events = [event for event in heard.events if type(event) is RcptTo]
    assert [event.recipient for event in events] == envelope.recipients
    for pieces in cuts(b"".join(lines), str(seed)):
        spared = Player.start(config)
        spared.connection.auto_accept = frozenset({MailFrom, RcptTo})
        spared.feed(hello + b"MAIL FROM:<ann@a.example>%b\r\n" % parameter)
        spared.play([pieces])
        assert spared.connection.envelope == envelope
        assert [event for event in spared.events if type(event) is RcptTo] == events[7::8]
        spared.feed(b"DATA\r\n.\r\n")
        assert spared.sent == heard.sent
