"""Every command in every state: the reply and the next state. RFC 5321 §4.1.4.

`EXPECTED` was written from the RFCs, not from the code. A row has, for one command line, the reply code in each state,
followed by ``>`` and the next state if it is another one.
"""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import OPEN, OPENINGS, Player, Verdicts, codes
from trio_smtp.protocol import (
    PAUSED,
    Auth,
    AuthAborted,
    AuthResponse,
    ConnectionClosed,
    MessageChunk,
    SMTPConnection,
    State,
)
from trio_smtp.protocol.states import COMMANDS, TRANSITIONS, VERBS, Trigger

COLUMNS = [State.GREETED, State.READY, State.MAIL, State.RCPT, State.BDAT, State.FAILED]
EXPECTED = """
    EHLO c                  | 250>READY | 250        | 250>READY | 250>READY   | 250>READY   | 250>READY
    EHLO                    | 501       | 501        | 501       | 501         | 501         | 501
    HELO c                  | 250>READY | 250        | 250>READY | 250>READY   | 250>READY   | 250>READY
    HELO                    | 501       | 501        | 501       | 501         | 501         | 501
    HELO a b                | 501       | 501        | 501       | 501         | 501         | 501
    LHLO c                  | 500       | 500        | 500       | 500         | 500         | 500
    MAIL FROM:<a@b>         | 503       | 250>MAIL   | 503       | 503         | 503         | 503
    MAIL FROM:<>            | 503       | 250>MAIL   | 503       | 503         | 503         | 503
    MAIL FROM:<a@b> SIZE=21 | 503       | 552        | 503       | 503         | 503         | 503
    MAIL FROM:<a@b> FOO     | 503       | 555        | 503       | 503         | 503         | 503
    MAIL FROM:a@b           | 503       | 501        | 503       | 503         | 503         | 503
    MAIL                    | 503       | 501        | 503       | 503         | 503         | 503
    RCPT TO:<a@b>           | 503       | 503        | 250>RCPT  | 250         | 503         | 503
    RCPT TO:<a@b> FOO       | 503       | 503        | 555       | 555         | 503         | 503
    RCPT TO:<>              | 503       | 503        | 501       | 501         | 503         | 503
    RCPT                    | 503       | 503        | 501       | 501         | 503         | 503
    DATA                    | 503       | 503        | 503       | 354>DATA    | 503         | 503
    DATA x                  | 503       | 503        | 503       | 501         | 503         | 503
    BDAT 0                  | 503       | 503        | 503       | 250>BDAT    | 250         | 503
    BDAT 0 LAST             | 503       | 503        | 503       | 250>READY   | 250>READY   | 503
    BDAT 201                | 552>CLOSED| 552>CLOSED | 552>CLOSED| 552>CLOSED  | 552>CLOSED  | 552>CLOSED
    BDAT x                  | 501>CLOSED| 501>CLOSED | 501>CLOSED| 501>CLOSED  | 501>CLOSED  | 501>CLOSED
    BDAT                    | 501>CLOSED| 501>CLOSED | 501>CLOSED| 501>CLOSED  | 501>CLOSED  | 501>CLOSED
    RSET                    | 250       | 250        | 250>READY | 250>READY   | 250>READY   | 250>READY
    RSET x                  | 501       | 501        | 501       | 501         | 501         | 501
    NOOP                    | 250       | 250        | 250       | 250         | 250         | 250
    NOOP x                  | 250       | 250        | 250       | 250         | 250         | 250
    HELP                    | 214       | 214        | 214       | 214         | 214         | 503
    HELP x                  | 214       | 214        | 214       | 214         | 214         | 503
    VRFY x                  | 252       | 252        | 252       | 252         | 252         | 503
    VRFY                    | 501       | 501        | 501       | 501         | 501         | 503
    EXPN x                  | 502       | 502        | 502       | 502         | 502         | 503
    EXPN                    | 502       | 502        | 502       | 502         | 502         | 503
    AUTH PLAIN              | 503       | 334>AUTH   | 503       | 503         | 503         | 503
    AUTH FOO                | 503       | 504        | 503       | 503         | 503         | 503
    AUTH                    | 503       | 501        | 503       | 503         | 503         | 503
    STARTTLS                | 503       | 220>TLS    | 503       | 503         | 503         | 503
    STARTTLS x              | 503       | 501        | 503       | 503         | 503         | 503
    QUIT                    | 221>CLOSED| 221>CLOSED | 221>CLOSED| 221>CLOSED  | 221>CLOSED  | 221>CLOSED
    QUIT x                  | 501       | 501        | 501       | 501         | 501         | 501
    TURN                    | 500       | 500        | 500       | 500         | 500         | 500
    .                       | 500       | 500        | 500       | 500         | 500         | 500
"""
ROWS = {
    line: dict(zip(COLUMNS, cells, strict=True))
    for line, *cells in ([cell.strip() for cell in row.split("|")] for row in EXPECTED.strip().splitlines())
}
LINES = list(ROWS)
CHALLENGE: Verdicts = {Auth: [b""]}
OPENING = {opening.state: opening for opening in OPENINGS}


