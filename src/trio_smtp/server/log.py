"""The log of the server, with a limit on how much an attacker can make it write."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.handler import Session
from trio_smtp.protocol import (
    AbortReason,
    Address,
    Auth,
    AuthResponse,
    CloseReason,
    Envelope,
    Hello,
    MailFrom,
    MessageEnd,
    MessageStart,
    RcptTo,
    Reply,
    State,
    TransactionAborted,
    Verify,
    replies,
)
from trio_smtp.server.stats import Stats

__all__ = ["ACCEPTED", "BUDGETS", "FAULTS", "LogLimit", "SessionLog", "log", "transcript"]

ACCEPTED: Final = "%s accepted from=<%s> to=%s size=%d peer=%s reply=%s"
"""The one kind of line that is never left out: it records mail that was accepted."""
_REFUSED: Final = ACCEPTED.replace("accepted", "refused")

# The names under which `Stats.rules` counts what the protocol itself refuses, and its replies.
FAULTS: Final = {
    AbortReason.SIZE: ("message-size", replies.MESSAGE_TOO_BIG),
    AbortReason.BARE_NEWLINE: ("bare-newline", replies.BARE_NEWLINE_IN_BODY),
}
BUDGETS: Final = {
    CloseReason.ERRORS: "errors",
    CloseReason.JUNK: "junk-commands",
    CloseReason.TRANSACTIONS: "transactions",
    CloseReason.AUTH_FAILURES: "login-failures",
    CloseReason.NOT_SMTP: "not-smtp",
    CloseReason.OVERSIZE: "message-size",
}
_CUT_OFF: Final = (AbortReason.EOF, AbortReason.CLOSING)


class LogLimit(logging.Filter):
    """Lets a limited number of lines of each kind through per second; a later line says how many were left out.

    A kind is a format string, so that a flood of one kind hides no line of another.

    Args:
        lines: lines of one kind per second.
        tracebacks: tracebacks per second, for all kinds together; lines beyond that are written without theirs.
    """

    def __init__(self, lines: int = 100, tracebacks: int = 10) -> None:
        super().__init__()
        self._lines: Final = lines
        self._tracebacks: Final = tracebacks
        self._second = 0
        self._seen: Counter[str] = Counter()
        self._with_traceback = 0
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.msg == ACCEPTED:
            return True
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._seen.clear()
            self._with_traceback = 0
            left_out, self._left_out = self._left_out, 0
            if left_out:
                log.warning("too much to log: %d lines were left out", left_out)
        self._seen[record.msg] += 1
        if self._seen[record.msg] > self._lines:
            self._left_out += 1
            return False
        if record.exc_info:
            self._with_traceback += 1
            if self._with_traceback > self._tracebacks:
                record.exc_info = None
        return True


log: Final = logging.getLogger("trio_smtp")
log.addFilter(LogLimit())

transcript: Final = logging.getLogger("trio_smtp.transcript")
"""Gets every line that clients send and receive, except secrets and mail, if its level is DEBUG when they connect."""


class SessionLog:
    """Writes the log lines of one session, one per event, and counts the events in the stats.

    Args:
        session: the connection.
        stats: the counters of its server.
    """

    __slots__ = ("_broken_off", "_session", "_stats")

    def __init__(self, session: Session, stats: Stats) -> None:
        self._session: Final = session
        self._stats: Final = stats
        self._broken_off: AbortReason | None = None  # why the last transaction without a delivery ended

    def strike(self, rule: str) -> None:
        """Count that this rule has turned something away."""
        self._stats.rules[rule] += 1

    def message(self, envelope: Envelope, size: int, verdicts: Sequence[Reply]) -> None:
        """A message was answered."""
        stats, session = self._stats, self._session
        accepted = verdicts[0].positive or any(verdict.positive for verdict in verdicts)
        if accepted:
            stats.messages_accepted += 1
            stats.octets_accepted += size
        else:
            stats.messages_refused += 1
        if log.isEnabledFor(logging.INFO):
            log.info(
                ACCEPTED if accepted else _REFUSED,
                session.id,
                *_sender_and_recipients(envelope),
                size,
                self._peer(),
                " / ".join(map(_text, dict.fromkeys(verdicts))),
            )

    def broken_off(self, event: TransactionAborted, size: int = 0) -> None:
        """A transaction has ended without a delivery, after so many octets of the message.

        The reasons in `FAULTS` count as a refusal. RSET and the like are what the client wanted, so they have no line.
        """
        reason, envelope = event.reason, event.envelope
        self._broken_off = reason
        if reason in FAULTS:
            rule, reply = FAULTS[reason]
            self.strike(rule)
            self.message(envelope, size, [reply])
        elif reason in _CUT_OFF and envelope.recipients:
            sender, recipients = _sender_and_recipients(envelope)
            values = self._session.id, sender, recipients, self._peer(), reason.value
            log.info("%s unfinished from=<%s> to=%s peer=%s: %s", *values)

    def refusal(self, event: object, reply: Reply) -> None:
        """The application has refused a command or, if `event` is None, the whole connection."""
        what = "greeting"
        if isinstance(event, RcptTo):
            what = f"to=<{event.recipient}>"
        elif isinstance(event, MailFrom):
            what = f"from=<{event.sender or ''}>"
        elif isinstance(event, Hello):
            what = f"{event.verb} {event.domain}"
        elif isinstance(event, Verify):
            what = f"VRFY {event.argument}"
        log.info("%s refused %s peer=%s reply=%s", self._session.id, escape(what), self._peer(), _text(reply))

    def hook_timed_out(self) -> None:
        """A hook took too long and was cancelled."""
        log.error("%s a hook took too long", self._session.id)
        self._stats.hook_errors += 1

    def unanswered(self, state: State, event: object, envelope: Envelope | None) -> None:
        """A hook that timed out has not answered: the event that waits, and the open message, are refused for now."""
        if state is State.CONNECTED:
            self.refusal(None, replies.CLOSING)
        elif isinstance(event, (Auth, AuthResponse)):
            self.login_refused(replies.AUTH_UNAVAILABLE)
        elif isinstance(event, (Hello, MailFrom, RcptTo, Verify)):
            self.refusal(event, replies.LOCAL_ERROR)
        if envelope is not None and (isinstance(event, MessageStart) or state in (State.DATA, State.BDAT)):
            self.message(envelope, event.size if isinstance(event, MessageEnd) else 0, [replies.LOCAL_ERROR])

    def wrong_command(self, command: str, reply: Reply) -> None:
        """The core has refused a command without an event; ``""`` stands for a line that is not a command."""
        what = escape(command) if command else "unknown"
        # Not the format of `refusal`: a flood of these lines must not make `LogLimit` leave out a refused recipient.
        log.info("%s refused command %s peer=%s reply=%s", self._session.id, what, self._peer(), _text(reply))

    def login_failed(self, username: str) -> None:
        """A client could not prove that it is this user.

        A name that is not an address is left out: a client that is out of step may have sent the password in its place.
        """
        who = f" login=<{escape(username)}>" if _is_address(username) else ""
        log.info("%s login failed peer=%s%s", self._session.id, self._session.peer, who)

    def login_refused(self, reply: Reply) -> None:
        """A login was refused without a check of who the client is: by a limit, or because of a fault of the server.

        The client has not failed, so programs that ban clients for failed logins must not mistake this line for one.
        """
        log.info("%s refused login peer=%s reply=%s", self._session.id, self._session.peer, _text(reply))

    def closed(self, reason: CloseReason) -> None:
        """The connection is over; the reasons in `BUDGETS` mean that the client has exceeded a limit."""
        if reason in BUDGETS:
            if reason is not CloseReason.OVERSIZE or self._broken_off is not AbortReason.SIZE:  # else counted already
                self.strike(BUDGETS[reason])
            log.info("%s closed peer=%s: %s", self._session.id, self._peer(), reason.value)

    def timed_out(self, rule: str) -> None:
        """The client did not act in time."""
        self.strike(rule)
        log.info("%s timed out peer=%s: %s", self._session.id, self._peer(), rule)

    def transcribe(self, who: str, line: bytes) -> None:
        """Log a line that came from the client (``"C"``) or went to it (``"S"``)."""
        transcript.debug("%s %s: %s", self._session.id, who, escape(line.decode("utf-8", "replace")))

    def _peer(self) -> str:
        """The peer, with its identity if it has logged in."""
        identity = self._session.identity
        return str(self._session.peer) if identity is None else f"{self._session.peer} login=<{escape(identity)}>"


def _sender_and_recipients(envelope: Envelope) -> tuple[str, str]:
    recipients = ",".join(f"<{escape(str(recipient))}>" for recipient in envelope.recipients)
    return escape(str(envelope.sender or "")), recipients


def _is_address(text: str) -> bool:
    """Whether this is a mail address whose domain has a dot in it."""
    try:
        return "." in Address.parse(text).domain
    except ValueError:
        return False


def _text(reply: Reply) -> str:
    """A reply on one line, for the log."""
    codes = f"{reply.code} {reply.enhanced}".rstrip()
    return escape(" / ".join(f"{codes} {line}" for line in reply.lines))
