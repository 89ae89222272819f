"""Target: the readers. However the input is cut, they must find what a simple search of the whole input finds."""

from __future__ import annotations

import re

from fuzz.cuts import CUTS
from trio_smtp.protocol.readers import ChunkReader, DotReader, LineReader


def readers(data: bytes) -> None:
    """Read a stream. The first octet is the length limit and the chunk size; the rest is the stream."""
    limit, stream = data[0] if data else 0, data[1:]
    for cut in CUTS.values():
        pieces = cut(stream)
        assert read_lines(pieces, limit) == expected_lines(stream, limit), cut
        for before in (b"", b"DATA\r\n"):
            assert read_body(pieces, before) == expected_body(stream), (cut, before)
        chunk = ChunkReader(limit)
        assert feed_all(chunk, pieces) == (stream[:limit], len(stream[:limit]), None), cut
        assert chunk.done is (len(stream) >= limit)


def read_lines(pieces: list[bytes], limit: int) -> list[bytes]:
    reader, buffer, lines = LineReader(), b"", list[bytes]()
    for piece in pieces:
        buffer += piece
        line: bytes | None = b""
        position = 0
        while line is not None:
            line, position = reader.next_line(buffer, position, limit)
            if line is not None and line is not LineReader.OVER:
                lines.append(line)
        buffer = buffer[position:]
        assert len(buffer) < max(limit, 2)
    return lines


def expected_lines(stream: bytes, limit: int) -> list[bytes]:
    *lines, rest = stream.split(b"\r\n")
    found = [
        LineReader.BARE_LF if b"\n" in line[:limit] else line if len(line) + 2 <= limit else LineReader.TOO_LONG
        for line in lines
    ]
    return [*found, LineReader.BARE_LF] if b"\n" in rest[:limit] else found


def read_body(pieces: list[bytes], before: bytes) -> tuple[bytes, int, int | None]:
    """Read a body. With `before` the whole input stays in the buffer, otherwise each piece is dropped after reading."""
    reader = DotReader(check_newlines=True)
    if not before:
        return feed_all(reader, pieces)
    content, buffer, position, fault = b"", before, len(before), None
    for piece in pieces:
        buffer += piece
        if not reader.done:
            more, position = reader.feed(buffer, position)
            if fault is None and reader.fault is not None:
                fault = len(content) + reader.fault
            content += more
    return content, position - len(before), fault


def feed_all(reader: DotReader | ChunkReader, pieces: list[bytes]) -> tuple[bytes, int, int | None]:
    """The content, the number of octets read, and the position of the first bare CR or LF in the content."""
    content, read, fault = b"", 0, None
    for piece in pieces:
        if not reader.done:
            more, position = reader.feed(piece, 0)
            if fault is None and reader.fault is not None:
                fault = len(content) + reader.fault
            content += more
            read += position
    return content, read, fault


def expected_body(stream: bytes) -> tuple[bytes, int, int | None]:
    """The result by RFC 5321 §4.5.2, for the whole input."""
    lines = stream.split(b"\r\n")
    done = b"." in lines[:-1]
    if done:
        lines = [*lines[: lines.index(b".")], b""]
        read = len(b"\r\n".join(lines)) + len(b".\r\n")
    else:
        read = len(stream)
        last = lines[-1]
        if last in (b".", b".\r"):  # this may be the beginning of the end
            lines[-1] = b""
        elif last.endswith(b"\r"):
            lines[-1] = last[:-1]
    content = b"\r\n".join(line.removeprefix(b".") for line in lines)
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    return content, read, bare.start() if bare else None