@pytest.mark.parametrize("lmtp", [False, True], ids=["SMTP", "LMTP"])
@pytest.mark.parametrize("state", COLUMNS, ids=lambda state: state.name)
@pytest.mark.parametrize("line", LINES)
def test_commands(line: str, state: State, lmtp: bool) -> None:
    code, _, target = ROWS[line][state].partition(">")
    wire = line.encode() + b"\r\n"
    opening, config = OPENING[state], OPEN
    if lmtp:  # LHLO replaces EHLO, and there is no HELO (RFC 2033 §4.1)
        config = dataclasses.replace(OPEN, lmtp=True)
        opening = dataclasses.replace(opening, wire=opening.wire.replace(b"EHLO", b"LHLO"))
        if line.startswith("HELO"):
            code, target = "500", ""
        elif line[1:4] == "HLO":
            wire = (b"E" if line.startswith("L") else b"L") + wire[1:]
    player = Player.at(opening, config, CHALLENGE)
    had_envelope = player.connection.envelope is not None
    player.feed(wire)
    assert [found.partition("/")[0] for found in codes(player.sent)] == [code]
    assert player.connection.state.name == (target or state.name)
    has_envelope = player.connection.envelope is not None
    if not target:
        assert has_envelope is had_envelope, "a command that leads nowhere touches no transaction"
    else:
        assert has_envelope is (target in ("MAIL", "RCPT", "DATA", "BDAT"))


def test_every_command_is_in_the_table() -> None:
    assert {line.partition(" ")[0].encode() for line in LINES} >= VERBS


@pytest.mark.parametrize("line", LINES)
def test_before_the_greeting_nothing_is_read(line: str) -> None:
    connection = SMTPConnection(OPEN)
    connection.receive_data(line.encode() + b"\r\n")
    assert connection.next_event() is PAUSED
    assert (connection.state, connection.data_to_send()) == (State.CONNECTED, b"")


@pytest.mark.parametrize("line", [line for line in LINES if len(line) < 19])
def test_in_data_every_line_is_text_but_one(line: str) -> None:
    player = Player.at(OPENING[State.DATA], OPEN)
    player.feed(line.encode() + b"\r\n")
    if line == ".":
        assert (player.connection.state, codes(player.sent)) == (State.READY, ["250/2.6.0"])
    else:
        assert player.events == [MessageChunk(line.encode() + b"\r\n")]
        assert (player.connection.state, player.sent) == (State.DATA, b"")


@pytest.mark.parametrize("line", LINES)
def test_in_auth_every_line_is_a_response(line: str) -> None:
    """Some commands happen to be base64."""
    player = Player.at(OPENING[State.AUTH], OPEN)
    player.feed(line.encode() + b"\r\n")
    if line.isalpha() and len(line) % 4 == 0:
        assert [type(event) for event in player.events] == [AuthResponse]
        assert codes(player.sent) == ["235/2.7.0"]
    else:
        assert player.events == [AuthAborted("not base64")]
        assert codes(player.sent) == ["501/5.5.2"]
    assert player.connection.state is State.READY


