"""Comparison of the core with `Model`, a second implementation of the RFCs, with plain attributes instead of tables.

Hypothesis chooses the commands and verdicts. Both servers must send the same replies, lose the same transactions and
deliver the same messages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.protocol.dialogue import Player, Verdict, Verdicts, codes
from trio_smtp.protocol import (
    Auth,
    AuthResponse,
    Config,
    ConnectionClosed,
    Hello,
    Limits,
    MailFrom,
    MessageChunk,
    MessageEnd,
    MessageStart,
    RcptTo,
    Reply,
    SMTPConnection,
    StartTLS,
    State,
    TransactionAborted,
)

LIMITS = Limits(message_size=30, recipients=3, errors=6, junk_commands=9, auth_failures=2)
LIMIT: Final = LIMITS.message_size
CONFIG = Config(hostname="mx.example", auth_requires_tls=False, limits=LIMITS)

# Arguments and bodies, each with the reply code for its fault, 0 for none.
MAIL_ARGUMENTS = [
    (b"FROM:<ann@a.example>", 0),
    (b"from:<>", 0),
    (b"FROM:<ann>", 501),
    (b"FROM:<a@b> X=1", 555),
    (b"FROM:<\xc3\xa9@b>", 553),
    (b"", 501),
]
RCPT_ARGUMENTS = [
    (b"TO:<bob@b.example>", 0),
    (b"To:<Postmaster>", 0),
    (b"TO:<>", 501),
    (b"TO:<a@b> X", 555),
]
BODIES = [(b"x" * (size - 2) + b"\r\n" if size else b"", 0) for size in (0, 2, 10, 30, 31, 300, 301)]
BODIES += [(b"x\ny\r\n", 550), (b"x" * 27 + b"\r\r\n", 550), (b"x" + b"\n" * 300 + b"\r\n", 550)]


class Model:
    """A receiver of mail (RFC 5321, 1870, 3030, 3207, 4954). Each command is a method that returns the reply codes.

    `fault` is the reply code for a fault in the argument, `verdict` that of a refusal by the application; 0 for none.
    """

    def __init__(self) -> None:
        self.greeted = False  # EHLO or HELO came
        self.secure = False
        self.known = False  # has logged in
        self.closed = False
        self.sender = False  # a transaction is open
        self.recipients = 0
        self.octets: int | None = None  # in the BDAT chunks so far
        self.refused = 0  # the code with which the application has refused the message, before it is sent
        self.broken = False  # a chunk was refused
        self.errors = 0
        self.junk = 0
        self.auth_failures = 0
        self.lost = 0  # transactions that must be reported as aborted
        self.delivered: list[int] = []  # the lengths of the messages that the application took

    # What several commands share

    def close(self, code: int) -> list[int]:
        self.forget(lost=True)
        self.closed = True
        return [code]

    def refuse(self, code: int) -> list[int]:
        """RFC 5321 §3.8 and §7.8."""
        self.errors += code >= 500
        too_many = self.errors >= LIMITS.errors
        return self.close(421) if code == 421 or too_many else [code]

    def forget(self, *, lost: bool) -> None:
        self.lost += lost and self.sender and not self.refused and not self.broken
        self.sender = self.broken = False
        self.recipients = self.refused = 0
        self.octets = None

    def is_junk(self) -> bool:
        self.junk += 1
        return self.junk >= LIMITS.junk_commands

    # Commands

    def hello(self, fault: int, verdict: int) -> list[int]:
        self.junk += 1
        if self.junk >= LIMITS.junk_commands + (not self.greeted):
            return self.close(421)
        if fault or verdict:
            return self.refuse(fault or verdict)
        if not self.greeted:
            self.junk -= 1
        self.greeted = True
        self.forget(lost=True)
        return [250]

    def mail(self, fault: int, verdict: int) -> list[int]:
        if not self.greeted or self.sender:
            return self.refuse(503)
        if fault or verdict:
            return self.refuse(fault or verdict)
        self.sender = True
        return [250]

    def rcpt(self, fault: int, verdict: int) -> list[int]:
        if not self.sender or self.octets is not None or self.broken:
            return self.refuse(503)
        if fault:
            return self.refuse(fault)
        if self.recipients == LIMITS.recipients:
            return [452]
        if verdict:
            return self.refuse(verdict)
        self.recipients += 1
        return [250]

    def takes_message(self) -> bool:
        return self.recipients > 0 and not self.broken

    def data(self, size: int, fault: int, start: int, within: int, end: int) -> list[int]:
        """DATA with the message. If DATA is refused, the client does not send the message."""
        if not self.takes_message() or self.octets is not None:
            return self.refuse(503)
        if start:
            return self.refuse(start)
        self.refused = within if size else 0
        if size > 10 * LIMIT:
            return [354, *self.close(552)]
        return [354, *self.finish(size, 552 if size > LIMIT else fault, end)]

    def bdat(self, size: int, last: bool, start: int, end: int) -> list[int]:
        if size > 10 * LIMIT:
            return self.close(552)
        if not self.takes_message():
            return self.refuse(503)
        if not size and not last and self.is_junk():
            return self.close(421)
        total = (self.octets or 0) + size
        if total > LIMIT:
            fault = 552
        else:
            fault = 0
            self.refused = self.refused or (start if self.octets is None else 0)
        self.octets = total
        if total > 10 * LIMIT:
            return self.close(552)
        if last:
            return self.finish(total, fault, end)
        if not self.refused and not fault:
            return [250]
        self.lost += not self.refused
        self.broken = True
        return self.refuse(self.refused or fault)

    def finish(self, size: int, fault: int, verdict: int) -> list[int]:
        """The message has come to its end."""
        refusal = self.refused or fault or verdict
        self.forget(lost=bool(fault))
        if refusal:
            return self.refuse(refusal)
        self.errors = self.junk = 0
        self.delivered.append(size)
        return [250]

    def rset(self) -> list[int]:
        if self.is_junk():
            return self.close(421)
        self.forget(lost=True)
        return [250]

    def idle(self, code: int, *, when_broken: bool = False) -> list[int]:
        """NOOP, VRFY, HELP and EXPN. After a refused chunk only NOOP is accepted."""
        if self.broken and not when_broken:
            return self.refuse(503)
        if self.is_junk():
            return self.close(421)
        return self.refuse(code)

    def auth(self, verdicts: Sequence[int]) -> list[int]:
        """`verdicts` has one code for each step: 334, 235 or a refusal; 501 if the client cancels."""
        if not self.greeted or self.sender or self.known:
            return self.refuse(503)
        *steps, verdict = verdicts
        if verdict == 235:
            self.known = True
            return [*steps, 235]
        if verdict != 501:
            self.auth_failures += verdict >= 500
            if self.auth_failures == LIMITS.auth_failures:
                return [*steps, *self.close(421)]
        return [*steps, *self.refuse(verdict)]

    def starttls(self, verdict: int) -> list[int]:
        if not self.greeted or self.sender or self.secure:
            return self.refuse(503)
        if verdict:
            return self.refuse(verdict)
        self.secure = True
        self.greeted = self.known = False
        return [220]

    def quit(self) -> list[int]:
        return self.close(221)


maybe = st.sampled_from([0, 0, 0, 0, 0, 450, 550, 421])
seeds = st.integers(0, 2**32)


def say(code: int) -> Reply | None:
    """Return the application's verdict with this code, None for 0."""
    return Reply(code, "so be it") if code else None


