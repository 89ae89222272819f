"""The scenario of a connection target: a server, a client and an application, all derived from one input.

The first eleven octets select the server's settings, the state of the dialogue at the start, what the application does
at that moment, and a list of verdicts that it repeats from then on. The rest is what the client sends. All zeros mean a
default server whose application accepts everything.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Final

from fuzz.cuts import Cut
from trio_smtp.protocol import (
    NEED_DATA,
    PAUSED,
    AuthAborted,
    CloseReason,
    Config,
    ConnectionClosed,
    Event,
    Limits,
    LocalProtocolError,
    MessageChunk,
    MessageEnd,
    MessageStart,
    Reply,
    SMTPConnection,
    StartTLS,
    State,
    TransactionAborted,
    replies,
)
from trio_smtp.protocol.events import Auth, AuthResponse

HEADER: Final = 11
FLIGHT: Final = b"\xfe\xff"
"""Ends a flight, the data that the client sends at a time. At a TLS handshake the rest of the flight is discarded."""

_HELLO: Final = b"EHLO x\r\n"
_RCPT: Final = _HELLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"
PREFIXES: Final = (
    b"",
    _HELLO,
    _HELLO + b"MAIL FROM:<a@b>\r\n",
    _RCPT,
    _RCPT + b"DATA\r\n",
    _RCPT + b"DATA\r\nA line\r\n.",
    _RCPT + b"DATA\r\nbare\nnewline",
    _RCPT + b"DATA\r\n" + b"big" * 99,
    _RCPT + b"BDAT 5\r\nhello",
    _RCPT + b"BDAT 9 LAST\r\nhello",
    _RCPT + b"BDAT 99\r\n" + b"x" * 99,  # exceeds the small limit
    b"BDAT 7\r\nout of",
    _HELLO + b"AUTH LOGIN\r\n",
    _HELLO + b"AUTH PLAIN AGEAYg==\r\n",
    _HELLO + b"STARTTLS\r\n",
    b"x" * 600,
)
"""Inputs that lead to each state, and into the middle of a command, a message or a chunk."""

_SMALL: Final = Limits(
    command_line=512, auth_line=32, message_size=64, recipients=2, transactions=4, junk_commands=6, auth_failures=2
)
REFUSALS: Final = {1: Reply(550, "No"), 2: Reply(451, "Later"), 3: replies.CLOSING}
SILENT: Final = (MessageChunk, AuthAborted, TransactionAborted)
"""Events that need no verdict."""


@dataclass(frozen=True)
class Scenario:
    """A decoded input."""

    config: Config
    tls_active: bool
    prefix: bytes
    intervention: int
    verdicts: bytes
    flights: list[bytes]

    @classmethod
    def decode(cls, header: bytes, sent: bytes) -> Scenario:
        """Decode the header. `sent` is what the client sends."""
        switches, state, intervention, *_ = header
        lmtp, keep, dsn, verify, auth_required, auth_in_clear, tls_active, small = (switches >> i & 1 for i in range(8))
        # Octets after STARTTLS count as an error if they arrive with it and are discarded if they arrive later. So that
        # the cut does not decide whether there are too many errors, the limit is high if STARTTLS is possible.
        errors = (5 if small else 20) if tls_active else 100_000
        config = Config(
            limits=replace(_SMALL if small else Limits(), errors=errors),
            lmtp=bool(lmtp),
            bare_newline="keep" if keep else "reject",
            dsn=bool(dsn),
            verify=bool(verify),
            auth_required=bool(auth_required),
            auth_requires_tls=not auth_in_clear,
        )
        prefix = PREFIXES[state % len(PREFIXES)]
        if lmtp:
            prefix = prefix.replace(b"EHLO", b"LHLO")
        return cls(config, bool(tls_active), prefix, intervention % 4, header[3:], sent.split(FLIGHT))


@dataclass
class Transcript:
    """The results of a scenario."""

    log: list[tuple[Event, int] | bytearray] = field(default_factory=list[tuple[Event, int] | bytearray])
    """The events, each with the number of octets sent before it. Adjacent chunks of a body are joined."""
    out: bytes = b""
    messages: list[bytes] = field(default_factory=list[bytes])
    """The complete messages."""
    closed: CloseReason | None = None


def play(scenario: Scenario, cut: Cut) -> Transcript:
    """Play the scenario with its input cut into pieces."""
    player = Player(scenario)
    player.receive(scenario.prefix, cut, b"\0")
    player.intervene()
    for flight in scenario.flights:
        player.receive(flight, cut, scenario.verdicts)
        if player.conn.state is State.TLS:
            player.conn.tls_established()
    player.conn.receive_data(b"")
    player.react(scenario.verdicts)
    assert player.transcript.closed is not None
    return player.transcript


class Player:
    """The application of a scenario, which also checks the contract of `SMTPConnection`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.transcript = Transcript()
        self.content = b""  # of the current message
        self.asked = 0  # the number of verdicts given
        self.conn = SMTPConnection(
            scenario.config,
            tls_active=scenario.tls_active,
            tls_available=True,
            auth_mechanisms=("PLAIN", "LOGIN"),
        )
        self.conn.greet()

    def receive(self, data: bytes, cut: Cut, verdicts: bytes) -> None:
        for piece in cut(data):
            self.conn.receive_data(piece)
            self.react(verdicts)

    def react(self, verdicts: bytes) -> None:
        """Handle all available events."""
        conn, transcript = self.conn, self.transcript
        while transcript.closed is None:
            event = conn.next_event()
            transcript.out += conn.data_to_send()
            if event is NEED_DATA:
                limits = self.scenario.config.limits
                held = len(conn._buffer)  # private, but this limits the memory
                in_auth = conn.state is State.AUTH or conn._buffer[:5].upper() == b"AUTH "
                assert held < (max(limits.auth_line, limits.command_line) if in_auth else limits.command_line)
                assert not conn.receiving_message or held == 0
                return
            if event is PAUSED:
                assert conn.state is State.TLS
                return
            self.record(event)
            if type(event) is ConnectionClosed:
                assert conn.next_event() is event
                transcript.closed = event.reason
            elif type(event) not in SILENT:
                assert conn.next_event() is PAUSED
                assert conn.waiting is event
                self.answer(event, verdicts[self.asked % len(verdicts)])
                self.asked += 1

    def record(self, event: Event) -> None:
        log = self.transcript.log
        if type(event) is MessageChunk:
            assert event.data
            self.content += event.data
            if log and isinstance(log[-1], bytearray):
                log[-1] += event.data
            else:
                log.append(bytearray(event.data))
            return
        log.append((event, len(self.transcript.out)))
        if type(event) is MessageStart:
            self.content = b""
        elif type(event) is MessageEnd:
            assert event.size == len(self.content) <= self.scenario.config.limits.message_size
            self.transcript.messages.append(self.content)

    def answer(self, event: Event, verdict: int) -> None:
        conn, kind, choice = self.conn, type(event), verdict & 7
        if kind is MessageEnd:
            self.answer_end(verdict)
        elif choice in REFUSALS:
            conn.reject(REFUSALS[choice])
        elif kind in (Auth, AuthResponse) and (choice >= 4 or verdict == 0):
            conn.challenge(b"Password:"[: verdict >> 3])
        elif choice >= 4 and kind not in (MessageStart, StartTLS):
            conn.accept(Reply(250, "By all means"))
        else:
            conn.accept()
            if kind is MessageStart and choice >= 4:
                conn.reject(REFUSALS[choice - 3 if choice < 7 else 1])

    def answer_end(self, verdict: int) -> None:
        """Give one verdict, or in LMTP one for each recipient, all at once or one after the other."""
        conn = self.conn
        assert conn.envelope is not None
        recipients = len(conn.envelope.recipients) if self.scenario.config.lmtp else 1
        assert recipients
        each = [REFUSALS.get(verdict >> shift & 3, replies.OK) for shift in range(recipients)]
        if self.scenario.config.lmtp and verdict & 64:
            conn.accept_each(each)
            return
        for reply in each:
            if reply.positive:
                conn.accept(reply)
            else:
                conn.reject(reply)

    def intervene(self) -> None:
        """Let the application do something after the prefix has been read."""
        if self.transcript.closed is None and self.scenario.intervention == 3:
            self.conn.close()
        elif self.transcript.closed is None and self.scenario.intervention:
            with contextlib.suppress(LocalProtocolError):  # there may be no event to refuse
                self.conn.reject(REFUSALS[self.scenario.intervention])
        self.react(b"\0")