@pytest.mark.parametrize("line", LINES)
def test_in_clear_nothing_is_read_where_tls_comes_next(line: str) -> None:
    player = Player.at(OPENING[State.TLS], OPEN)
    player.feed(line.encode() + b"\r\n")
    assert (player.connection.state, player.events, player.sent) == (State.TLS, [], b"")


@pytest.mark.parametrize("line", LINES)
def test_nothing_is_read_at_the_end(line: str) -> None:
    player = Player.at(OPENING[State.READY], OPEN)
    player.connection.close()
    player.feed(b"QUIT\r\n")
    player.sent = b""
    player.feed(line.encode() + b"\r\n")
    assert (player.connection.state, len(player.events), player.sent) == (State.CLOSED, 1, b"")
    assert type(player.connection.next_event()) is ConnectionClosed


# The tables themselves ----------------------------------------------------------------------------------------------


def test_the_tables_are_complete() -> None:
    assert set(COMMANDS) == set(TRANSITIONS) == set(State)
    assert frozenset().union(*COMMANDS.values()) == VERBS


def test_every_trigger_leads_somewhere() -> None:
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.CONNECTED, State.CLOSED}  # the beginning, and the end that is not listed
    while new := {target for state in reached for target in TRANSITIONS[state].values()} - reached:
        reached |= new
    assert reached == set(State)
    assert [state for state in State if not TRANSITIONS[state]] == [State.CLOSED]


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_only_states_that_read_commands_take_any(state: State) -> None:
    assert bool(COMMANDS[state]) is (state in COLUMNS)


WALK: list[tuple[State, bytes, State]] = [
    (State.GREETED, b"EHLO c\r\n", State.READY),
    (State.READY, b"EHLO c\r\n", State.READY),
    (State.READY, b"MAIL FROM:<a@b>\r\n", State.MAIL),
    (State.READY, b"AUTH PLAIN\r\n", State.AUTH),
    (State.READY, b"AUTH PLAIN\r\nAAAA\r\n", State.READY),
    (State.READY, b"STARTTLS\r\n", State.TLS),
    (State.MAIL, b"EHLO c\r\n", State.READY),
    (State.MAIL, b"RCPT TO:<a@b>\r\n", State.RCPT),
    (State.MAIL, b"RSET\r\n", State.READY),
    (State.RCPT, b"EHLO c\r\n", State.READY),
    (State.RCPT, b"RCPT TO:<a@b>\r\n", State.RCPT),
    (State.RCPT, b"DATA\r\n", State.DATA),
    (State.RCPT, b"BDAT 0\r\n", State.BDAT),
    (State.RCPT, b"BDAT 21\r\n" + b"x" * 21, State.FAILED),
    (State.RCPT, b"BDAT 21 LAST\r\n" + b"x" * 21, State.READY),
    (State.DATA, b".\r\n", State.READY),
    (State.BDAT, b"EHLO c\r\n", State.READY),
    (State.BDAT, b"BDAT 18\r\n" + b"x" * 18, State.FAILED),
    (State.BDAT, b"BDAT 0 LAST\r\n", State.READY),
    (State.FAILED, b"EHLO c\r\n", State.READY),
    (State.FAILED, b"RSET\r\n", State.READY),
    (State.AUTH, b"AAAA\r\n", State.READY),
]


@pytest.mark.parametrize(("state", "wire", "target"), WALK)
def test_every_transition_occurs(state: State, wire: bytes, target: State) -> None:
    player = Player.at(OPENING[state], OPEN, CHALLENGE)
    player.feed(wire)
    assert player.connection.state is target


def test_every_transition_is_among_them() -> None:
    walked = {(state, target) for state, _, target in WALK}
    walked |= {(State.CONNECTED, State.GREETED), (State.TLS, State.GREETED)}  # made by the driver
    walked |= {(State.AUTH, State.AUTH)}  # a second challenge
    listed = {(state, target) for state, row in TRANSITIONS.items() for target in row.values()}
    assert walked == listed
