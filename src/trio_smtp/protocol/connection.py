"""The server's side of one SMTP or LMTP connection as a state machine without I/O."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from trio_smtp.protocol import replies
from trio_smtp.protocol.config import Config
from trio_smtp.protocol.dialogue import Dialogue
from trio_smtp.protocol.errors import LocalProtocolError
from trio_smtp.protocol.events import (
    PAUSED,
    Auth,
    AuthResponse,
    CloseReason,
    Event,
    Hello,
    MailFrom,
    MessageEnd,
    MessageStart,
    NoEvent,
    RcptTo,
    StartTLS,
    Verify,
)
from trio_smtp.protocol.readers import ChunkReader, DotReader
from trio_smtp.protocol.replies import Reply
from trio_smtp.protocol.states import State, Trigger

__all__ = ["SMTPConnection"]

_DATA = Trigger.DATA  # see machine.py
_DEAF: Final = frozenset({State.TLS, State.CLOSED})


class SMTPConnection(Dialogue):
    """One connection, seen from the server: bytes in, events and replies out (RFC 5321, RFC 2033 for LMTP).

    The driver's loop::

        conn = SMTPConnection(Config(hostname="mx.example.com"))
        conn.greet()
        while True:
            event = conn.next_event()
            if event is NEED_DATA:
                send(conn.data_to_send())
                conn.receive_data(recv())
            elif type(event) is ConnectionClosed:
                send(conn.data_to_send())
                break
            elif type(event) is RcptTo and not known(event.recipient):
                conn.reject(replies.MAILBOX_UNKNOWN)
            elif type(event) not in (MessageChunk, TransactionAborted, AuthAborted):
                conn.accept()

    The contract:

    1. At most one event waits for a verdict; until then `next_event` returns `PAUSED` and parses nothing, because the
       meaning of the next octets may depend on the verdict.
    2. Every command line gets exactly one reply, in order; the end of an LMTP message one per accepted recipient.
    3. Nothing a peer sends raises. Syntax, sequence, limits, NOOP, RSET, VRFY, HELP and QUIT are answered here.
       Misuse by the driver raises `LocalProtocolError`.
    4. The events and the output do not depend on how the input is split, apart from how a body is split into chunks.
       Only input that arrives between accepting `StartTLS` and `tls_established()` is discarded.
    5. Between calls, the parser holds back at most one unfinished line (bounded by the limit) or two octets of a body.
    6. Bytes are parsed as bytes; verbs are compared as ASCII.

    Args:
        config: how the server presents itself; shared by connections.
        tls_active: the connection began inside TLS.
        tls_available: STARTTLS may be offered.
        auth_mechanisms: the SASL mechanisms to offer, upper case; empty where nobody can log in.

    Raises:
        TypeError: if `auth_mechanisms` is a str.
    """

    __slots__ = ("_auth_failures",)

    def __init__(
        self,
        config: Config,
        *,
        tls_active: bool = False,
        tls_available: bool = False,
        auth_mechanisms: Sequence[str] = (),
    ) -> None:
        if isinstance(auth_mechanisms, str):  # each letter would be a mechanism
            raise TypeError(f"auth_mechanisms must be a sequence such as [{auth_mechanisms!r}], not a string")
        super().__init__(
            config, tls_active=tls_active, tls_available=tls_available, auth_mechanisms=tuple(auth_mechanisms)
        )
        self._auth_failures = 0

    # What the driver calls ------------------------------------------------------------------------------------------

    @property
    def has_unread_data(self) -> bool:
        """Whether octets were received that have not been parsed."""
        return self._position < len(self._buffer)

    def greet(self, reply: Reply | None = None) -> None:
        """Send the greeting (RFC 5321 §4.2): by default 220; a negative reply (554, 421) turns the client away.

        Raises:
            LocalProtocolError: if the greeting was sent before, or the reply is neither 220 nor negative.
        """
        if self._mode.state is not State.CONNECTED:
            raise LocalProtocolError("the greeting has already been sent")
        if reply is not None and reply.positive and reply.code != 220:
            raise LocalProtocolError(f"{reply!r} is not a greeting")
        if reply is None:
            reply = _greeting(self._config.hostname, self._config.lmtp)
        self._out.append(reply.without_enhanced_code().wire)
        if reply.positive:
            self._advance(Trigger.GREET)
        else:
            self._end_connection(CloseReason.REFUSED)

    def receive_data(self, data: bytes) -> None:
        """Store what was received; ``b""`` is the end of input. Nothing is parsed before `next_event` is called."""
        if not data:
            self._eof = True
        elif self._eof or self._mode.state in _DEAF:
            return  # after the end, or in clear before the TLS handshake: it must not get into TLS (RFC 3207 §5)
        elif self._position == len(self._buffer):
            self._buffer = data
            self._position = 0
        else:
            self._buffer = self._buffer[self._position :] + data
            self._position = 0

    def next_event(self) -> Event | NoEvent:
        """The next event; `PAUSED` while one waits for a verdict; `NEED_DATA` once all input has been parsed.

        After `ConnectionClosed` it returns that again.
        """
        if self._waiting is not None and not self._queue:
            return PAUSED
        while not self._queue:
            reader = self._reader
            event = self._mode.read(self) if reader is None else self._read_body(reader)
            if event is not None:
                return event
        return self._queue.pop(0)

    def data_to_send(self) -> bytes:
        """All replies since the last call, in one piece; ``b""`` if there is none."""
        out = self._out
        if len(out) == 1:
            return out.pop()
        data = b"".join(out)
        out.clear()
        return data

    def accept(self, reply: Reply | None = None) -> None:
        """Accept the event that waits for a verdict, with its standard reply or this 2xx reply.

        For `Hello`, the first line of the reply's text is sent after the host name. For `MessageEnd` in LMTP, this
        accepts the message for the next recipient (RFC 2033 §4.2).

        Raises:
            LocalProtocolError: if no event waits, or the reply does not suit it: it is not 2xx, it is too long for
                `Hello`, or the event is `MessageStart` or `StartTLS`, whose replies are fixed.
        """
        event = self._waiting
        if event is None:
            raise LocalProtocolError("no event waits for a verdict")
        kind = type(event)
        if reply is not None and (reply.code // 100 != 2 or kind is MessageStart or kind is StartTLS):
            raise LocalProtocolError(f"{kind.__name__} cannot be accepted with {reply!r}")
        if kind is MessageEnd:
            self._judge(reply or replies.MESSAGE_ACCEPTED)
        else:
            _ACCEPT[kind](self, event, reply)
            self._waiting = None

    def reject(self, reply: Reply) -> None:
        """Refuse the event that waits for a verdict, or the message whose body is being received.

        Between an accepted `MessageStart` and `MessageEnd` there are no more chunks after this: the rest is discarded,
        to the end of the data (DATA) or of the chunk (BDAT), before the reply goes out. A 421 also ends the connection
        (RFC 5321 §3.8). For `MessageEnd` in LMTP, this refuses the message for the next recipient.

        Raises:
            LocalProtocolError: if there is nothing to refuse, or the reply is positive.
        """
        if reply.positive:
            raise LocalProtocolError(f"reject() needs a 4xx or 5xx reply, not {reply!r}")
        event = self._waiting
        if event is None:
            if self._mode.state is not State.DATA and self._mode.state is not State.BDAT:
                raise LocalProtocolError("no event waits for a verdict")
            if self._queue:  # a fault behind the chunk that is being refused; its event has not been returned yet
                self._queue.clear()
                self._refusal = None
            self._swallow(reply)
        elif type(event) is MessageEnd:
            self._judge(reply)
        else:
            self._waiting = None
            if type(event) is MessageStart and event.chunking:
                self._reader = ChunkReader(self._chunk_size)
                self._swallow(reply)
            elif type(event) is Auth or type(event) is AuthResponse:
                self._refuse_auth(reply)
            elif type(event) is Hello:
                self._refuse(reply.without_enhanced_code())
            else:
                self._refuse(reply)

    def accept_each(self, verdicts: Sequence[Reply]) -> None:
        """Answer `MessageEnd` in LMTP: one reply per accepted recipient, in order, good or bad (RFC 2033 §4.2).

        Raises:
            LocalProtocolError: if no end of an LMTP message waits, the number of replies is not that of recipients, or
                one of them is a 3xx reply.
        """
        if type(self._waiting) is not MessageEnd or not self._config.lmtp:
            raise LocalProtocolError("accept_each() can only answer the end of an LMTP message")
        if len(verdicts) != self._due - len(self._verdicts):
            raise LocalProtocolError("accept_each() needs one reply per accepted recipient")
        if any(verdict.code // 100 == 3 for verdict in verdicts):
            raise LocalProtocolError("a verdict must not be a 3xx reply")
        for verdict in tuple(verdicts):
            self._judge(verdict)

    def challenge(self, data: bytes) -> None:
        """Answer `Auth` or `AuthResponse` with a challenge: 334 and its base64 form (RFC 4954 §4).

        Raises:
            LocalProtocolError: if no such event waits.
        """
        if type(self._waiting) not in (Auth, AuthResponse):
            raise LocalProtocolError("challenge() can only answer Auth and AuthResponse")
        self._waiting = None
        self._out.append(b"334 " + binascii.b2a_base64(data, newline=False) + b"\r\n")
        self._advance(Trigger.AUTH)

    def count_auth_failure(self) -> None:
        """Count a failed login that was not answered by `reject` with a 5xx reply, which counts it by itself.

        The client of a refused bearer token is told so by a challenge, and may cancel then (RFC 7628 §3.2.3). The
        failure that reaches `Limits.auth_failures` ends the connection with 421.
        """
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures and self._mode.state is not State.CLOSED:
            self._hang_up(replies.TOO_MANY_AUTH_FAILURES, CloseReason.AUTH_FAILURES)

    def tls_established(self) -> None:
        """The TLS handshake is done: forget all that the client said before (RFC 3207 §4.2).

        Raises:
            LocalProtocolError: if STARTTLS was not accepted just before.
        """
        if self._mode.state is not State.TLS:
            raise LocalProtocolError("tls_established() must follow an accepted StartTLS")
        self.tls_active = True
        self.authenticated = False
        self.hello = None
        self._advance(Trigger.TLS)
        self._open_up()

    def close(self, reply: Reply = replies.CLOSING) -> None:
        """End the connection from the server's side, in any state: the reply, then `ConnectionClosed`."""
        if self._mode.state is not State.CLOSED:
            if self._mode.state is State.CONNECTED:
                reply = reply.without_enhanced_code()  # it is the greeting
            self._out.append(reply.wire)
            self._end_connection(CloseReason.CLOSING)

    # Verdicts -------------------------------------------------------------------------------------------------------

    def _accept_start(self, event: MessageStart, reply: None) -> None:
        self._size = 0
        if event.chunking:
            self._reader = ChunkReader(self._chunk_size)
            self._advance(Trigger.BDAT)
        else:
            self._reader = DotReader(check_newlines=self._config.bare_newline == "reject")
            self._out.append(replies.START_INPUT.wire)
            self._mode = self._mode.after[_DATA]

    def _accept_starttls(self, event: StartTLS, reply: None) -> None:
        self._out.append(replies.STARTTLS_READY.wire)
        if self.has_unread_data:  # sent in clear behind STARTTLS, perhaps injected: RFC 3207 §5, CVE-2011-0411
            self.error_count += 1
        self._buffer = b""
        self._position = 0
        self._advance(Trigger.STARTTLS)

    def _accept_auth(self, event: Auth | AuthResponse, reply: Reply | None) -> None:
        self.authenticated = True
        self._out.append((reply or replies.AUTHENTICATED).wire)
        self._advance(Trigger.AUTH_END)
        self._open_up()

    def _accept_verify(self, event: Verify, reply: Reply | None) -> None:
        self._out.append((reply or replies.CANNOT_VERIFY).wire)

    def _judge(self, verdict: Reply) -> None:
        """Take a verdict on a complete message; there is one in SMTP, one for each recipient in LMTP."""
        verdicts = self._verdicts
        verdicts.append(verdict)
        if len(verdicts) == self._due:
            self._waiting = None
            self._end_message(verdicts)
            verdicts.clear()

    def _refuse_auth(self, reply: Reply) -> None:
        self._advance(Trigger.AUTH_END)
        if reply.code >= 500:
            self.count_auth_failure()
        if self._mode.state is not State.CLOSED:
            self._refuse(reply)


@lru_cache(maxsize=64)  # a server has one or a few greetings, and every connection needs one
def _greeting(hostname: str, lmtp: bool) -> Reply:
    return Reply(220, f"{hostname} {'LMTP' if lmtp else 'ESMTP'} trio-smtp", "")


_ACCEPT: Final[dict[type[object], Callable[..., None]]] = {
    Hello: SMTPConnection._accept_hello,
    StartTLS: SMTPConnection._accept_starttls,
    Auth: SMTPConnection._accept_auth,
    AuthResponse: SMTPConnection._accept_auth,
    MailFrom: SMTPConnection._accept_mail,
    RcptTo: SMTPConnection._accept_rcpt,
    MessageStart: SMTPConnection._accept_start,
    Verify: SMTPConnection._accept_verify,
}
