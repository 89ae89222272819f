"""Table-driven dialogues with the protocol core, and the driver that plays them.

A `Dialogue` holds what the client sends, the replies that it must get and the events that the application must see.
`check` plays it in one piece, octet by octet and cut at random places, and expects the same result each time: points 2
to 5 of the contract of `SMTPConnection`. A dialogue begins with an `Opening`, which brings the connection into a state.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from trio_smtp.protocol import (
    NEED_DATA,
    PAUSED,
    AbortReason,
    Address,
    Auth,
    AuthAborted,
    CloseReason,
    Config,
    ConnectionClosed,
    Event,
    Hello,
    Limits,
    MailFrom,
    MailParameters,
    MessageChunk,
    MessageStart,
    RcptParameters,
    RcptTo,
    Reply,
    SMTPConnection,
    StartTLS,
    State,
    TransactionAborted,
    TranscribedConnection,
)

Verdict: TypeAlias = Reply | bytes | Sequence[Reply] | None
"""A positive reply accepts, None accepts with the default reply, a negative reply rejects, bytes are a challenge, and a
sequence of replies goes to `accept_each`. A negative reply to a `MessageChunk` refuses the message before its end."""

Verdicts: TypeAlias = Mapping[type[Event], Sequence[Verdict]]
"""For each type of event, the verdicts on the first event, the second and so on. Further events are accepted."""

PASSWORD = b"AGFubgBwYXNz"
CONFIG = Config(hostname="mx.example")
LMTP = Config(hostname="mx.example", lmtp=True)
OPEN = Config(hostname="mx.example", auth_requires_tls=False, limits=Limits(message_size=20))

ANN = Address("ann", "a.example")
BOB = Address("bob", "b.example")
CAT = Address("cat", "b.example")

EHLO = Hello("EHLO", "c.example")
MAIL = MailFrom(ANN, MailParameters())
RCPT = RcptTo(BOB, RcptParameters())
RCPT_CAT = RcptTo(CAT, RcptParameters())
DATA = MessageStart(chunking=False, declared_size=None)
BDAT = MessageStart(chunking=True, declared_size=None)


@dataclass(frozen=True, repr=False)
class Opening:
    """The octets that bring a new connection into `state`, and the replies and events that they cause."""

    state: State
    wire: bytes = b""
    replies: str = "220"
    events: tuple[Event, ...] = ()

    def __repr__(self) -> str:
        return self.state.name

    def then(self, state: State, wire: bytes, replies: str, *events: Event) -> Opening:
        return Opening(state, self.wire + wire, f"{self.replies} {replies}", (*self.events, *events))


AT_GREETED = Opening(State.GREETED)
AT_READY = AT_GREETED.then(State.READY, b"EHLO c.example\r\n", "250", EHLO)
AT_MAIL = AT_READY.then(State.MAIL, b"MAIL FROM:<ann@a.example>\r\n", "250/2.1.0", MAIL)
AT_RCPT = AT_MAIL.then(State.RCPT, b"RCPT TO:<bob@b.example>\r\n", "250/2.1.5", RCPT)
AT_DATA = AT_RCPT.then(State.DATA, b"DATA\r\n", "354", DATA)
AT_BDAT = AT_RCPT.then(State.BDAT, b"BDAT 3\r\nabc", "250/2.0.0", BDAT, MessageChunk(b"abc"))
# `AT_FAILED` and `AT_AUTH` need the configuration `OPEN`: messages of at most 20 octets, and AUTH without TLS.
AT_FAILED = AT_BDAT.then(State.FAILED, b"BDAT 18\r\n" + b"x" * 18, "552", TransactionAborted(AbortReason.SIZE))
AT_AUTH = AT_READY.then(State.AUTH, b"AUTH PLAIN\r\n", "334", Auth("PLAIN", None))
AT_TLS = AT_READY.then(State.TLS, b"STARTTLS\r\n", "220", StartTLS())

OPENINGS = [AT_GREETED, AT_READY, AT_MAIL, AT_RCPT, AT_DATA, AT_BDAT, AT_FAILED, AT_AUTH, AT_TLS]
"""One opening for each state between the greeting and the end of the connection."""

LMTP_READY = AT_GREETED.then(State.READY, b"LHLO c.example\r\n", "250", Hello("LHLO", "c.example"))
LMTP_MAIL = LMTP_READY.then(State.MAIL, b"MAIL FROM:<ann@a.example>\r\n", "250", MAIL)
LMTP_RCPT = LMTP_MAIL.then(
    State.RCPT, b"RCPT TO:<bob@b.example>\r\nRCPT TO:<cat@b.example>\r\n", "250 250", RCPT, RCPT_CAT
)
LMTP_DATA = LMTP_RCPT.then(State.DATA, b"DATA\r\n", "354", DATA)


@dataclass(frozen=True, repr=False)
class Dialogue:
    """One entry of a table.

    Args:
        name: what the dialogue shows.
        opening: the part before `wire`.
        wire: what the client sends after the opening; several flights if it waits for the replies in between. If
            STARTTLS was accepted, TLS is established before the next flight.
        replies: the reply codes, each with its enhanced code where that matters: ``"250 503/5.5.1"``.
        events: what the application sees; adjacent chunks of a body are joined.
        verdicts: the verdicts of the application.
        state: the state in which the dialogue ends, None if that is not checked.
        config, tls_active, tls_available, mechanisms: arguments for the connection.
    """

    name: str
    opening: Opening
    wire: bytes | Sequence[bytes]
    replies: str
    events: Sequence[Event] = ()
    verdicts: Verdicts = field(default_factory=dict)
    state: State | None = None
    config: Config = CONFIG
    tls_active: bool = False
    tls_available: bool = True
    mechanisms: Sequence[str] = ("PLAIN", "LOGIN")

    def __repr__(self) -> str:
        return self.name

    @property
    def flights(self) -> list[bytes]:
        wire = [self.wire] if isinstance(self.wire, bytes) else self.wire
        return [self.opening.wire + wire[0], *wire[1:]]

    def start(self) -> Player:
        return Player.start(
            self.config,
            self.verdicts,
            tls_active=self.tls_active,
            tls_available=self.tls_available,
            mechanisms=self.mechanisms,
        )


class Player:
    """A driver of one connection: gives a verdict on each event, and records the events and the octets sent."""

    def __init__(
        self,
        connection: SMTPConnection,
        verdicts: Verdicts | None = None,
        limits: Limits = CONFIG.limits,
    ) -> None:
        self.connection = connection
        self.events: list[Event] = []
        self.sent = b""
        self._verdicts = {kind: iter(given) for kind, given in (verdicts or {}).items()}
        self._limits = limits

    @classmethod
    def start(
        cls,
        config: Config = CONFIG,
        verdicts: Verdicts | None = None,
        *,
        tls_active: bool = False,
        tls_available: bool = True,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
    ) -> Player:
        """Return the player of a new connection that has sent its greeting."""
        connection = SMTPConnection(
            config, tls_active=tls_active, tls_available=tls_available, auth_mechanisms=mechanisms
        )
        connection.greet()
        player = cls(connection, verdicts, config.limits)
        player.run()
        return player

    @classmethod
    def at(cls, opening: Opening, config: Config = CONFIG, verdicts: Verdicts | None = None) -> Player:
        """Return the player of a connection in the opening's state; the verdicts are for the events after it."""
        player = cls.start(config, {Auth: [b""]})
        if opening.wire:
            player.feed(opening.wire)
        assert player.connection.state is opening.state
        return cls(player.connection, verdicts, config.limits)

    def feed(self, data: bytes) -> None:
        """Pass these octets to the connection and give a verdict on each event that they cause."""
        self.connection.receive_data(data)
        self.run()
        in_auth = self.connection.state is State.AUTH or self.connection._buffer[:5].upper() == b"AUTH "
        line = self._limits.auth_line if in_auth else self._limits.command_line
        assert held(self.connection) <= line + 4  # 4 octets for what the readers remember

    def run(self) -> None:
        connection = self.connection
        while (event := connection.next_event()) is not NEED_DATA:
            if event is PAUSED:
                assert connection.state is State.TLS
                break
            if self.events and type(event) is ConnectionClosed is type(self.events[-1]):
                break
            self._remember(event)
            self._judge(event)
        self.sent += connection.data_to_send()

    def _remember(self, event: Event) -> None:
        if type(event) is MessageChunk:
            assert event.data, "a chunk is never empty"
            if self.events and type(last := self.events[-1]) is MessageChunk:
                self.events[-1] = MessageChunk(last.data + event.data)
                return
        self.events.append(event)

    def _judge(self, event: Event) -> None:
        connection = self.connection
        verdict = next(self._verdicts.get(type(event), iter(())), None)
        if isinstance(verdict, bytes):
            connection.challenge(verdict)
        elif isinstance(verdict, Reply) and not verdict.positive:
            connection.reject(verdict)
        elif isinstance(verdict, Reply):
            connection.accept(verdict)
        elif verdict is not None:
            connection.accept_each(verdict)
        elif type(event) not in (MessageChunk, TransactionAborted, AuthAborted, ConnectionClosed):
            while connection.waiting is event:  # once for each recipient in LMTP
                connection.accept()

    def play(self, flights: Iterable[Sequence[bytes]]) -> None:
        """Send the flights, each given as the pieces into which it is cut."""
        for flight in flights:
            if self.connection.state is State.TLS:
                self.connection.tls_established()
            for piece in flight:
                self.feed(piece)


