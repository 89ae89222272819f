r"""The framing of the octets of a connection: command lines, the body of DATA, the chunks of BDAT.

A reader does the framing and nothing else. It gets the input, and returns the content in it and where the next element
begins. The same reader frames a message that is being refused, whose content the connection then drops, so a refusal
cannot lose the place. How the input is split never shows in the content: octets that cannot be interpreted yet are held
back, at most two of a body or one unfinished line.

Only CRLF ends a line and only CRLF.CRLF ends DATA (RFC 5321 §2.3.8, §4.1.1.4); the CRLF of the DATA line itself counts,
so a body may begin with the final dot.
"""

from __future__ import annotations

import io
import re
from typing import Final

__all__ = ["ChunkReader", "DotReader", "LineReader", "first_bare_newline"]

# Of the standard library's ways to find a short string, the search of a compiled literal is the fastest (20 us for
# 64 KiB of mail; bytes.find 27, bytes.replace 80).
_DOT_LINE: Final = re.compile(rb"\r\n\.")
_DOT_LINE_OR_END: Final = re.compile(rb"\r\n\.(\r\n)?")
_END_OF_DATA: Final = re.compile(rb"\r\n\.\r\n")
_BARE_NEWLINE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")  # slow, because of the lookbehind
_UNDECIDED: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # the prefixes of the end of data, longest first


def first_bare_newline(content: bytes) -> int | None:
    """The offset of the first CR or LF in `content` that is not part of a CRLF; None if there is none."""
    # The decoder for universal newlines tells which kinds of newline it has seen, in one pass and at the same speed for
    # all lengths of lines. With the methods of bytes, every way takes several passes, and is three times slower in one
    # build of Python or for short lines.
    universal = io.IncrementalNewlineDecoder(None, translate=False)
    universal.decode(content.decode("latin-1"), final=True)
    if universal.newlines == "\r\n" or universal.newlines is None:
        return None
    fault = _BARE_NEWLINE.search(content)
    assert fault is not None
    return fault.start()


class LineReader:
    """Finds command lines and skips the rest of those that are too long (RFC 5321 §4.5.3.1.4) or have a bare LF.

    A bare LF is reported at once: a client that ends its lines with LF would otherwise wait for a reply for ever. But
    it does not end the line, as a command could hide behind it (RFC 5321 §2.3.8): the input is skipped to the next
    CRLF.
    """

    __slots__ = ("_told", "skipping")

    TOO_LONG: Final = b"\r\n"  # a value that no line can have
    """Returned for a line over the limit, once its end has arrived."""
    BARE_LF: Final = b"\n"  # a value that no line can have
    """Returned for a line with an LF within the limit, as soon as the LF has arrived."""
    OVER: Final = b"\r\n\n"  # a value that no line can have
    """Returned for the end of a line that was reported as `BARE_LF`, if it arrives later."""

    def __init__(self) -> None:
        self.skipping = False
        """Whether the next octets are the rest of a line that was given up."""
        self._told = False  # whether that line has been reported, as `BARE_LF`

    def next_line(self, data: bytes, start: int, limit: int) -> tuple[bytes | None, int]:
        """The line that begins at `start`, without its CRLF, and where the next one begins.

        The line is None if its end has not arrived; octets that need not be kept are skipped then. `limit` includes the
        CRLF.
        """
        end = data.find(b"\r\n", start)
        is_whole = end >= 0
        behind = end + 2 if is_whole else len(data) - data.endswith(b"\r", start)
        if self.skipping:
            self.skipping = not is_whole
            return (self.OVER if self._told else self.TOO_LONG) if is_whole else None, behind
        if data.find(b"\n", start, min(start + limit, end if is_whole else behind)) >= 0:
            self.skipping = self._told = not is_whole
            return self.BARE_LF, behind
        if is_whole:
            return data[start:end] if behind - start <= limit else self.TOO_LONG, behind
        if len(data) - start < limit:
            return None, start
        self.skipping, self._told = True, False
        return None, behind


class DotReader:
    """The body of DATA: finds its end and removes the dot-stuffing (RFC 5321 §4.5.2).

    Args:
        check_newlines: look for a bare CR or LF. The offset of the first one in the content that `feed` just returned
            is then in `fault` (None before), and no further check is made.

    `done` becomes true with the end of data.
    """

    __slots__ = ("_check_newlines", "_tail", "done", "fault")

    def __init__(self, *, check_newlines: bool) -> None:
        self._check_newlines = check_newlines
        self._tail = b"\r\n"  # the octets of a possible end of data that were seen so far; the DATA line ended in CRLF
        self.fault: int | None = None
        self.done = False

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """The content in `data[start:]`, and where reading stopped: behind the end of data, or at the end of `data`."""
        tail = self._tail
        shift = 0  # by how much offsets in `data` are ahead of those of the caller
        skip = start  # the content before this offset has been returned
        if tail and (tail != b"\r\n" or data.startswith(b".", start)):  # else the tail does not matter any more
            before = start - len(tail)
            if before >= 0 and data.startswith(tail, before):
                start = before  # the tail is still in front of it, as after a DATA line in a pipelined burst
            else:
                data = tail + data[start:]
                shift = -before
                start = 0
            skip = start + (2 if len(tail) > 1 else 0)  # a CRLF has been returned, a CR alone has not
        # Most large messages are base64, which has no dots, behind a header, which has some. Finding an octet is 20
        # times faster than finding the start of a line, so lines that begin with a dot are looked for only from the
        # first dot to the last one and its CRLF.
        dot = data.find(b".", start)  # if it begins a line, the CRLF in front of it is not before `start`
        end = special = None if dot < 0 else _DOT_LINE_OR_END.search(data, dot - 2, data.rfind(b".") + 3)
        if special is not None and special.lastindex is None:
            end = _END_OF_DATA.search(data, special.start())
        plain = end is special  # there is no dot to remove
        if end is not None:
            self.done = True
            position = end.end()
            content = data[skip if plain else start : end.start() + 2]
        else:
            content, position = self._undecided(data, skip if plain else start)
        if not plain:
            content = b"\r\n".join(_DOT_LINE.split(content))
            if skip > start:
                content = content[skip - start :]
        if self._check_newlines:
            self.fault = first_bare_newline(content)
            self._check_newlines = self.fault is None
        return content, position - shift

    def _undecided(self, data: bytes, start: int) -> tuple[bytes, int]:
        """All of `data[start:]` but octets that may be part of the end of data, which are remembered."""
        stop = len(data)
        for tail in _UNDECIDED:
            if data.endswith(tail):
                self._tail = tail
                # Its CRLF is content in any case and is returned at once; a lone CR, or the dot and a CR, is held back.
                stop -= len(tail) - 2 if len(tail) > 1 else 1
                break
        else:
            self._tail = b""
        return data[start:stop] if start or stop < len(data) else data, len(data)


class ChunkReader:
    """A BDAT chunk: `size` octets of anything (RFC 3030 §2). `done` becomes true with the last of them."""

    __slots__ = ("_missing", "done")

    fault: Final = None  # BDAT counts octets, so newlines are not checked

    def __init__(self, size: int) -> None:
        self._missing = size
        self.done = size == 0

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """As `DotReader.feed`."""
        stop = min(len(data), start + self._missing)
        self._missing -= stop - start
        self.done = self._missing == 0
        return data[start:stop], stop
