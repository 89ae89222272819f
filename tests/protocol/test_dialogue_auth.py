"""AUTH: the exchange, what aborts it, when the command is refused. RFC 4954."""

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
    Verdicts,
    check,
)
from trio_smtp.protocol import (
    NEED_DATA,
    AbortReason,
    Auth,
    AuthAborted,
    AuthResponse,
    CloseReason,
    ConnectionClosed,
    Hello,
    Limits,
    Reply,
    SMTPConnection,
    State,
    TransactionAborted,
    replies,
)

BAD = replies.BAD_CREDENTIALS
CLEAR = dataclasses.replace(CONFIG, auth_requires_tls=False)
REQUIRED = dataclasses.replace(CONFIG, auth_required=True)
FEW_ERRORS = dataclasses.replace(CLEAR, limits=Limits(errors=2))

NO_RESPONSE = Auth("PLAIN", None)
PASSWORD = b"AUTH PLAIN AGFubgBwYXNz\r\n"
WITH_PASSWORD = Auth("PLAIN", b"\0ann\0pass")

ASKED = AT_READY.then(State.AUTH, b"AUTH PLAIN\r\n", "334", NO_RESPONSE)
ASK: Verdicts = {Auth: [b""]}

EXCHANGES = [
    Dialogue("initial response", AT_READY, PASSWORD, "235/2.7.0", [WITH_PASSWORD], state=State.READY),
    Dialogue("any case (RFC 4954 8)", AT_READY, b"auth plain AGFubgBwYXNz\r\n", "235", [WITH_PASSWORD]),
    Dialogue("an empty initial response", AT_READY, b"AUTH PLAIN =\r\n", "235", [Auth("PLAIN", b"")]),
    Dialogue(
        "a challenge",
        AT_READY,
        b"AUTH PLAIN\r\nAGFubgBwYXNz\r\nMAIL FROM:<ann@a.example>\r\n",
        "334 235/2.7.0 250",
        [NO_RESPONSE, AuthResponse(b"\0ann\0pass"), MAIL],
        ASK,
    ),
    Dialogue(
        "two challenges",
        AT_READY,
        b"AUTH LOGIN\r\nYW5u\r\ncGFzcw==\r\n",
        "334 334 235",
        [Auth("LOGIN", None), AuthResponse(b"ann"), AuthResponse(b"pass")],
        {Auth: [b"Username:"], AuthResponse: [b"Password:"]},
        state=State.READY,
    ),
    Dialogue("an empty response", ASKED, b"\r\n", "235", [AuthResponse(b"")], ASK),
    Dialogue("what looks like a command is a response", ASKED, b"QUIT\r\n", "235", [AuthResponse(b"A\x42\x13")], ASK),
    Dialogue(
        "a reply of one's own", AT_READY, PASSWORD, "235/2.0.0", [WITH_PASSWORD], {Auth: [Reply(235, "hi", "2.0.0")]}
    ),
    Dialogue(
        "refused, then another mechanism",
        AT_READY,
        PASSWORD + b"AUTH LOGIN YW5u\r\n",
        "535/5.7.8 235",
        [WITH_PASSWORD, Auth("LOGIN", b"ann")],
        {Auth: [BAD]},
    ),
    Dialogue(
        "refused after a challenge",
        ASKED,
        b"AGFubgBwYXNz\r\nNOOP\r\n",
        "535 250",
        [AuthResponse(b"\0ann\0pass")],
        {Auth: [b""], AuthResponse: [BAD]},
        state=State.READY,
    ),
    Dialogue("a line at the limit", ASKED, b"A" * 12_284 + b"\r\n", "235", [AuthResponse(b"\0" * 9213)], ASK),
]

