"""A connection with a transcript of its lines, to find out why a client and the server do not understand each other.

People read transcripts and may keep them, so they have neither secrets nor mail: of a login they show the mechanism, of
a message how many octets it has. A client may send its password where a command or an address is expected, if it speaks
another protocol or is out of step in a login. So of a line that is not a command, the transcript shows the first word
at most; after an AUTH, or after a bad line that may have hidden one, it shows nothing of such a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from trio_smtp.protocol.config import Config
from trio_smtp.protocol.connection import SMTPConnection
from trio_smtp.protocol.events import Event, NoEvent
from trio_smtp.protocol.states import VERBS, State

__all__ = ["TranscribedConnection"]

_CLIENT: Final = "C"
_SERVER: Final = "S"
_LONGEST: Final = 1000  # octets; longer lines are not shown
_LINE: Final = re.compile(rb"(?s:.*?\r\n|.++)")  # with its CRLF, unless it was given up before that
_NEWLINE: Final = re.compile(rb"[\r\n]")
_WORD: Final = re.compile(rb"[A-Za-z]++")
# What is shown of AUTH: if the word that follows is none of these mechanisms, it may be the password.
_LOGIN: Final = re.compile(
    rb"AUTH(?: +(?:PLAIN|LOGIN|EXTERNAL|OAUTHBEARER|XOAUTH2|SCRAM-SHA-[0-9A-Z-]+|CRAM-MD5|DIGEST-MD5|NTLM|GSSAPI)"
    rb"(?= |\Z))?",
    re.IGNORECASE,
)
_PATH: Final = re.compile(rb"@|<>|<postmaster>", re.IGNORECASE)  # a MAIL or RCPT is shown only with one of these


class TranscribedConnection(SMTPConnection):
    """An `SMTPConnection` that passes each line to `write`, and is the same otherwise.

    Square brackets stand for what was left out: ``[1024 octets of a message]``.

    Args:
        config, tls_active, tls_available, auth_mechanisms: see `SMTPConnection`.
        write: called with ``"C"`` for a line from the client or ``"S"`` for one to the client, and the line without its
            CRLF, when it is read or handed out to be sent.
    """

    __slots__ = ("_may_be_secret", "_octets", "_write")

    def __init__(
        self,
        config: Config,
        *,
        tls_active: bool = False,
        tls_available: bool = False,
        auth_mechanisms: Sequence[str] = (),
        write: Callable[[str, bytes], None],
    ) -> None:
        super().__init__(config, tls_active=tls_active, tls_available=tls_available, auth_mechanisms=auth_mechanisms)
        self._write = write
        self._octets = 0  # of the message so far
        self._may_be_secret = False  # whether a line that is not a command may hold a password

    def next_event(self) -> Event | NoEvent:
        """See `SMTPConnection.next_event`."""
        while not self._queue and self._waiting is None:
            buffer, start, reader = self._buffer, self._position, self._reader
            state, is_rest = self._mode.state, self._line_reader.skipping
            event = self._mode.read(self) if reader is None else self._read_body(reader)
            # Parsing may cut octets off the front of `_buffer`; counted from its end, `_position` is still right.
            end = len(buffer) - len(self._buffer) + self._position
            if reader is not None:
                self._octets += end - start
                if self._reader is None:
                    self._leave_out(self._octets, "of a message")
                    self._octets = 0
            elif end > start and state is not State.CLOSED:
                for line in _LINE.findall(buffer[start:end]):
                    self._note(line, state, is_rest=is_rest)
            if event is not None:
                return event
        return super().next_event()

    def data_to_send(self) -> bytes:
        """See `SMTPConnection.data_to_send`."""
        data = super().data_to_send()
        for line in data.splitlines():
            self._write(_SERVER, line)
        return data

    def tls_established(self) -> None:
        """See `SMTPConnection.tls_established`."""
        super().tls_established()
        self._write(_CLIENT, b"[TLS]")

    def _note(self, octets: bytes, state: State, *, is_rest: bool) -> None:
        """Write what was read where a command or a response is expected; `is_rest`: of a line that was given up."""
        line = octets.removesuffix(b"\r\n")
        word = _WORD.match(line)
        verb = b"" if word is None else word[0].upper()
        if state is State.AUTH:
            self._leave_out(len(line), "of a login")
        elif is_rest or len(line) > _LONGEST or _NEWLINE.search(line):
            self._may_be_secret = True
            self._leave_out(len(octets), "of a bad line")
        elif login := _LOGIN.match(line):
            self._may_be_secret = True
            self._write(_CLIENT, login[0] + (b"" if login.end() == len(line) else b" [...]"))
        elif verb in VERBS and (verb not in (b"MAIL", b"RCPT") or _PATH.search(line)):
            self._write(_CLIENT, line)
        elif verb in VERBS or (verb and not self._may_be_secret):
            self._write(_CLIENT, verb + b" [...]")
        else:
            self._leave_out(len(line), "that are no command")

    def _leave_out(self, octets: int, what: str) -> None:
        self._write(_CLIENT, f"[{octets} octets {what}]".encode())
