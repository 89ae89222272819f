"""A session from the client's point of view, which knows only what was sent and what came back.

Each line gets one reply. In addition a message gets one, in LMTP one for each recipient (RFC 5321 §4.1.1.4, RFC 2033
§4.2, RFC 3030 §2). If the client and the server count differently, they are out of step.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_HELLO = (b"HELO", b"EHLO", b"LHLO")
_LINE = re.compile(rb"([2-5][0-9]{2})([ -])([\t -~]*)\r\n")
_ENHANCED = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?: |\Z)")
_BDAT = re.compile(rb"BDAT ([0-9]{1,20})( +LAST)? *", re.IGNORECASE)


class Response(NamedTuple):
    """A reply of one or more lines."""

    code: int
    lines: list[bytes]

    def check_codes(self, expected: bool) -> None:
        """Check that each line has an enhanced code, or none in the greeting and the reply to EHLO (RFC 2034 §4)."""
        for line in self.lines:
            match = _ENHANCED.match(line)
            if not expected:
                assert not match, self
            elif self.code // 100 != 3:
                assert match, self
                assert int(match[1]) == self.code // 100, self


def parse_replies(out: bytes) -> deque[Response]:
    """Split the server's output into replies (RFC 5321 §4.2)."""
    found = deque[Response]()
    lines: list[bytes] = []
    position = 0
    while position < len(out):
        match = _LINE.match(out, position)
        assert match, out[position:]
        assert len(match[0]) <= 512
        position = match.end()
        lines.append(match[3])
        if match[2] == b" ":
            found.append(Response(int(match[1]), lines))
            lines = []
    assert not lines
    return found


@dataclass
class Transaction:
    """What the server has accepted so far in a transaction."""

    sender: bool = False
    recipients: int = 0
    chunks: bytes = b""
    failed: bool = False
    """Whether a chunk was refused."""


class Client:
    """Replays a session from its input and output.

    Args:
        flights: what the client sent, split where it waited for a TLS handshake.
        out: what the server sent.
        lmtp: whether this is LMTP.
        hung_up: whether the server closed the connection. Then the last commands may be without a reply.
    """

    def __init__(self, flights: Iterable[bytes], out: bytes, *, lmtp: bool, hung_up: bool) -> None:
        self.sent = b""
        self.flight_ends: list[int] = []
        for flight in flights:
            self.sent += flight
            self.flight_ends.append(len(self.sent))
        self.position = 0
        self.replies = parse_replies(out)
        self.lmtp = lmtp
        self.hung_up = hung_up
        self.messages: list[bytes] = []
        self.transaction = Transaction()

    def read(self) -> None:
        """Read the greeting, then the session line by line."""
        self.replies.popleft().check_codes(expected=False)
        in_auth = False
        while self.replies:
            end = self.sent.find(b"\r\n", self.position)
            if end < 0:
                if b"\n" in self.sent[self.position :]:  # the server refuses a bare LF before the end of the line
                    assert self.replies.popleft().code in (500, 501, 421)
                break
            line = self.sent[self.position : end]
            verb = b"" if in_auth else line.partition(b" ")[0].upper()
            code = self.replies[0].code
            self.position = end + 2
            # A line that got 500 was not understood as a command, even if it begins with BDAT.
            if verb == b"BDAT" and code != 500:
                if not self.read_chunk(line):
                    break
                continue
            reply = self.replies.popleft()
            if verb not in _HELLO:
                reply.check_codes(expected=True)
            elif code == 250:
                reply.check_codes(expected=False)
            in_auth = code == 334
            if code == 354:
                if not self.read_data():
                    break
            else:
                self.note(verb, code)
        else:
            line, newline, rest = self.sent[self.position :].partition(b"\r\n")
            chunk = _BDAT.fullmatch(line)  # gets its reply when it is complete
            assert self.hung_up or not newline or (chunk and int(chunk[1]) > len(rest)), f"no reply to {line!r}"
        assert len(self.replies) <= self.hung_up, f"nobody asked for {self.replies}"

    def note(self, verb: bytes, code: int) -> None:
        """Update the transaction after a reply (RFC 5321 §4.1.4)."""
        if verb == b"STARTTLS" and code == 220:
            self.transaction = Transaction()
            self.position = next(end for end in self.flight_ends if end >= self.position)
        elif verb in (b"RSET", *_HELLO) and code == 250:
            self.transaction = Transaction()
        elif verb == b"MAIL" and code == 250:
            assert not self.transaction.sender, "MAIL within a transaction"
            self.transaction.sender = True
        elif verb == b"RCPT" and code < 300:
            assert self.transaction.sender, "RCPT without MAIL"
            assert not self.transaction.failed, "RCPT after a refused chunk"
            self.transaction.recipients += 1

    def read_data(self) -> bool:
        """Read the message after DATA and its replies. Return False if its end was not sent."""
        assert self.transaction.recipients, "DATA without recipients"
        assert not self.transaction.failed, "DATA after a refused chunk"
        end = self.sent.find(b"\r\n.\r\n", self.position - 2)
        if end < 0:
            return False
        content = self.sent[self.position : end + 2]
        self.messages.append(re.sub(rb"(\A|(?<=\r\n))\.", b"", content))
        self.position = end + 5
        self.read_verdicts()
        return True

    def read_chunk(self, line: bytes) -> bool:
        """Read the chunk after BDAT and its replies. Return False if it was not sent completely."""
        match = _BDAT.fullmatch(line)
        if not match:
            return False  # the size is invalid, so what follows cannot be interpreted
        size, last = int(match[1]), match[2]
        if size > len(self.sent) - self.position:
            return False
        chunk = self.sent[self.position : self.position + size]
        self.position += size
        expected = self.transaction.recipients > 0 and not self.transaction.failed
        if expected:
            self.transaction.chunks += chunk
        if expected and last:
            self.messages.append(self.transaction.chunks)
            self.read_verdicts()
        else:
            reply = self.replies.popleft()
            reply.check_codes(expected=True)
            self.transaction.failed |= expected and reply.code != 250
        return True

    def read_verdicts(self) -> None:
        for _ in range(self.transaction.recipients if self.lmtp else 1):
            if self.replies:
                self.replies.popleft().check_codes(expected=True)
            else:
                assert self.hung_up, "a recipient without a verdict"
        self.transaction = Transaction()