ABORTED = [
    Dialogue("cancelled", ASKED, b"*\r\nNOOP\r\n", "501/5.7.0 250", [AuthAborted("cancelled")], ASK, state=State.READY),
    *(
        Dialogue(
            f"{line!r} is not base64",
            ASKED,
            line + b"\r\nNOOP\r\n",
            "501/5.5.2 250",
            [AuthAborted("not base64")],
            ASK,
            state=State.READY,
        )
        for line in (
            b"=",
            b"====",
            b"AGFubgBwYXN",
            b"AGFubgBwYXNz=",
            b"AGFubgBwYX==Nz",
            b"!!!!AGEAYg==",
            b"AGFubgBwYXNz AGFubgBwYXNz",
            b" AGFubgBwYXNz",
            b"**",
            b"AGF\nubgBwYXNz",
            b"\n",
            b"\r",
            b"\xff\xff\xff\xff",
            b"AG-_",
            b"STARTTLS x",
        )
    ),
    Dialogue(
        "a line over the limit",
        ASKED,
        b"A" * 12_288 + b"\r\nNOOP\r\n",
        "500/5.5.6 250",
        [AuthAborted("line too long")],
        ASK,
        state=State.READY,
    ),
    Dialogue(
        "64 KiB, with what is no command",
        ASKED,
        b"A" * 65_536 + b"\n*\nQUIT\r\nNOOP\r\n",
        "500/5.5.6 250",
        [AuthAborted("line too long")],
        ASK,
    ),
    Dialogue(
        "an exchange that was spoilt may begin again",
        ASKED,
        b"*\r\n" + PASSWORD,
        "501 235",
        [AuthAborted("cancelled"), WITH_PASSWORD],
        ASK,
    ),
    Dialogue(
        "it counts as an error",
        AT_READY,
        b"AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n=\r\n",
        "334 501 334 421/4.7.0",
        [
            NO_RESPONSE,
            AuthAborted("cancelled"),
            NO_RESPONSE,
            AuthAborted("not base64"),
            ConnectionClosed(CloseReason.ERRORS),
        ],
        {Auth: [b"", b""]},
        config=FEW_ERRORS,
    ),
]

LONG = b"AUTH PLAIN " + b"AAAA" * 3000 + b"\r\n"

LONG_LINES = [
    Dialogue("an initial response as long as responses may be", AT_READY, LONG, "235", [Auth("PLAIN", b"\0" * 9000)]),
    Dialogue(
        "one that is longer",
        AT_READY,
        b"auth PLAIN " + b"A" * 12275 + b"\r\nauth PLAIN " + b"A" * 12276 + b"\r\nNOOP\r\n",
        "501/5.5.2 500/5.5.2 250",
    ),
    Dialogue("nobody can log in", AT_READY, LONG + b"NOOP\r\n", "500/5.5.2 250", mechanisms=()),
    Dialogue("nothing that only begins so", AT_READY, b"AUTHX " + b"x" * 3000 + b"\r\nNOOP\r\n", "500/5.5.2 250"),
    Dialogue(
        "an LF far behind",
        AT_READY,
        LONG[:-2] + b"\nNOOP\r\n" + LONG[:-2] + b"A" * 300 + b"\nNOOP\r\nNOOP\r\n",
        "500/5.5.2 500/5.5.2 250",
    ),
]

REFUSED = [
    Dialogue(
        "an initial response that is not base64",
        AT_READY,
        b"AUTH PLAIN A\r\nAUTH PLAIN A===\r\nAUTH PLAIN ==\r\nAUTH PLAIN !!!!AGEAYg==\r\nAUTH PLAIN AAAA=\r\n",
        "501/5.5.2 501/5.5.2 501/5.5.2 501/5.5.2 501/5.5.2",
        state=State.READY,
    ),
    Dialogue("no argument", AT_READY, b"AUTH\r\nAUTH \r\n", "501/5.5.4 501"),
    Dialogue("three words", AT_READY, b"AUTH PLAIN AAAA AAAA\r\n", "501/5.5.4"),
    Dialogue("* is for responses", AT_READY, b"AUTH PLAIN *\r\n", "501/5.5.2"),
    Dialogue("a mechanism that is not offered", AT_READY, b"AUTH CRAM-MD5\r\nAUTH X\r\n", "504/5.5.4 504"),
    Dialogue("no mechanisms at all", AT_READY, b"AUTH PLAIN\r\n", "502/5.5.1", mechanisms=()),
    Dialogue("before EHLO", AT_GREETED, PASSWORD, "503/5.5.1"),
    Dialogue(
        "in a transaction", AT_MAIL, PASSWORD + b"RSET\r\n", "503/5.5.1 250", [TransactionAborted(AbortReason.RSET)]
    ),
    Dialogue("twice", AT_READY, PASSWORD * 2, "235 503/5.5.1", [WITH_PASSWORD]),
    Dialogue(
        "twice, with EHLO in between",
        AT_READY,
        PASSWORD + b"EHLO c.example\r\n" + PASSWORD,
        "235 250 503",
        [WITH_PASSWORD, Hello("EHLO", "c.example")],
    ),
    Dialogue(
        "three failures",
        AT_READY,
        PASSWORD * 4,
        "535 535 421/4.7.0",
        [WITH_PASSWORD] * 3 + [ConnectionClosed(CloseReason.AUTH_FAILURES)],
        {Auth: [BAD] * 3},
    ),
    Dialogue(
        "a server out of order is no failure of the client",
        AT_READY,
        PASSWORD * 6,
        "454 454 454 535 535 235",
        [WITH_PASSWORD] * 6,
        {Auth: [replies.AUTH_UNAVAILABLE] * 3 + [BAD] * 2},
    ),
    Dialogue(
        "one's own limit, in an exchange",
        ASKED,
        b"AAAA\r\n",
        "421",
        [AuthResponse(b"\0\0\0"), ConnectionClosed(CloseReason.AUTH_FAILURES)],
        {Auth: [b""], AuthResponse: [BAD]},
        config=dataclasses.replace(CONFIG, limits=Limits(auth_failures=1)),
    ),
    Dialogue(
        "421",
        AT_READY,
        PASSWORD + b"NOOP\r\n",
        "421/4.3.2",
        [WITH_PASSWORD, ConnectionClosed(CloseReason.CLOSING)],
        {Auth: [replies.CLOSING]},
    ),
]

