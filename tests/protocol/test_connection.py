"""What the driver of `SMTPConnection` calls: the greeting, verdicts in and out of turn, closing, the end of input."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.protocol.dialogue import (
    AT_AUTH,
    AT_DATA,
    AT_GREETED,
    AT_MAIL,
    AT_RCPT,
    AT_READY,
    CONFIG,
    EHLO,
    LMTP,
    LMTP_DATA,
    OPEN,
    OPENINGS,
    RCPT,
    Opening,
    Player,
    check_end,
    codes,
)
from trio_smtp.protocol import (
    NEED_DATA,
    PAUSED,
    AbortReason,
    Auth,
    AuthAborted,
    CloseReason,
    Config,
    ConnectionClosed,
    Hello,
    Limits,
    LocalProtocolError,
    MailFrom,
    MessageStart,
    RcptTo,
    Reply,
    SMTPConnection,
    State,
    TransactionAborted,
    replies,
)

TOO_LONG = Reply(250, "x" * 500, "")


def test_one_mechanism_is_a_sequence_too() -> None:
    with pytest.raises(TypeError, match=r"^auth_mechanisms must be a sequence such as \['PLAIN'\], not a string$"):
        SMTPConnection(CONFIG, auth_mechanisms="PLAIN")


# The greeting -------------------------------------------------------------------------------------------------------


def test_nothing_is_parsed_before_the_greeting() -> None:
    connection = SMTPConnection(CONFIG)
    connection.receive_data(b"EHLO c.example\r\n")
    assert connection.next_event() is PAUSED
    assert connection.data_to_send() == b""
    assert connection.has_unread_data
    connection.greet()
    assert connection.next_event() == EHLO


def test_greeting_of_ones_own() -> None:
    connection = SMTPConnection(CONFIG)
    connection.greet(Reply(220, ("mx.example ESMTP", "no spam")))
    assert connection.data_to_send() == b"220-mx.example ESMTP\r\n220 no spam\r\n"
    assert connection.next_event() is NEED_DATA


@pytest.mark.parametrize("reply", [replies.EARLY_TALKER, replies.TOO_MANY_CONNECTIONS])
def test_turned_away(reply: Reply) -> None:
    connection = SMTPConnection(CONFIG)
    connection.receive_data(b"EHLO c.example\r\nQUIT\r\n")
    connection.greet(reply)
    assert connection.data_to_send() == f"{reply.code} {reply.text}\r\n".encode()
    assert connection.next_event() == ConnectionClosed(CloseReason.REFUSED)
    assert connection.next_event() == ConnectionClosed(CloseReason.REFUSED)
    assert not connection.has_unread_data


@pytest.mark.parametrize("reply", [replies.OK, replies.START_INPUT])
def test_what_is_no_greeting(reply: Reply) -> None:
    connection = SMTPConnection(CONFIG)
    with pytest.raises(LocalProtocolError):
        connection.greet(reply)
    connection.greet()
    assert codes(connection.data_to_send()) == ["220/"]


@pytest.mark.parametrize("opening", OPENINGS, ids=repr)
def test_greeting_twice(opening: Opening) -> None:
    player = Player.at(opening, OPEN)
    with pytest.raises(LocalProtocolError):
        player.connection.greet()
    assert player.connection.state is opening.state


def test_gone_before_the_greeting() -> None:
    connection = SMTPConnection(CONFIG)
    connection.receive_data(b"EHLO c.example\r\n")
    connection.receive_data(b"")
    assert connection.next_event() == ConnectionClosed(CloseReason.EOF)
    with pytest.raises(LocalProtocolError):
        connection.greet()


# Verdicts -----------------------------------------------------------------------------------------------------------


def at_event(opening: Opening, line: bytes, config: Config = OPEN) -> SMTPConnection:
    """Return a connection that waits for the verdict on the event that the line causes."""
    connection = Player.at(opening, config).connection
    connection.receive_data(line)
    assert connection.next_event() == connection.waiting is not None
    return connection


WAITING: list[tuple[str, Opening, bytes, Config]] = [
    ("Hello", AT_GREETED, b"EHLO c.example\r\n", OPEN),
    ("MailFrom", AT_READY, b"MAIL FROM:<ann@a.example>\r\n", OPEN),
    ("RcptTo", AT_MAIL, b"RCPT TO:<bob@b.example>\r\n", OPEN),
    ("MessageStart, DATA", AT_RCPT, b"DATA\r\n", OPEN),
    ("MessageStart, BDAT", AT_RCPT, b"BDAT 0\r\n", OPEN),
    ("MessageEnd", AT_DATA, b".\r\n", OPEN),
    ("MessageEnd, LMTP", LMTP_DATA, b".\r\n", LMTP),
    ("StartTLS", AT_READY, b"STARTTLS\r\n", OPEN),
    ("Auth", AT_READY, b"AUTH PLAIN\r\n", OPEN),
    ("AuthResponse", AT_AUTH, b"\r\n", OPEN),
    ("Verify", AT_READY, b"VRFY bob\r\n", Config(hostname="mx.example", verify=True)),
]
MISUSE: dict[str, Callable[[SMTPConnection], None]] = {
    "accept(4xx)": lambda connection: connection.accept(replies.MAILBOX_BUSY),
    "accept(5xx)": lambda connection: connection.accept(replies.MAILBOX_UNKNOWN),
    "accept(3xx)": lambda connection: connection.accept(replies.START_INPUT),
    "reject(2xx)": lambda connection: connection.reject(replies.OK),
    "reject(3xx)": lambda connection: connection.reject(replies.START_INPUT),
    "challenge": lambda connection: connection.challenge(b""),
    "accept_each": lambda connection: connection.accept_each([replies.OK] * 9),
    "accept_each of one": lambda connection: connection.accept_each([replies.OK]),
    "tls_established": lambda connection: connection.tls_established(),
    "greet": lambda connection: connection.greet(),
}


@pytest.mark.parametrize(("waiting", "opening", "line", "config"), WAITING, ids=[row[0] for row in WAITING])
def test_misuse_changes_nothing(waiting: str, opening: Opening, line: bytes, config: Config) -> None:
    connection = at_event(opening, line, config)
    state, event = connection.state, connection.waiting
    for name, call in MISUSE.items():
        if name != "challenge" or not waiting.startswith("Auth"):
            with pytest.raises(LocalProtocolError):
                call(connection)
            assert (connection.state, connection.waiting) == (state, event)
            assert connection.next_event() is PAUSED
            assert connection.data_to_send() == b""
    connection.reject(replies.MAILBOX_BUSY)
    if connection.waiting is not None:  # LMTP: the second recipient
        connection.reject(replies.MAILBOX_BUSY)
    assert connection.next_event() is NEED_DATA
    assert {code.partition("/")[0] for code in codes(connection.data_to_send())} == {"450"}


@pytest.mark.parametrize("opening", OPENINGS, ids=repr)
def test_no_verdict_without_an_event(opening: Opening) -> None:
    connection = Player.at(opening, OPEN).connection
    with pytest.raises(LocalProtocolError):
        connection.accept()
    with pytest.raises(LocalProtocolError):
        connection.challenge(b"")
    with pytest.raises(LocalProtocolError):
        connection.accept_each([])
    assert (connection.state, connection.data_to_send()) == (opening.state, b"")


@pytest.mark.parametrize("opening", OPENINGS, ids=repr)
def test_refusing_without_an_event_is_for_messages(opening: Opening) -> None:
    connection = Player.at(opening, OPEN).connection
    if opening.state in (State.DATA, State.BDAT):
        connection.reject(replies.LOCAL_ERROR)
        assert connection.envelope is None
    else:
        envelope = connection.envelope
        with pytest.raises(LocalProtocolError):
            connection.reject(replies.LOCAL_ERROR)
        assert connection.envelope is envelope
    assert (connection.state, connection.data_to_send()) == (opening.state, b"")


@pytest.mark.parametrize(
    ("opening", "line"), [(AT_RCPT, b"DATA\r\n"), (AT_RCPT, b"BDAT 0\r\n"), (AT_READY, b"STARTTLS\r\n")]
)
def test_some_have_one_positive_reply_only(opening: Opening, line: bytes) -> None:
    connection = at_event(opening, line)
    with pytest.raises(LocalProtocolError):
        connection.accept(replies.OK)
    connection.accept()


def test_a_text_that_does_not_fit_into_the_reply_to_ehlo() -> None:
    connection = at_event(AT_GREETED, b"EHLO c.example\r\n")
    with pytest.raises(LocalProtocolError):
        connection.accept(TOO_LONG)
    assert (connection.state, connection.waiting, connection.hello) == (State.GREETED, EHLO, None)
    connection.accept()
    assert connection.state is State.READY


def test_a_swallowed_chunk_is_no_message_that_could_be_refused() -> None:
    """The chunk of a BDAT out of sequence is discarded; it does not belong to the transaction that is open."""
    player = Player.at(AT_MAIL)
    player.feed(b"BDAT 5\r\nhe")
    with pytest.raises(LocalProtocolError):
        player.connection.reject(replies.LOCAL_ERROR)
    player.feed(b"lloRCPT TO:<bob@b.example>\r\n")
    assert player.events[-1] == RCPT
    assert codes(player.sent)[-2:] == ["503/5.5.1", "250/2.1.5"]


def test_a_message_is_refused_once() -> None:
    player = Player.at(AT_DATA)
    player.connection.reject(replies.MAILBOX_FULL)
    player.connection.reject(replies.LOCAL_ERROR)
    player.feed(b"hello\r\n.\r\n")
    assert codes(player.sent)[-1] == "452/4.2.2"


def test_1_nothing_is_parsed_while_a_verdict_is_due() -> None:
    connection = at_event(AT_READY, b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nNOOP\r\n")
    connection.receive_data(b"QUIT\r\n")
    connection.receive_data(b"")
    assert connection.next_event() is PAUSED
    assert connection.data_to_send() == b""
    connection.accept()
    assert connection.next_event() == RCPT
    connection.reject(replies.MAILBOX_UNKNOWN)
    assert connection.next_event() == TransactionAborted(AbortReason.QUIT)
    assert connection.next_event() == ConnectionClosed(CloseReason.QUIT)
    assert codes(connection.data_to_send()) == ["250/2.1.0", "550/5.1.1", "250/2.0.0", "221/2.0.0"]


def test_data_to_send_is_given_once() -> None:
    player = Player.at(AT_READY)
    connection = player.connection
    connection.receive_data(b"NOOP\r\nNOOP\r\n")
    connection.next_event()
    assert connection.data_to_send() == replies.OK.wire * 2
    assert connection.data_to_send() == b""


def test_refused_commands_are_there_for_a_log_without_what_may_be_a_password() -> None:
    connection = Player.at(AT_READY).connection
    connection.receive_data(b"mail FROM: ann@a.example\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nAGFubgBzZWNyZXQ=\r\n")
    connection.receive_data(b"RSET \r\nMAIL secret\r\nRCPT TO:<\xff@>\r\nNOOP\n")
    connection.next_event()
    assert connection.refused == (
        ("MAIL FROM: ann@a.example", replies.SYNTAX_MAIL),
        ("AUTH", replies.ENCRYPTION_REQUIRED),
        ("", replies.UNKNOWN_COMMAND),
        ("MAIL", replies.SYNTAX_MAIL),
        ("RCPT TO:<\ufffd@>", replies.NEED_MAIL),
        ("", replies.BARE_NEWLINE_IN_COMMAND),
    )


def test_of_a_long_command_that_was_refused_the_beginning_is_kept() -> None:
    connection = Player.at(AT_READY).connection
    connection.receive_data(b"MAIL FROM:@%b\r\n" % (b"a" * 2000))
    connection.next_event()
    [(command, _)] = connection.refused
    assert len(command) == len("MAIL ") + 256


def test_of_refused_commands_that_nobody_takes_the_last_ones_are_kept() -> None:
    config = Config(limits=Limits(errors=100))
    connection = Player.at(AT_READY, config=config).connection
    for number in range(30):
        connection.receive_data(b"MAIL @%d\r\n" % number)
        connection.next_event()
    assert [refused[0] for refused in connection.refused] == [f"MAIL @{number}" for number in range(10, 30)]


def test_what_may_be_looked_at() -> None:
    player = Player.at(AT_DATA)
    connection = player.connection
    assert (connection.receiving_message, connection.error_count, connection.authenticated) == (True, 0, False)
    player.feed(b".\r\nFOO\r\nNO")
    assert (connection.receiving_message, connection.error_count, connection.has_unread_data) == (False, 1, True)


@pytest.mark.parametrize("errors", [2, 20])
def test_a_login_that_failed_before_the_client_broke_it_off(errors: int) -> None:
    """The second one ends the connection, once only, whichever limit it reaches."""
    limits = Limits(auth_failures=2, errors=errors)
    connection = SMTPConnection(Config(auth_requires_tls=False, limits=limits), auth_mechanisms=["XOAUTH2"])
    connection.auto_accept = frozenset({Hello})
    connection.greet()
    connection.receive_data(b"EHLO c.example\r\n" + b"AUTH XOAUTH2 AAAA\r\n*\r\n" * 3)
    for _ in range(2):
        assert type(connection.next_event()) is Auth
        connection.challenge(b"wrong")
        assert type(connection.next_event()) is AuthAborted
        connection.count_auth_failure()
    reason = CloseReason.ERRORS if errors == 2 else CloseReason.AUTH_FAILURES
    assert connection.next_event() == ConnectionClosed(reason)
    expected = ["220/", "250/", "334/", "501/5.7.0", "334/", *(["501/5.7.0"] if errors > 2 else []), "421/4.7.0"]
    assert codes(connection.data_to_send()) == expected


# auto_accept: what the driver accepts in any case -------------------------------------------------------------------


def test_the_driver_is_spared_what_it_accepts_in_any_case() -> None:
    player = Player.at(AT_READY)
    player.connection.auto_accept = frozenset({MailFrom, RcptTo})
    recipients = b"".join(b"RCPT TO:<r%d@b.example>\r\n" % number for number in range(40))
    player.feed(b"MAIL FROM:<ann@a.example>\r\n" + recipients + b"DATA\r\n")
    heard = [event.recipient.local_part for event in player.events if type(event) is RcptTo]
    assert heard == ["r7", "r15", "r23", "r31", "r39"]  # every eighth, so that other tasks get to run
    assert player.events[-1] == MessageStart(chunking=False, declared_size=None)
    assert codes(player.sent) == ["250/2.1.0", *["250/2.1.5"] * 40, "354/"]
    envelope = player.connection.envelope
    assert envelope is not None
    assert [recipient.local_part for recipient in envelope.recipients] == [f"r{number}" for number in range(40)]
    assert len(envelope.recipient_params) == 40


def test_what_breaks_a_rule_is_refused_all_the_same() -> None:
    player = Player.at(AT_READY, Config(hostname="mx.example", limits=Limits(recipients=1, message_size=20)))
    player.connection.auto_accept = frozenset({MailFrom, RcptTo})
    player.feed(
        b"RCPT TO:<bob@b.example>\r\nMAIL FROM:<ann@a.example> SIZE=21\r\nMAIL FROM:<ann@a.example>\r\n"
        b"RCPT TO:<bob>\r\nRCPT TO:<bob@b.example>\r\nRCPT TO:<cat@b.example>\r\n"
    )
    assert codes(player.sent) == ["503/5.5.1", "552/5.3.4", "250/2.1.0", "501/5.1.3", "250/2.1.5", "452/4.5.3"]
    assert player.events == []


def test_the_rest_of_a_line_that_is_too_long_is_no_recipient() -> None:
    player = Player.at(AT_MAIL)
    player.connection.auto_accept = frozenset({MailFrom, RcptTo})
    player.feed(b"x" * 2100)
    player.feed(b"RCPT TO:<bob@b.example>\r\nRCPT TO:<cat@b.example>\r\n")
    assert codes(player.sent) == ["500/5.5.2", "250/2.1.5"]
    envelope = player.connection.envelope
    assert envelope is not None
    assert list(map(str, envelope.recipients)) == ["cat@b.example"]


# The end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", OPENINGS, ids=repr)
def test_closing_in_every_state(opening: Opening) -> None:
    player = Player.at(opening, OPEN)
    connection = player.connection
    lost = [TransactionAborted(AbortReason.CLOSING)] if connection.envelope is not None else []
    assert bool(lost) is (opening.state in (State.MAIL, State.RCPT, State.DATA, State.BDAT))
    connection.receive_data(b"NOOP\r\nNOO")
    connection.close()
    connection.close(replies.TIMED_OUT)
    player.feed(b"QUIT\r\n")
    assert player.events == [*lost, ConnectionClosed(CloseReason.CLOSING)]
    assert player.sent == replies.CLOSING.wire
    assert (connection.state, connection.envelope) == (State.CLOSED, None)
    assert not connection.receiving_message
    assert not connection.has_unread_data
    check_end(player)


def test_closing_before_the_greeting() -> None:
    connection = SMTPConnection(CONFIG)
    connection.close(replies.TIMED_OUT)
    assert connection.data_to_send() == b"421 Timed out, closing the connection\r\n"  # RFC 2034 §4
    assert connection.next_event() == ConnectionClosed(CloseReason.CLOSING)


@pytest.mark.parametrize(("waiting", "opening", "line", "config"), WAITING, ids=[row[0] for row in WAITING])
def test_closing_while_a_verdict_is_due(waiting: str, opening: Opening, line: bytes, config: Config) -> None:
    connection = at_event(opening, line, config)
    connection.close()
    with pytest.raises(LocalProtocolError):
        connection.accept()
    assert codes(connection.data_to_send()) == ["421/4.3.2"]
    events = [connection.next_event(), connection.next_event()]
    assert ConnectionClosed(CloseReason.CLOSING) in events


@pytest.mark.parametrize(("waiting", "opening", "line", "config"), WAITING, ids=[row[0] for row in WAITING])
def test_gone_while_a_verdict_is_due(waiting: str, opening: Opening, line: bytes, config: Config) -> None:
    """A command that was complete before the end of input still gets its verdict and its reply."""
    connection = at_event(opening, line, config)
    connection.receive_data(b"")
    assert connection.next_event() is PAUSED
    connection.reject(replies.MAILBOX_BUSY)
    if connection.waiting is not None:
        connection.reject(replies.MAILBOX_BUSY)
    player = Player(connection)
    player.run()
    assert player.events[-1] == ConnectionClosed(CloseReason.EOF)
    assert set(codes(player.sent)) <= {"450/4.2.0", "450/"}
    assert player.sent
