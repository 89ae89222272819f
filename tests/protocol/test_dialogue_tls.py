"""STARTTLS: when it is accepted, which input is discarded, which state is forgotten. RFC 3207."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    AT_GREETED,
    AT_MAIL,
    AT_READY,
    CONFIG,
    EHLO,
    MAIL,
    Dialogue,
    Player,
    check,
    codes,
)
from trio_smtp.protocol import (
    PAUSED,
    AbortReason,
    Auth,
    CloseReason,
    ConnectionClosed,
    Hello,
    Limits,
    LocalProtocolError,
    StartTLS,
    State,
    TransactionAborted,
    replies,
)

CLEAR = dataclasses.replace(CONFIG, auth_requires_tls=False)
HELLO = b"EHLO c.example\r\n"
HELO = Hello("HELO", "c.example")

REQUIRED = dataclasses.replace(CONFIG, tls_required=True)

DIALOGUES = [
    Dialogue(
        "required: all but these have to wait for it (RFC 3207 4)",
        AT_READY,
        (
            b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nBDAT 4\r\nRSETRSET\r\nVRFY bob\r\n"
            b"EXPN all\r\nHELP\r\nHELO c.example\r\nAUTH PLAIN AAAA\r\nFOO\r\nNOOP\r\n" + HELLO + b"STARTTLS\r\n",
            HELLO + b"RSET\r\nHELP\r\nVRFY bob\r\nHELO c.example\r\nAUTH PLAIN AAAA\r\nMAIL FROM:<ann@a.example>\r\n",
        ),
        "530/5.7.0 530 530 530/5.7.0 530 530 530 530 530 530 500 250 250 220 250 250 214 252 250 235 250",
        [EHLO, StartTLS(), EHLO, HELO, Auth("PLAIN", b"\0\0\0"), MAIL],
        state=State.MAIL,
        config=dataclasses.replace(CLEAR, tls_required=True),
    ),
    Dialogue(
        "required: EHLO comes before it",
        AT_GREETED,
        b"MAIL FROM:<ann@a.example>\r\nSTARTTLS\r\nVRFY bob\r\nQUIT\r\n",
        "503/5.5.1 503 530 221",
        [ConnectionClosed(CloseReason.QUIT)],
        config=REQUIRED,
    ),
    Dialogue(
        "required: then a login, if that is too",
        AT_READY,
        (
            b"MAIL FROM:<ann@a.example>\r\nRSET\r\nSTARTTLS\r\n",
            HELLO + b"MAIL FROM:<ann@a.example>\r\nRSET\r\nAUTH PLAIN AAAA\r\nMAIL FROM:<ann@a.example>\r\n",
        ),
        "530/5.7.0 530 220 250 530/5.7.0 250 235 250",
        [StartTLS(), EHLO, Auth("PLAIN", b"\0\0\0"), MAIL],
        config=dataclasses.replace(REQUIRED, auth_required=True),
    ),
    Dialogue(
        "required: it is there already",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\n",
        "250",
        [MAIL],
        config=REQUIRED,
        tls_active=True,
    ),
    Dialogue("accepted", AT_READY, b"STARTTLS\r\n", "220/2.0.0", [StartTLS()], state=State.TLS),
    Dialogue(
        "everything is forgotten but that there is TLS now",
        AT_READY,
        (b"STARTTLS\r\n", b"MAIL FROM:<ann@a.example>\r\n" + HELLO + b"MAIL FROM:<ann@a.example> SIZE=1\r\n"),
        "220 503/5.5.1 250 250",
        [StartTLS(), EHLO, dataclasses.replace(MAIL, params=dataclasses.replace(MAIL.params, size=1))],
        state=State.MAIL,
    ),
    Dialogue(
        "the login too",
        AT_READY,
        (b"AUTH PLAIN AAAA\r\nSTARTTLS\r\n", HELLO + b"AUTH PLAIN AAAA\r\n"),
        "235 220 250 235",
        [Auth("PLAIN", b"\0\0\0"), StartTLS(), EHLO, Auth("PLAIN", b"\0\0\0")],
        config=CLEAR,
    ),
    Dialogue(
        "twice",
        AT_READY,
        (b"STARTTLS\r\n", HELLO + b"STARTTLS\r\n"),
        "220 250 503/5.5.1",
        [StartTLS(), EHLO],
        state=State.READY,
    ),
    Dialogue("inside implicit TLS", AT_READY, b"STARTTLS\r\n", "503/5.5.1", tls_active=True),
    Dialogue("with an argument", AT_READY, b"STARTTLS now\r\nSTARTTLS \r\n", "501/5.5.4 220", [StartTLS()]),
    Dialogue("in a transaction", AT_MAIL, b"STARTTLS\r\n", "503/5.5.1", state=State.MAIL),
    Dialogue("before EHLO", AT_GREETED, b"STARTTLS\r\n", "503"),
    Dialogue("no certificate", AT_READY, b"STARTTLS\r\n", "502/5.5.1", tls_available=False),
    Dialogue(
        "refused by the application: go on in clear (RFC 3207 4)",
        AT_READY,
        b"STARTTLS\r\nNOOP\r\n",
        "454/4.7.0 250",
        [StartTLS()],
        {StartTLS: [replies.TLS_UNAVAILABLE]},
        state=State.READY,
    ),
    Dialogue(
        "refused with 421",
        AT_READY,
        b"STARTTLS\r\nNOOP\r\n",
        "421",
        [StartTLS(), ConnectionClosed(CloseReason.CLOSING)],
        {StartTLS: [replies.CLOSING]},
    ),
]

INJECTED = [
    b"MAIL FROM:<evil@e.example>\r\nRCPT TO:<bob@b.example>\r\n",
    b"NOOP",
    b"EHLO evil.example\r\nAUTH PLAIN ",
    b"\r\n",
    b"x" * 5000,
]


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("tail", INJECTED)
@pytest.mark.parametrize("same_segment", [True, False])
def test_what_comes_in_clear_is_discarded(tail: bytes, same_segment: bool) -> None:
    player = Player.at(AT_READY)
    connection = player.connection
    for piece in [b"STARTTLS\r\n" + tail] if same_segment else [b"STARTTLS\r\n", tail]:
        player.feed(piece)
    assert connection.next_event() is PAUSED
    assert not connection.has_unread_data
    connection.tls_established()
    player.feed(b"NOOP\r\n" + HELLO)
    assert codes(player.sent) == ["220/2.0.0", "250/2.0.0", "250/"]
    assert player.events == [StartTLS(), EHLO]
    assert connection.error_count == (1 if same_segment else 0)


def test_injecting_is_an_error() -> None:
    player = Player.at(AT_READY, dataclasses.replace(CONFIG, limits=Limits(errors=2)))
    player.feed(b"STARTTLS\r\nNOOP\r\n")
    player.connection.tls_established()
    player.feed(b"FOO\r\n")
    assert codes(player.sent)[-1] == "421/4.7.0"


def test_what_is_known_before_and_after() -> None:
    player = Player.at(AT_READY)
    connection = player.connection
    player.feed(b"STARTTLS\r\n")
    assert (connection.tls_active, connection.hello) == (False, EHLO)
    connection.tls_established()
    assert (connection.tls_active, connection.hello, connection.state) == (True, None, State.GREETED)
    assert (connection.authenticated, connection.envelope) == (False, None)
    player.sent = b""
    player.feed(HELLO)
    assert b"STARTTLS" not in player.sent
    assert b"250-AUTH PLAIN LOGIN\r\n" in player.sent


def test_the_client_goes_away_instead_of_shaking_hands() -> None:
    player = Player.at(AT_READY)
    player.feed(b"STARTTLS\r\n")
    player.feed(b"")
    assert player.events[-1] == ConnectionClosed(CloseReason.EOF)
    with pytest.raises(LocalProtocolError):
        player.connection.tls_established()


def test_the_server_closes_instead_of_shaking_hands() -> None:
    player = Player.at(AT_READY)
    player.feed(b"STARTTLS\r\n")
    player.connection.close(replies.TIMED_OUT)
    player.run()
    assert player.events[-1] == ConnectionClosed(CloseReason.CLOSING)


def test_a_transaction_in_clear_is_closed_for_good() -> None:
    player = Player.at(AT_READY)
    player.feed(b"MAIL FROM:<ann@a.example>\r\nSTARTTLS\r\nRSET\r\nSTARTTLS\r\n")
    assert codes(player.sent) == ["250/2.1.0", "503/5.5.1", "250/2.0.0", "220/2.0.0"]
    assert player.events == [MAIL, TransactionAborted(AbortReason.RSET), StartTLS()]