CLEAR_TEXT = [
    Dialogue("refused", AT_READY, PASSWORD + b"AUTH X\r\n", "538/5.7.11 538"),
    Dialogue("taken where it is allowed", AT_READY, PASSWORD, "235", [WITH_PASSWORD], config=CLEAR),
    Dialogue(
        "MAIL needs TLS first",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\nMAIL\r\nRCPT TO:<bob@b.example>\r\n",
        "530/5.7.0 530 530",
        config=REQUIRED,
    ),
    Dialogue(
        "MAIL needs AUTH where it is allowed",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\n" + PASSWORD + b"MAIL FROM:<ann@a.example>\r\n",
        "530/5.7.0 235 250",
        [WITH_PASSWORD, MAIL],
        config=dataclasses.replace(REQUIRED, auth_requires_tls=False),
    ),
]
IN_TLS = [
    Dialogue(
        "required: all but these have to wait for it (RFC 4954 6)",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nBDAT 4\r\nRSETVRFY bob\r\nEXPN all\r\n"
        b"RSET\r\nHELP\r\nNOOP\r\nSTARTTLS\r\nFOO\r\nEHLO c.example\r\n" + PASSWORD + b"VRFY bob\r\nDATA\r\n",
        "530/5.7.0 530 530 530/5.7.0 530 530 250 214 250 503 500 250 235 252 503",
        [EHLO, WITH_PASSWORD],
        config=REQUIRED,
    ),
    Dialogue("required: EHLO comes before it", AT_GREETED, b"MAIL FROM:<>\r\n" + PASSWORD, "503 503", config=REQUIRED),
    Dialogue(
        "MAIL needs AUTH",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\n" + PASSWORD + b"MAIL FROM:<ann@a.example>\r\n",
        "530/5.7.0 535 530",
        [WITH_PASSWORD],
        {Auth: [BAD]},
        config=REQUIRED,
    ),
]


@pytest.mark.parametrize("dialogue", [*EXCHANGES, *ABORTED, *REFUSED, *LONG_LINES, *IN_TLS], ids=str)
def test_inside_tls(dialogue: Dialogue) -> None:
    check(dataclasses.replace(dialogue, tls_active=True))


@pytest.mark.parametrize("dialogue", CLEAR_TEXT, ids=str)
def test_in_the_clear(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize(("tls_available", "way"), [(True, b"STARTTLS"), (False, b"Authentication")], ids=str)
def test_who_must_log_in_hears_how(tls_available: bool, way: bytes) -> None:
    connection = SMTPConnection(REQUIRED, tls_available=tls_available)
    connection.greet()
    connection.receive_data(b"EHLO x\r\n")
    connection.next_event()
    connection.accept()
    connection.data_to_send()
    connection.receive_data(b"MAIL FROM:<ann@a.example>\r\n")
    assert connection.next_event() is NEED_DATA
    assert way in connection.data_to_send()
