"""`TranscribedConnection`: what the transcript shows, and which secrets it leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.dialogue import CONFIG, OPEN, PASSWORD, Player, octet_by_octet
from trio_smtp.protocol import Auth, Config, Limits, MailFrom, RcptTo, TranscribedConnection, replies


def play(*flights: bytes, config: Config = OPEN, challenge: bool = False, whole: bool = True) -> list[str]:
    """Return the transcript of these flights, from the greeting on."""
    lines: list[str] = []
    connection = TranscribedConnection(
        config,
        tls_available=True,
        auth_mechanisms=["PLAIN", "LOGIN"],
        write=lambda who, line: lines.append(f"{who}: {line.decode()}"),
    )
    connection.greet()
    player = Player(connection, {Auth: [b"" if challenge else replies.BAD_CREDENTIALS]}, config.limits)
    player.run()
    player.play([flight] if whole else list(octet_by_octet(flight)) for flight in flights)
    return lines


def said(*flights: bytes, challenge: bool = False) -> list[str]:
    """Return the client's lines in the transcript, which must not depend on how the flights are cut."""
    lines, in_octets = (
        [line[3:] for line in play(*flights, challenge=challenge, whole=whole) if line.startswith("C: ")]
        for whole in (True, False)
    )
    assert in_octets == lines
    return lines


def test_recipients_that_are_read_together_are_shown_one_by_one() -> None:
    lines: list[str] = []
    connection = TranscribedConnection(CONFIG, write=lambda who, line: lines.append(f"{who}: {line.decode()}"))
    connection.auto_accept = frozenset({MailFrom, RcptTo})
    connection.greet()
    recipients = [f"RCPT TO:<r{number}@b.example>" for number in range(20)]
    player = Player(connection)
    player.feed("\r\n".join(["EHLO c.example", "MAIL FROM:<ann@a.example>", *recipients, "RSET", ""]).encode())
    assert [line[3:] for line in lines if line.startswith("C: ")][2:] == [*recipients, "RSET"]


def test_a_whole_dialogue() -> None:
    assert play(
        b"EHLO c.example\r\n",
        b"mail from:<ann@a.example> BODY=8BITMIME\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n",
        b"..\r\nabc\r\n.\r\nNOOP\r\nQUIT\r\n",
        config=Config(hostname="mx.example", without=["SMTPUTF8", "CHUNKING", "LIMITS", "HELP"]),
    ) == [
        "S: 220 mx.example ESMTP trio-smtp",
        "C: EHLO c.example",
        "S: 250-mx.example",
        "S: 250-PIPELINING",
        "S: 250-SIZE 33554432",
        "S: 250-8BITMIME",
        "S: 250-ENHANCEDSTATUSCODES",
        "S: 250 STARTTLS",
        "C: mail from:<ann@a.example> BODY=8BITMIME",
        "C: RCPT TO:<bob@b.example>",
        "C: DATA",
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "S: 354 Start mail input; end with <CRLF>.<CRLF>",
        "C: [12 octets of a message]",
        "C: NOOP",
        "C: QUIT",
        "S: 250 2.6.0 Message accepted",
        "S: 250 2.0.0 OK",
        "S: 221 2.0.0 Bye",
    ]


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        (b"AUTH PLAIN " + PASSWORD, ["AUTH PLAIN [...]"]),
        (b"auth login " + PASSWORD, ["auth login [...]"]),
        (b"AUTH " + PASSWORD, ["AUTH [...]"]),
        (b"AUTH PLAINLY", ["AUTH [...]"]),
        (b"AUTH SCRAM-SHA-256 " + PASSWORD, ["AUTH SCRAM-SHA-256 [...]"]),
        (b"AUTH CRAM-MD5", ["AUTH CRAM-MD5"]),
        (b"AUTH", ["AUTH"]),
        (b"AUTHPLAIN " + PASSWORD, ["AUTH [...]"]),
        (b"AUTH CRAM-MD5\r\n" + PASSWORD, ["AUTH CRAM-MD5", "[12 octets that are no command]"]),
        (b"AUTH CRAM-MD5\r\nVRFY bob\r\npwd", ["AUTH CRAM-MD5", "VRFY bob", "[3 octets that are no command]"]),
        (b"USER bob\r\nPASS secret", ["USER [...]", "PASS [...]"]),
        (b"a1 LOGIN bob secret", ["A [...]"]),
        (b"\x00\x01", ["[2 octets that are no command]"]),
        (b"", ["[0 octets that are no command]"]),
        (b"NOOP caf\xc3\xa9", ["NOOP caf\xe9"]),
        (b"MAIL FROM:ann@a.example", ["MAIL FROM:ann@a.example"]),
        (b"MAIL FROM:<ann>\r\nMAIL FROM:<>", ["MAIL [...]", "MAIL FROM:<>"]),
        (b"RCPT TO:<PostMaster>\r\nRCPT TO:<bob>", ["RCPT TO:<PostMaster>", "RCPT [...]"]),
    ],
)
def test_secrets_are_left_out(wire: bytes, lines: list[str]) -> None:
    assert said(b"EHLO c.example\r\n" + wire + b"\r\n") == ["EHLO c.example", *lines]


