"""The client's input: lines, bodies and AUTH responses are read by state, commands answered or turned into events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from trio_smtp.protocol import replies
from trio_smtp.protocol.addresses import Address
from trio_smtp.protocol.commands import (
    CommandError,
    decode_base64,
    parse_auth,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
    parse_verify,
    refuse_controls,
)
from trio_smtp.protocol.config import OVERSIZE_FACTOR, Config
from trio_smtp.protocol.errors import LocalProtocolError
from trio_smtp.protocol.events import (
    NEED_DATA,
    PAUSED,
    AbortReason,
    AuthAborted,
    AuthResponse,
    CloseReason,
    Event,
    Hello,
    MailFrom,
    MessageChunk,
    MessageEnd,
    MessageStart,
    NoEvent,
    RcptTo,
    StartTLS,
)
from trio_smtp.protocol.extensions import Situation, offer
from trio_smtp.protocol.grammar import COMMAND, PLAIN_RCPT
from trio_smtp.protocol.machine import Machine, Mode
from trio_smtp.protocol.parameters import NO_RCPT_PARAMETERS
from trio_smtp.protocol.readers import ChunkReader, DotReader, LineReader
from trio_smtp.protocol.replies import Reply
from trio_smtp.protocol.states import COMMANDS, TRANSITIONS, VERBS, State, Trigger

__all__ = ["Dialogue"]

_RCPT: Final = Trigger.RCPT  # see machine.py
_HTTP_VERBS: Final = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"PRI"}
)
_BURST: Final = 8  # every eighth recipient becomes an event even if RCPT is accepted here
_MOST_NOTED: Final = 20  # refused commands in `refused`
_NOTED: Final = 256  # octets of the argument of each
_OF_ANOTHER_PROTOCOL: Final = {
    b"HELO": replies.THIS_IS_LMTP,
    b"EHLO": replies.THIS_IS_LMTP,
    b"LHLO": replies.THIS_IS_SMTP,
}
_TLS_HANDSHAKE: Final = b"\x16"  # the first octet of a TLS ClientHello
_TRANSACTION_STATES: Final = (State.MAIL, State.RCPT, State.BDAT, State.FAILED)
_WITHOUT_CHUNKING: Final = VERBS - {b"BDAT"}
_BEFORE_TLS: Final = frozenset({b"EHLO", b"LHLO", b"NOOP", b"STARTTLS", b"QUIT"})  # RFC 3207 §4
_BEFORE_LOGIN: Final = _BEFORE_TLS | {b"AUTH", b"HELO", b"RSET", b"HELP"}  # RFC 4954 §6; HELP asks for nothing
_SEQUENCE_HINTS: Final = {  # replies that say what must come first, by state and command
    **{(State.GREETED, verb): replies.NEED_HELLO for verb in VERBS - COMMANDS[State.GREETED]},
    **{(State.READY, verb): replies.NEED_MAIL for verb in (b"RCPT", b"DATA", b"BDAT")},
    **{(State.MAIL, verb): replies.NEED_RCPT for verb in (b"DATA", b"BDAT")},
    **{(state, b"MAIL"): replies.NESTED_MAIL for state in (State.MAIL, State.RCPT)},
}


class Dialogue(Machine):
    """The input side: from octets to the next event, or to a reply where no event is needed."""

    __slots__ = (
        "_buffer",
        "_chunk_is_last",
        "_chunk_size",
        "_eof",
        "_line_reader",
        "_mail_keywords",
        "_position",
        "_rcpt_keywords",
        "_tls_available",
        "auth_mechanisms",
    )

    def __init__(
        self, config: Config, *, tls_active: bool, tls_available: bool, auth_mechanisms: tuple[str, ...]
    ) -> None:
        super().__init__(config, _open_modes(config, tls_active, authenticated=False), tls_active=tls_active)
        self._tls_available = tls_available
        self.auth_mechanisms = auth_mechanisms
        """The SASL mechanisms to offer from the next EHLO on. May be set again, as TLS makes more of them possible."""
        self._mail_keywords: frozenset[bytes] = frozenset()  # the parameters that the last EHLO unlocked
        self._rcpt_keywords: frozenset[bytes] = frozenset()
        self._buffer = b""
        self._position = 0  # how much of the buffer has been parsed
        self._eof = False
        self._line_reader = LineReader()
        self._chunk_size = 0  # octets of the chunk of the last BDAT
        self._chunk_is_last = True

    # Reading: each function takes one step and returns an event, the reason why there is none, or None to go on ------

    def _read_command(self) -> Event | NoEvent | None:
        buffer, position = self._buffer, self._position
        if position == len(buffer):
            return self._need_data()
        command = COMMAND.match(buffer, position)
        if command is None or self._line_reader.skipping:
            return self._read_no_command()
        end = command.end()
        length = end - position
        if length > self._limits.command_line and length > self._line_limit():
            return self._read_no_command()
        self._position = end
        verb, argument = command.groups(b"")
        actions = self._mode.actions
        action = actions.get(verb)
        if action is None:
            verb = verb.upper()
            action = actions.get(verb, Dialogue._on_other)
        try:
            self._waiting = action(self, verb, argument)
        except CommandError as error:
            self._refuse_command(verb, argument, error.reply)
        return self._waiting

    def _read_transaction(self) -> Event | NoEvent | None:
        """Accept RCPT commands in their usual form, up to the next that becomes an event; then read another command.

        If each went through the tables and functions below, a message to a hundred recipients would take twice as long.
        """
        command = PLAIN_RCPT.match(self._buffer, self._position) if RcptTo in self.auto_accept else None
        if command is not None and not self._line_reader.skipping:
            envelope = self.envelope
            assert envelope is not None  # the tables of states.py: there is a transaction
            recipients = envelope.recipients
            before = count = len(recipients)
            most = min(before | (_BURST - 1), self._limits.recipients)
            while command is not None and count < most:
                local_part, domain = command.groups()
                recipients.append(Address(local_part.decode(), domain.decode()))
                count += 1
                self._position = command.end()
                command = PLAIN_RCPT.match(self._buffer, self._position)
            accepted = count - before
            envelope.recipient_params.extend([NO_RCPT_PARAMETERS] * accepted)
            self._out.extend([replies.RECIPIENT_OK.wire] * accepted)
            if self._config.lmtp:
                self._due += accepted
            self._mode = self._mode.after[_RCPT]
        return self._read_command()

    def _read_no_command(self) -> NoEvent | None:
        """Read a part of a line, or a line that cannot be a command."""
        if self._buffer.startswith(_TLS_HANDSHAKE, self._position) and not self._line_reader.skipping:
            self._not_smtp()
            return None
        line, self._position = self._line_reader.next_line(self._buffer, self._position, self._line_limit())
        if line is None:
            return self._need_data()
        if line is LineReader.TOO_LONG:
            self._refuse_command(b"", b"", replies.LINE_TOO_LONG)
        elif line is LineReader.OVER:
            pass  # it was refused at its LF
        elif line is LineReader.BARE_LF or b"\r" in line:
            self._refuse_command(b"", b"", replies.BARE_NEWLINE_IN_COMMAND)
        else:
            self._refuse_command(b"", b"", replies.UNKNOWN_COMMAND)
        return None

    def _refuse_command(self, verb: bytes, argument: bytes, reply: Reply) -> None:
        known = verb if verb in VERBS else b""
        if verb in (b"MAIL", b"RCPT") and b"@" in argument:
            known += b" " + argument[:_NOTED]
        self.refused = (*self.refused[1 - _MOST_NOTED :], (known.decode("utf-8", "replace"), reply))
        self._refuse(reply)

    def _line_limit(self) -> int:
        """The most octets of the next line: one with AUTH may be as long as a response, because of tokens."""
        is_auth = self._buffer[self._position : self._position + 5].upper() == b"AUTH " and self.auth_mechanisms
        return max(self._limits.command_line, self._limits.auth_line) if is_auth else self._limits.command_line

    def _read_body(self, reader: DotReader | ChunkReader) -> Event | NoEvent | None:
        limit = self._limits.message_size
        if self._size > limit * OVERSIZE_FACTOR:
            self._hang_up(replies.MESSAGE_TOO_BIG, CloseReason.OVERSIZE)
            return None
        if reader.done:
            return self._end_body()
        if self._position == len(self._buffer):
            return self._need_data()
        content, self._position = reader.feed(self._buffer, self._position)
        room = limit - self._size
        self._size += len(content)
        if self._refusal is not None:
            return None
        if len(content) > room or reader.fault is not None:
            if reader.fault is None or room <= reader.fault:
                content = content[:room]
                refusal, reason = replies.MESSAGE_TOO_BIG, AbortReason.SIZE
            else:
                content = content[: reader.fault]
                refusal, reason = replies.BARE_NEWLINE_IN_BODY, AbortReason.BARE_NEWLINE
            if content:  # what came before the fault
                self._queue.append(MessageChunk(content))
            self._abort(reason)
            self._swallow(refusal)
            return None
        return MessageChunk(content) if content else None

    def _end_body(self) -> Event | None:
        is_data = type(self._reader) is DotReader
        last = is_data or self._chunk_is_last
        refusal = self._refusal
        self._reader = self._refusal = None
        if refusal is None:
            if last:
                self._waiting = MessageEnd(self._size)
            else:
                self._out.append(replies.CHUNK_OK.wire)
            return self._waiting
        if not is_data and b"BDAT" not in self._mode.actions:  # BDAT out of sequence
            self._refuse(refusal)
        elif last:
            self._end_message([refusal] * self._due)
        else:
            self._advance(Trigger.CHUNK_REFUSED)
            self._refuse(refusal)
        return None

    def _read_response(self) -> Event | NoEvent | None:
        line, self._position = self._line_reader.next_line(self._buffer, self._position, self._limits.auth_line)
        if line is None:
            return self._need_data()
        if line is LineReader.TOO_LONG:
            self._abort_auth("line too long", replies.AUTH_LINE_TOO_LONG)
        elif line == b"*":
            self._abort_auth("cancelled", replies.AUTH_CANCELLED)
        else:
            try:
                self._waiting = AuthResponse(decode_base64(line))
            except CommandError as error:
                self._abort_auth("not base64", error.reply)
        return self._waiting

    def _read_nothing(self) -> NoEvent | None:  # before the greeting, and while TLS is negotiated
        return self._need_data() if self._eof else PAUSED

    def _read_no_more(self) -> Event:
        self._buffer = b""
        self._position = 0
        assert self._closed is not None  # `_end_connection` has set it
        return self._closed

    def _need_data(self) -> NoEvent | None:
        if self._eof:
            self._end_connection(CloseReason.EOF)
            return None
        if self._position:
            self._buffer = self._buffer[self._position :]
            self._position = 0
        return NEED_DATA

    # Commands, by the tables of states.py: each returns the event that then waits for its verdict, or None if it has
    # been answered here -------------------------------------------------------------------------------------------

    def _on_mail(self, verb: bytes, argument: bytes) -> Event | None:
        if self._transactions >= self._limits.transactions:
            self._hang_up(replies.TOO_MANY_TRANSACTIONS, CloseReason.TRANSACTIONS)
            return None
        event = parse_mail(argument, self._mail_keywords, loose=self._config.loose_paths)
        params = event.params
        if params.size is not None and params.size > self._limits.message_size:
            raise CommandError(replies.MESSAGE_TOO_BIG)  # RFC 1870 §6.1
        if params.body == "BINARYMIME" and "BINARYMIME" in self._config.without:  # 8BITMIME has unlocked BODY
            raise CommandError(replies.UNKNOWN_PARAMETER)
        if MailFrom in self.auto_accept:
            self._accept_mail(event, None)
            return None
        return event

    def _on_rcpt(self, verb: bytes, argument: bytes) -> Event | None:
        envelope = self.envelope
        assert envelope is not None  # the tables let RCPT through inside a transaction only
        loose = self._config.loose_paths
        event = parse_rcpt(argument, self._rcpt_keywords, smtputf8=envelope.params.smtputf8, loose=loose)
        before = len(envelope.recipients)
        if before >= self._limits.recipients:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)  # 452, no error to count: the client sends the rest later
        if RcptTo in self.auto_accept and (before + 1) % _BURST:
            self._accept_rcpt(event, None)
            return None
        return event

    def _on_data(self, verb: bytes, argument: bytes) -> Event | None:
        envelope = self.envelope
        assert envelope is not None
        if argument:
            raise CommandError(replies.NO_ARGUMENT_ALLOWED)
        if envelope.params.body == "BINARYMIME":
            raise CommandError(replies.BINARYMIME_NEEDS_BDAT)  # RFC 3030 §3
        return MessageStart(False, envelope.params.size)

    def _on_bdat(self, verb: bytes, argument: bytes) -> Event | None:
        if not self._read_chunk_size(argument):
            return None
        if not self._chunk_size and not self._chunk_is_last and self._is_junk_too_much():  # no other limit stops these
            return None
        envelope = self.envelope
        first = self._mode.state is State.RCPT
        if first:
            self._size = 0
        if self._size + self._chunk_size > self._limits.message_size:
            self._abort(AbortReason.SIZE)
            self._swallow(replies.MESSAGE_TOO_BIG)
        elif first and envelope is not None:
            return MessageStart(True, envelope.params.size)
        self._reader = ChunkReader(self._chunk_size)
        return None

    def _read_chunk_size(self, argument: bytes) -> bool:
        """Read the argument of BDAT; return whether the connection goes on."""
        try:
            self._chunk_size, self._chunk_is_last = parse_bdat(argument)
        except CommandError as error:  # where the next command begins cannot be known
            self._hang_up(error.reply, CloseReason.FRAMING)
            return False
        if self._chunk_size > self._limits.message_size * OVERSIZE_FACTOR:
            self._hang_up(replies.MESSAGE_TOO_BIG, CloseReason.OVERSIZE)
            return False
        return True

    def _on_hello(self, verb: bytes, argument: bytes) -> Event | None:
        if self._is_junk_too_much(spare=self.hello is None):
            return None
        event = parse_hello(verb, argument)
        if Hello in self.auto_accept:
            self._accept_hello(event, None)
            return None
        return event

    def _accept_hello(self, event: Hello, reply: Reply | None) -> None:
        """Answer with the extensions that are offered now, and end the open transaction."""
        extended = event.verb != "HELO"
        offered = offer(Situation(self._config, extended, self.tls_active, self._tls_available, self.auth_mechanisms))
        answer = offered.reply
        if reply is not None:  # its text becomes the greeting of the first line (RFC 5321 §4.1.1.1)
            try:
                answer = Reply(250, (f"{answer.lines[0]} {reply.lines[0]}", *answer.lines[1:]), "")
            except ValueError:
                raise LocalProtocolError("the text is too long to follow the host name in the reply") from None
        if self.hello is None:
            self.junk_count -= 1  # every session needs one, and one more after STARTTLS
        self.hello = event
        self._mail_keywords, self._rcpt_keywords = offered.mail, offered.rcpt
        self._out.append(answer.wire)
        self._abort(AbortReason.HELLO)  # RFC 5321 §4.1.4
        self._refusal = None
        self._advance(Trigger.HELLO)

    def _on_rset(self, verb: bytes, argument: bytes) -> Event | None:
        if self._is_junk_too_much():
            return None
        if argument:
            raise CommandError(replies.NO_ARGUMENT_ALLOWED)
        self._abort(AbortReason.RSET)
        self._refusal = None
        if self._mode.state in _TRANSACTION_STATES:
            self._advance(Trigger.END)
        self._out.append(replies.OK.wire)
        return None

    def _on_noop(self, verb: bytes, argument: bytes) -> Event | None:
        if not self._is_junk_too_much():
            refuse_controls(argument)
            self._out.append(replies.OK.wire)
        return None

    def _on_help(self, verb: bytes, argument: bytes) -> Event | None:
        if not self._is_junk_too_much():
            refuse_controls(argument)
            self._out.append((replies.HELP_LMTP if self._config.lmtp else replies.HELP).wire)
        return None

    def _on_vrfy(self, verb: bytes, argument: bytes) -> Event | None:
        if self._is_junk_too_much():
            return None
        event = parse_verify(argument)
        if self._config.verify:
            return event
        self._out.append(replies.CANNOT_VERIFY.wire)
        return None

    def _on_expn(self, verb: bytes, argument: bytes) -> Event | None:
        if not self._is_junk_too_much():
            raise CommandError(replies.NOT_IMPLEMENTED)
        return None

    def _on_quit(self, verb: bytes, argument: bytes) -> Event | None:
        if argument:
            raise CommandError(replies.NO_ARGUMENT_ALLOWED)
        self._out.append(replies.BYE.wire)
        self._end_connection(CloseReason.QUIT)
        return None

    def _on_starttls(self, verb: bytes, argument: bytes) -> Event | None:
        if argument:
            raise CommandError(replies.NO_ARGUMENT_ALLOWED)  # RFC 3207 §4
        if self.tls_active:
            raise CommandError(replies.TLS_ACTIVE)
        if not self._tls_available:
            raise CommandError(replies.NOT_IMPLEMENTED)
        return StartTLS()

    def _on_auth(self, verb: bytes, argument: bytes) -> Event | None:
        if not self.auth_mechanisms:
            raise CommandError(replies.NOT_IMPLEMENTED)
        if self.authenticated:
            raise CommandError(replies.OUT_OF_SEQUENCE)  # RFC 4954 §4
        if self._config.auth_requires_tls and not self.tls_active:
            raise CommandError(replies.ENCRYPTION_REQUIRED)
        event = parse_auth(argument)
        if event.mechanism not in self.auth_mechanisms:
            raise CommandError(replies.UNKNOWN_MECHANISM)
        return event

    def _on_other(self, verb: bytes, argument: bytes) -> Event | None:
        """A command that is not taken at this point, or that does not exist."""
        if verb in (_LMTP_ACTIONS if self._config.lmtp else _SMTP_ACTIONS):
            reply = self._what_comes_first(verb)
            if verb != b"BDAT":
                raise CommandError(reply)
            if self._read_chunk_size(argument):  # the client sends the chunk whatever the state (RFC 3030 §2)
                self._size = 0
                self._reader = ChunkReader(self._chunk_size)
                self._refusal = reply
            return None
        if verb in _HTTP_VERBS:
            self._not_smtp()
            return None
        raise CommandError(_OF_ANOTHER_PROTOCOL.get(verb, replies.UNKNOWN_COMMAND))

    def _what_comes_first(self, verb: bytes) -> Reply:
        """Why this known command is not taken now: EHLO must come first, then TLS and a login if they are required."""
        config = self._config
        if verb == b"BDAT" and "CHUNKING" in config.without:
            return replies.NOT_IMPLEMENTED
        hint = _SEQUENCE_HINTS.get((self._mode.state, verb), replies.OUT_OF_SEQUENCE)
        if hint is replies.NEED_HELLO:
            return hint
        if config.tls_required and not self.tls_active and verb not in _BEFORE_TLS:
            return replies.STARTTLS_REQUIRED
        if config.auth_required and not self.authenticated and verb not in _BEFORE_LOGIN:
            starttls = config.auth_requires_tls and self._tls_available and not self.tls_active
            return replies.STARTTLS_REQUIRED if starttls else replies.AUTH_REQUIRED
        return hint

    def _open_up(self) -> None:
        """Take the commands that need not wait any more, after TLS has begun or the client has logged in."""
        self._modes = _open_modes(self._config, self.tls_active, authenticated=self.authenticated)
        self._mode = self._modes[self._mode.state]

    def _abort_auth(self, reason: Literal["cancelled", "not base64", "line too long"], reply: Reply) -> None:
        self._queue.append(AuthAborted(reason))
        self._advance(Trigger.AUTH_END)
        self._refuse(reply)

    def _is_junk_too_much(self, *, spare: bool = False) -> bool:
        """Count a junk command; `spare`: it is no junk if it is accepted."""
        self.junk_count += 1
        if self.junk_count < self._limits.junk_commands + spare:
            return False
        self._hang_up(replies.TOO_MANY_COMMANDS, CloseReason.JUNK)
        return True

    def _not_smtp(self) -> None:
        self._hang_up(replies.NOT_SMTP, CloseReason.NOT_SMTP)


# The tables of states.py with the functions above -------------------------------------------------------------------

_Action: TypeAlias = Callable[[Dialogue, bytes, bytes], Event | None]
_Read: TypeAlias = Callable[[Dialogue], Event | NoEvent | None]

_SMTP_ACTIONS: Final[dict[bytes, _Action]] = {
    b"HELO": Dialogue._on_hello,
    b"EHLO": Dialogue._on_hello,
    b"MAIL": Dialogue._on_mail,
    b"RCPT": Dialogue._on_rcpt,
    b"DATA": Dialogue._on_data,
    b"BDAT": Dialogue._on_bdat,
    b"RSET": Dialogue._on_rset,
    b"NOOP": Dialogue._on_noop,
    b"QUIT": Dialogue._on_quit,
    b"HELP": Dialogue._on_help,
    b"VRFY": Dialogue._on_vrfy,
    b"EXPN": Dialogue._on_expn,
    b"AUTH": Dialogue._on_auth,
    b"STARTTLS": Dialogue._on_starttls,
}
_LMTP_ACTIONS: Final[dict[bytes, _Action]] = {  # RFC 2033 §4.1: LHLO in the place of HELO and EHLO
    b"LHLO": Dialogue._on_hello,
    **{verb: action for verb, action in _SMTP_ACTIONS.items() if verb not in (b"HELO", b"EHLO")},
}
_READS: Final[dict[State, _Read]] = {
    State.CONNECTED: Dialogue._read_nothing,
    State.MAIL: Dialogue._read_transaction,
    State.RCPT: Dialogue._read_transaction,
    State.AUTH: Dialogue._read_response,
    State.TLS: Dialogue._read_nothing,
    State.CLOSED: Dialogue._read_no_more,
}


def _modes(actions: dict[bytes, _Action]) -> dict[State, Mode]:
    """The tables of states.py for these commands."""
    modes = {
        state: Mode(
            state,
            {verb: action for verb, action in actions.items() if verb in verbs},
            _READS.get(state, Dialogue._read_command),
        )
        for state, verbs in COMMANDS.items()
    }
    for state, mode in modes.items():
        mode.after.update((trigger, modes[after]) for trigger, after in TRANSITIONS[state].items())
    return modes


_MODES: Final = {
    (lmtp, taken): _modes({verb: action for verb, action in actions.items() if verb in taken})
    for lmtp, actions in ((False, _SMTP_ACTIONS), (True, _LMTP_ACTIONS))
    for taken in (VERBS, _WITHOUT_CHUNKING, _BEFORE_LOGIN, _BEFORE_TLS)
}


def _open_modes(config: Config, tls_active: bool, *, authenticated: bool) -> dict[State, Mode]:
    """The tables with the commands that do not have to wait for TLS or a login."""
    taken = _WITHOUT_CHUNKING if "CHUNKING" in config.without else VERBS
    if config.tls_required and not tls_active:
        taken = _BEFORE_TLS
    elif config.auth_required and not authenticated:
        taken = _BEFORE_LOGIN
    return _MODES[config.lmtp, taken]