def while_open(self: Comparison) -> bool:
    return not self.model.closed


def between_chunks(self: Comparison) -> bool:
    model = self.model
    return not model.closed and model.octets is not None and not model.broken and not model.refused


class Comparison(RuleBasedStateMachine):
    """Sends the same commands to the connection and to the model."""

    @initialize(seed=seeds)
    def connect(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = Model()
        self.connection = SMTPConnection(CONFIG, tls_available=True, auth_mechanisms=("PLAIN",))
        self.connection.greet()
        self.connection.data_to_send()
        self.lost = 0
        self.delivered: list[int] = []

    def send(self, wire: bytes, expected: list[int], verdicts: Verdicts) -> None:
        """Send the octets to the connection, in one piece or in many, and compare its replies."""
        player = Player(self.connection, verdicts, LIMITS)
        step = self.random.choice([1, 2, 5, 1000])
        for i in range(0, len(wire), step):
            player.feed(wire[i : i + step])
        assert [int(code[:3]) for code in codes(player.sent)] == expected
        for event in player.events:
            if type(event) is TransactionAborted:
                self.lost += 1
            elif type(event) is MessageEnd and expected[-1] == 250:
                self.delivered.append(event.size)

    @invariant()
    def same_facts(self) -> None:
        model, connection = self.model, self.connection
        assert (connection.state is State.CLOSED) == model.closed
        assert (self.lost, self.delivered) == (model.lost, model.delivered)
        assert connection.authenticated == model.known
        assert connection.tls_active == model.secure
        assert (connection.hello is not None) == model.greeted
        assert connection.error_count == model.errors
        envelope = connection.envelope
        assert (envelope is not None) == (model.sender and not model.refused and not model.broken)
        assert len(envelope.recipients if envelope else ()) == (model.recipients if envelope else 0)

    @precondition(lambda self: self.model.closed)
    @rule(seed=seeds, line=st.sampled_from([b"NOOP\r\n", b"QUIT\r\n", b"MAIL FROM:<>\r\n"]))
    def connect_again(self, seed: int, line: bytes) -> None:
        player = Player(self.connection)
        player.feed(line)
        assert player.sent == b""
        assert [type(event) for event in player.events] == [ConnectionClosed]
        self.connect(seed)

    @precondition(while_open)
    @rule(verb=st.sampled_from([b"EHLO", b"ehlo", b"HELO"]), fault=st.sampled_from([0, 0, 0, 501]), verdict=maybe)
    def hello(self, verb: bytes, fault: int, verdict: int) -> None:
        line = verb + (b"\r\n" if fault else b" c.example\r\n")
        self.send(line, self.model.hello(fault, verdict), {Hello: [say(verdict)]})

    @precondition(while_open)
    @rule(argument=st.sampled_from(MAIL_ARGUMENTS), verdict=maybe)
    def mail(self, argument: tuple[bytes, int], verdict: int) -> None:
        text, fault = argument
        self.send(b"MAIL %b\r\n" % text, self.model.mail(fault, verdict), {MailFrom: [say(verdict)]})

    @precondition(while_open)
    @rule(argument=st.sampled_from(RCPT_ARGUMENTS), verdict=maybe)
    def rcpt(self, argument: tuple[bytes, int], verdict: int) -> None:
        text, fault = argument
        self.send(b"RCPT %b\r\n" % text, self.model.rcpt(fault, verdict), {RcptTo: [say(verdict)]})

    @precondition(while_open)
    @rule(mail=st.sampled_from(MAIL_ARGUMENTS[:2]), count=st.integers(1, 4))
    def envelope(self, mail: tuple[bytes, int], count: int) -> None:
        """Open a transaction with recipients, so that many runs get as far as a message."""
        if not self.model.greeted:
            self.hello(b"EHLO", 0, 0)
        if not self.model.closed:
            self.mail(mail, 0)
        for _ in range(count):
            if not self.model.closed:
                self.rcpt(RCPT_ARGUMENTS[0], 0)

    @precondition(while_open)
    @rule(body=st.sampled_from(BODIES), start=maybe, within=maybe, end=maybe)
    def data(self, body: tuple[bytes, int], start: int, within: int, end: int) -> None:
        text, fault = body
        expected = self.model.data(len(text), fault, start, within, end)
        wire = b"DATA\r\n" + (text + b".\r\n" if expected[0] == 354 else b"")
        refusals: Sequence[Verdict] = [say(within)] if within else []
        self.send(wire, expected, {MessageStart: [say(start)], MessageChunk: refusals, MessageEnd: [say(end)]})

    @precondition(while_open)
    @rule(size=st.sampled_from([0, 1, 5, 10, 29, 30, 31, 299, 300, 301]), last=st.booleans(), start=maybe, end=maybe)
    def bdat(self, size: int, last: bool, start: int, end: int) -> None:
        wire = b"BDAT %d%b\r\n" % (size, b" LAST" if last else b"") + b"\r\n.\r\nQUIT\r\n"[:size].ljust(size, b"\n")
        self.send(wire, self.model.bdat(size, last, start, end), {MessageStart: [say(start)], MessageEnd: [say(end)]})

    @precondition(between_chunks)
    @rule(code=st.sampled_from([450, 550, 421]))
    def refuse_between_chunks(self, code: int) -> None:
        self.connection.reject(Reply(code, "enough"))
        self.model.refused = code

    @precondition(while_open)
    @rule()
    def rset(self) -> None:
        self.send(b"RSET\r\n", self.model.rset(), {})

    @precondition(while_open)
    @rule()
    def noop(self) -> None:
        self.send(b"NOOP\r\n", self.model.idle(250, when_broken=True), {})

    @precondition(while_open)
    @rule(command=st.sampled_from([(b"VRFY x", 252), (b"HELP", 214), (b"EXPN x", 502), (b"VRFY", 501)]))
    def idle(self, command: tuple[bytes, int]) -> None:
        line, code = command
        self.send(line + b"\r\n", self.model.idle(code), {})

    @precondition(while_open)
    @rule(command=st.sampled_from([(b"FOO", 500), (b"NOOP\nNOOP", 500), (b"QUIT x", 501), (b"x" * 3000, 500)]))
    def mistake(self, command: tuple[bytes, int]) -> None:
        line, code = command
        self.send(line + b"\r\n", self.model.refuse(code), {})

    @precondition(while_open)
    @rule(challenges=st.integers(0, 2), verdict=st.sampled_from([235, 535, 454, 421, 501]))
    def auth(self, challenges: int, verdict: int) -> None:
        """501 stands for a client that cancels, which it can do only after a challenge."""
        if verdict == 501:
            challenges += 1
        expected = self.model.auth([*[334] * challenges, verdict])
        lines = [b"AUTH PLAIN" if challenges else b"AUTH PLAIN AAAA", *[b"AAAA"] * challenges]
        if verdict == 501:
            lines[-1] = b"*"
        if expected == [503]:
            del lines[1:]
        asked: list[Verdict] = [b"go on"] * challenges
        answers: list[Verdict] = [*asked, say(verdict)]
        wire = b"".join(line + b"\r\n" for line in lines)
        self.send(wire, expected, {Auth: answers[:1], AuthResponse: answers[1:]})

    @precondition(while_open)
    @rule(verdict=maybe)
    def starttls(self, verdict: int) -> None:
        expected = self.model.starttls(verdict)
        self.send(b"STARTTLS\r\n", expected, {StartTLS: [say(verdict)]})
        if expected == [220]:
            self.connection.tls_established()

    @precondition(while_open)
    @rule()
    def quit(self) -> None:
        self.send(b"QUIT\r\n", self.model.quit(), {})


TestComparison = Comparison.TestCase