def held(value: object) -> int:
    """Return how many octets a connection holds, in itself and in its readers."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, list):
        return sum(map(held, value))
    return sum(held(getattr(value, name)) for name in slots(type(value)))


SLOTS: dict[type, list[str]] = {}  # a cache: `held` is called for each octet of a dialogue


def slots(kind: type) -> list[str]:
    """Return the names of the slots of a connection or a reader; none for any other type."""
    names = SLOTS.get(kind)
    if names is None:
        keeps = issubclass(kind, SMTPConnection) or kind.__module__.endswith(".readers")
        names = [name for each in kind.__mro__ for name in getattr(each, "__slots__", ())] if keeps else []
        SLOTS[kind] = names
    return names


def codes(sent: bytes) -> list[str]:
    """Return the codes of the replies in these octets as ``code/enhanced``; fail on anything else (RFC 5321 §4.2)."""
    found: list[str] = []
    begun = ""
    assert sent.endswith(b"\r\n") or not sent
    for line in sent.decode("ascii").split("\r\n")[:-1]:
        match = re.fullmatch(r"([2-5][0-5][0-9])([ -]|$)(?:([245](?:\.[0-9]{1,3}){2})(?: |$))?[\t -~]*", line)
        assert match, line
        assert len(line) <= 510 or match[1] == "334"
        reply = f"{match[1]}/{match[3] or ''}"
        assert begun in ("", reply), "the lines of a reply have the same codes"
        if match[2] == "-":
            begun = reply
        else:
            begun = ""
            found.append(reply)
    assert not begun
    return found


def cuts(data: bytes, name: str) -> Iterator[list[bytes]]:
    """Yield the ways in which a flight is cut: whole, octet by octet, and at random places."""
    yield [data] if data else []
    yield list(octet_by_octet(data))
    rng = random.Random(name)
    for _ in range(3):
        places = sorted(rng.sample(range(len(data) + 1), min(len(data), rng.randint(1, 12))))
        pieces = [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]
        yield [piece for piece in pieces if piece]


def octet_by_octet(data: bytes) -> Iterator[bytes]:
    """Yield each octet alone. Only the middle of a very long run of one octet is one piece, to save minutes."""
    for run in re.finditer(rb"(?s)(.)\1*+", data):
        start, end = run.span()
        behind = max(end - 100, start)
        middle = min(start + 4096, behind)
        yield from (data[i : i + 1] for i in range(start, middle))
        if middle < behind:
            yield data[middle:behind]
        yield from (data[i : i + 1] for i in range(behind, end))


def check(dialogue: Dialogue) -> None:
    """Play the dialogue with all cuts and compare the results. Then the client leaves, and the connection must end."""
    expected_replies = [*dialogue.opening.replies.split(), *dialogue.replies.split()]
    expected = list(dialogue.opening.events)
    for event in dialogue.events:
        if type(event) is MessageChunk and expected and type(last := expected[-1]) is MessageChunk:
            expected[-1] = MessageChunk(last.data + event.data)
        else:
            expected.append(event)
    ways = [list(cuts(flight, dialogue.name)) for flight in dialogue.flights]
    sent: bytes | None = None
    for flights in zip(*ways, strict=True):
        player = dialogue.start()
        player.play(flights)
        assert player.events == expected
        assert [
            actual if "/" in wanted else actual.partition("/")[0]
            for actual, wanted in zip(codes(player.sent), expected_replies, strict=False)
        ] == expected_replies, codes(player.sent)
        assert len(codes(player.sent)) == len(expected_replies), codes(player.sent)
        assert sent in (None, player.sent)
        sent = player.sent
        if dialogue.state is not None:
            assert player.connection.state is dialogue.state
        check_end(player)
    check_auto_accept(dialogue, [flights[-1] for flights in ways], expected, sent)
    check_transcribed(dialogue, [flights[-1] for flights in ways], expected, sent)


def check_auto_accept(
    dialogue: Dialogue, flights: Sequence[Sequence[bytes]], expected: Sequence[Event], sent: bytes | None
) -> None:
    """Play the dialogue with `auto_accept` for all kinds of events on which it has no verdicts."""
    auto_accept = frozenset[type[Hello | MailFrom | RcptTo]]({Hello, MailFrom, RcptTo} - dialogue.verdicts.keys())
    player = dialogue.start()
    player.connection.auto_accept = auto_accept
    player.play(flights)
    assert [event for event in player.events if type(event) not in auto_accept] == [
        event for event in expected if type(event) not in auto_accept
    ]
    assert player.sent == sent
    check_end(player)


def check_transcribed(
    dialogue: Dialogue, flights: Sequence[Sequence[bytes]], expected: Sequence[Event], sent: bytes | None
) -> None:
    """Play the dialogue with a transcript, which must hold all that the server sends, and no password."""
    lines: list[tuple[str, bytes]] = []
    connection = TranscribedConnection(
        dialogue.config,
        tls_active=dialogue.tls_active,
        tls_available=dialogue.tls_available,
        auth_mechanisms=dialogue.mechanisms,
        write=lambda who, line: lines.append((who, line)),
    )
    connection.greet()
    player = Player(connection, dialogue.verdicts, dialogue.config.limits)
    player.run()
    player.play(flights)
    assert player.events == expected
    assert player.sent == sent
    assert b"".join(line + b"\r\n" for who, line in lines if who == "S") == sent
    assert not any(PASSWORD in line for _, line in lines)
    check_end(player)


def check_end(player: Player) -> None:
    """Let the client leave: the open transaction is aborted, the connection is closed, and nothing more is sent."""
    connection, events, sent = player.connection, list(player.events), player.sent
    if connection.state is State.CLOSED:
        assert type(events[-1]) is ConnectionClosed
        expected = events
    else:
        lost = [TransactionAborted(AbortReason.EOF)] if connection.envelope is not None else []
        expected = [*events, *lost, ConnectionClosed(CloseReason.EOF)]
    player.feed(b"")
    assert player.events == expected
    assert player.sent == sent
    assert (connection.state, connection.envelope, connection.waiting) == (State.CLOSED, None, None)