def test_the_responses_of_a_login_are_left_out() -> None:
    assert said(b"EHLO c.example\r\nAUTH PLAIN\r\n" + PASSWORD + b"\r\nNOOP\r\n", challenge=True)[1:] == [
        "AUTH PLAIN",
        "[12 octets of a login]",
        "NOOP",
    ]


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\n\r", b"\n\n\r"])
def test_a_line_that_may_hide_a_login_is_left_out(newline: bytes) -> None:
    for whole in (True, False):
        lines = play(b"EHLO x" + newline + b"AUTH LOGIN" + newline + b"\r\n" + PASSWORD + b"\r\nNOOP\r\n", whole=whole)
        heard = [line for line in lines if line.startswith("C: ")]
        assert all(line.startswith("C: [") for line in heard[:-1])
        assert heard[-1] == "C: NOOP"


def test_a_line_that_is_too_long_is_left_out() -> None:
    config = Config(limits=Limits(command_line=2000))
    assert "C: [1502 octets of a bad line]" in play(b"NOOP" + b" " * 1496 + b"\r\n", config=config)
    assert play(b"NOOP " + b"x" * 996 + b"\r\n", config=config)[-2] == "C: [1003 octets of a bad line]"
    assert play(b"NOOP " + b"x" * 995 + b"\r\n", config=config)[-2] == "C: NOOP " + "x" * 995


def test_tls_is_noted() -> None:
    assert play(b"EHLO c.example\r\nSTARTTLS\r\n", b"NOOP\r\n", config=CONFIG)[-4:] == [
        "S: 220 2.0.0 Ready to start TLS",
        "C: [TLS]",
        "C: NOOP",
        "S: 250 2.0.0 OK",
    ]


def test_a_refused_message_is_counted_too() -> None:
    wire = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@b.example>\r\nBDAT 30 LAST\r\n" + b"x" * 30 + b"NOOP\r\n"
    assert said(wire)[3:] == ["BDAT 30 LAST", "[30 octets of a message]", "NOOP"]


LINES = [b"AUTH LOGIN", b"AUTH PLAIN secret", b"AUTH secret", b"secret", b"NOOP", b"EHLO x", b"*", b"a secret", b""]


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\n", b"\r"])), max_size=8), st.data())
def test_no_secret_is_shown_after_the_first_auth(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    wire = b"AUTH LOGIN" + b"".join(end + line for line, end in lines) + b"\r\n"
    cut = data.draw(st.integers(0, len(wire)))
    for challenge in (True, False):
        assert "secret" not in "\n".join(play(b"EHLO x\r\n", wire[:cut], wire[cut:], challenge=challenge))
