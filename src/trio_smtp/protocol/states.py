"""The state of an SMTP connection: which commands it takes, and what changes it. Nothing else changes state.

Theory. A session is a straight line, greeting, HELO or EHLO, transactions, QUIT; a transaction is MAIL, RCPT once
or more, then DATA or a run of BDATs (RFC 5321 §3.3, §4.1.4, RFC 3030 §2). Two tables describe all of it:

`COMMANDS` has, for each state, the commands that are taken. A known command that is absent gets 503 and changes
nothing. A command that is taken but refused, for its syntax, by a limit or by the application, changes nothing
either. The one exception is BDAT, whose octets are lost: a refused chunk that is not the last leads to FAILED.

`TRANSITIONS` has, for each state, where each `Trigger` leads: a command that was accepted, or something that
happened. A pair that is absent cannot occur. The end of the connection leads from everywhere to CLOSED and is
therefore not listed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

__all__ = ["COMMANDS", "TRANSITIONS", "VERBS", "State", "Trigger"]


class State(enum.Enum):
    """Where the dialogue stands."""

    __hash__ = object.__hash__  # the tables are looked up for every command, and Enum's own hash is Python code

    CONNECTED = "before the greeting"
    GREETED = "before HELO, EHLO or LHLO"
    READY = "no transaction"
    MAIL = "a sender, no recipient yet"
    RCPT = "at least one recipient"
    DATA = "inside the body of DATA"
    BDAT = "between or inside the chunks of BDAT"
    FAILED = "a chunk was refused, the transaction is waiting for RSET"
    AUTH = "in an authentication exchange"
    TLS = "waiting for the TLS handshake"
    CLOSED = "over"


class Trigger(enum.Enum):
    """What moves the dialogue on."""

    __hash__ = object.__hash__

    GREET = "the greeting was sent"
    HELLO = "HELO, EHLO or LHLO accepted"
    MAIL = "MAIL accepted"
    RCPT = "RCPT accepted"
    DATA = "DATA accepted"
    BDAT = "a first BDAT accepted"
    CHUNK_REFUSED = "a BDAT chunk refused that was not the last"
    END = "the transaction is over: delivered, refused or reset"
    AUTH = "AUTH answered with a challenge"
    AUTH_END = "the exchange is over"
    STARTTLS = "STARTTLS accepted"
    TLS = "the TLS handshake is done"


# RFC 5321 §4.1.4: these are valid at any time after the greeting.
_ANYTIME: Final = frozenset({b"HELO", b"EHLO", b"LHLO", b"RSET", b"NOOP", b"QUIT", b"HELP", b"VRFY", b"EXPN"})

COMMANDS: Final[Mapping[State, frozenset[bytes]]] = {
    State.CONNECTED: frozenset(),
    State.GREETED: _ANYTIME,
    State.READY: _ANYTIME | {b"MAIL", b"AUTH", b"STARTTLS"},  # neither of the two within a transaction: RFC 4954 §4
    State.MAIL: _ANYTIME | {b"RCPT"},
    State.RCPT: _ANYTIME | {b"RCPT", b"DATA", b"BDAT"},
    State.DATA: frozenset(),  # what comes is the message
    State.BDAT: _ANYTIME | {b"BDAT"},
    State.FAILED: frozenset({b"HELO", b"EHLO", b"LHLO", b"RSET", b"NOOP", b"QUIT"}),
    State.AUTH: frozenset(),  # what comes is the client's response
    State.TLS: frozenset(),  # what comes is the handshake
    State.CLOSED: frozenset(),
}

VERBS: Final = frozenset().union(*COMMANDS.values())
"""Every command that is known; the others get 500."""

TRANSITIONS: Final[Mapping[State, Mapping[Trigger, State]]] = {
    State.CONNECTED: {Trigger.GREET: State.GREETED},
    State.GREETED: {Trigger.HELLO: State.READY},
    State.READY: {
        Trigger.HELLO: State.READY,
        Trigger.MAIL: State.MAIL,
        Trigger.AUTH: State.AUTH,
        Trigger.AUTH_END: State.READY,
        Trigger.STARTTLS: State.TLS,
    },
    State.MAIL: {Trigger.HELLO: State.READY, Trigger.RCPT: State.RCPT, Trigger.END: State.READY},
    State.RCPT: {
        Trigger.HELLO: State.READY,
        Trigger.RCPT: State.RCPT,
        Trigger.DATA: State.DATA,
        Trigger.BDAT: State.BDAT,
        Trigger.CHUNK_REFUSED: State.FAILED,
        Trigger.END: State.READY,
    },
    State.DATA: {Trigger.END: State.READY},
    State.BDAT: {Trigger.HELLO: State.READY, Trigger.CHUNK_REFUSED: State.FAILED, Trigger.END: State.READY},
    State.FAILED: {Trigger.HELLO: State.READY, Trigger.END: State.READY},
    State.AUTH: {Trigger.AUTH: State.AUTH, Trigger.AUTH_END: State.READY},
    State.TLS: {Trigger.TLS: State.GREETED},
    State.CLOSED: {},
}
