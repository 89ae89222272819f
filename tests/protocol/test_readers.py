"""The readers by themselves: lines and their limit, faults, chunks. For the end of DATA see test_end_of_data."""

from __future__ import annotations

import pytest

from trio_smtp.protocol.readers import ChunkReader, DotReader, LineReader


@pytest.mark.parametrize(
    ("data", "start", "line", "position"),
    [
        (b"NOOP\r\n", 0, b"NOOP", 6),
        (b"NOOP\r\nRSET\r\n", 6, b"RSET", 12),
        (b"\r\n", 0, b"", 2),
        (b"a\rb\r\n", 0, b"a\rb", 5),
        (b"a\nb\rc\r\n", 0, LineReader.BARE_LF, 7),
        (b"\n\r\n", 0, LineReader.BARE_LF, 3),
        (b"12345678\n\r\n", 0, LineReader.BARE_LF, 11),
        (b"123456789\n\r\n", 0, LineReader.BARE_LF, 12),
        (b"1234567890\n\r\n", 0, LineReader.TOO_LONG, 13),
        (b"\r\r\n", 0, b"\r", 3),
        (b"", 0, None, 0),
        (b"NOOP", 0, None, 0),
        (b"NOOP\r", 0, None, 0),
        (b"NOOP\n", 0, LineReader.BARE_LF, 5),
        (b"NOOP\nRSET\r", 0, LineReader.BARE_LF, 9),  # the CR may be half of a CRLF
        (b"RSET\r\nNOOP\n", 6, LineReader.BARE_LF, 11),
        (b"RSET\r\nNOOP", 6, None, 6),
        (b"12345678\r\n", 0, b"12345678", 10),
        (b"123456789\r", 0, None, 9),  # the CR may be half of a CRLF
        (b"123456789012", 0, None, 12),
    ],
)
def test_line(data: bytes, start: int, line: bytes | None, position: int) -> None:
    assert LineReader().next_line(data, start, 10) == (line, position)


@pytest.mark.parametrize("data", [b"123456789\r\n", b"1234567890\n\r\n", b"x" * 99 + b"\r\n"])
def test_line_over_the_limit(data: bytes) -> None:
    reader = LineReader()
    assert reader.next_line(data + b"NOOP\r\n", 0, 10) == (LineReader.TOO_LONG, len(data))
    assert reader.next_line(data + b"NOOP\r\n", len(data), 10) == (b"NOOP", len(data) + 6)


def test_line_over_the_limit_that_comes_bit_by_bit() -> None:
    reader = LineReader()
    assert (*reader.next_line(b"12345678901\r", 0, 10), reader.skipping) == (None, 11, True)
    assert reader.next_line(b"\rNOOP\r", 0, 10) == (None, 5)
    assert reader.next_line(b"\r", 0, 10) == (None, 0)
    assert reader.next_line(b"", 0, 10) == (None, 0)
    assert (*reader.next_line(b"\r\nNOOP\r\n", 0, 10), reader.skipping) == (LineReader.TOO_LONG, 2, False)
    assert reader.next_line(b"\r\nNOOP\r\n", 2, 10) == (b"NOOP", 8)


def test_line_with_an_lf_that_comes_bit_by_bit() -> None:
    reader = LineReader()
    assert reader.next_line(b"NOOP", 0, 10) == (None, 0)
    assert (*reader.next_line(b"NOOP\n", 0, 10), reader.skipping) == (LineReader.BARE_LF, 5, True)
    assert reader.next_line(b"RSET\n" + b"x" * 20 + b"\r", 0, 10) == (None, 25)
    assert reader.next_line(b"\rQUIT\n\r", 0, 10) == (None, 6)
    assert (*reader.next_line(b"\r\nNOOP\r\n", 0, 10), reader.skipping) == (LineReader.OVER, 2, False)
    assert reader.next_line(b"\r\nNOOP\r\n", 2, 10) == (b"NOOP", 8)
    assert reader.next_line(b"x" * 10, 0, 10) == (None, 10)
    assert reader.next_line(b"\r\n", 0, 10) == (LineReader.TOO_LONG, 2)


@pytest.mark.parametrize("mark", [LineReader.TOO_LONG, LineReader.BARE_LF, LineReader.OVER])
def test_no_line_can_be_taken_for_a_mark(mark: bytes) -> None:
    assert b"\n" in mark, "which no line holds"


@pytest.mark.parametrize(
    ("pieces", "content", "faults"),
    [
        ([b"ab\r\n.\r\n"], b"ab\r\n", [None]),
        ([b"a\rb\r\n.\r\n"], b"a\rb\r\n", [1]),
        ([b"a\nb\r\n.\r\n"], b"a\nb\r\n", [1]),
        ([b"\nb\r\n.\r\n"], b"\nb\r\n", [0]),
        ([b".\rb\r\n.\r\n"], b"\rb\r\n", [0]),  # offsets are those in the content, without the dot
        ([b"..\n\r\n.\r\n"], b".\n\r\n", [1]),
        ([b"\rx\n\r\n.\r\n"], b"\rx\n\r\n", [0]),  # a bare CR, then a bare LF
        ([b"a\r", b"b\r\n.\r\n"], b"a\rb\r\n", [None, 0]),
        ([b"a\r", b"\nb\r\n.\r\n"], b"a\r\nb\r\n", [None, None]),
        ([b"a\r\n", b"\nb\r\n.\r\n"], b"a\r\n\nb\r\n", [None, 0]),
        ([b"a\r\n.", b"\rb\r\n.\r\n"], b"a\r\n\rb\r\n", [None, 0]),
        ([b"a\nb", b"\nc\r\n.\r\n"], b"a\nb\nc\r\n", [1, 1]),  # only the first fault is reported
        ([b"a\r\n.\r", b"\r\n.\r\n"], b"a\r\n\r\r\n", [None, 0]),
    ],
)
def test_faults(pieces: list[bytes], content: bytes, faults: list[int | None]) -> None:
    reader = DotReader(check_newlines=True)
    found = b""
    for piece, fault in zip(pieces, faults, strict=True):
        part, stop = reader.feed(piece, 0)
        found += part
        assert (stop, reader.fault) == (len(piece), fault)
    assert (found, reader.done) == (content, True)


def test_what_needs_no_change_is_not_copied() -> None:
    piece = b"x" * 1000
    reader = DotReader(check_newlines=True)
    reader.feed(b"begun", 0)
    content, _ = reader.feed(piece, 0)
    assert content is piece


def test_chunk() -> None:
    reader = ChunkReader(5)
    assert (*reader.feed(b"BDAT 5\r\nab", 8), reader.done) == (b"ab", 10, False)
    assert (*reader.feed(b"\r\n.\r\n", 0), reader.done) == (b"\r\n.", 3, True)
    assert ChunkReader(0).done


def test_what_stands_before_is_not_always_the_line_of_data() -> None:
    reader = DotReader(check_newlines=True)
    assert (*reader.feed(b"NOOP.\r\n", 4), reader.done) == (b"", 7, True)
