r"""The end of DATA, for every string of CR, LF, dot, NUL and x of up to six octets, at and after the start of a line.

The oracle works line by line, as in RFC 5321 §4.1.1.4 and §4.5.2: the text is split at each CRLF; a line that is a
single dot is the end; any other line loses its first dot.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.protocol.dialogue import AT_DATA, AT_READY, Player
from trio_smtp.protocol import (
    AbortReason,
    Config,
    Limits,
    MessageChunk,
    MessageEnd,
    TransactionAborted,
    replies,
)
from trio_smtp.protocol.readers import DotReader

pytestmark = pytest.mark.hypothesis  # not Hypothesis, but a long search too, which the coverage run leaves out

STRINGS = [bytes(octets) for length in range(1, 7) for octets in itertools.product(b"\r\n.\0x", repeat=length)]
AFTER = b"x\r\n.\r\nNOOP"


def read(wire: bytes) -> tuple[bytes, bytes]:
    """Return the message in the octets that follow DATA, and the octets after its end."""
    content = b""
    while True:
        line, end_of_line, wire = wire.partition(b"\r\n")
        if line == b"." and end_of_line:
            return content, wire
        assert end_of_line, "all that is read here has an end"
        content += line.removeprefix(b".") + end_of_line


def first_bare_newline(content: bytes) -> int | None:
    """Return the position of the first CR or LF that is not part of a CRLF."""
    for i in range(len(content)):
        if content[i : i + 1] == b"\r" and content[i + 1 : i + 2] != b"\n":
            return i
        if content[i : i + 1] == b"\n" and content[max(i - 1, 0) : i] != b"\r":
            return i
    return None


def cut_randomly(wire: bytes, rng: random.Random) -> Iterator[bytes]:
    while wire:
        size = rng.randint(1, 5)
        yield wire[:size]
        wire = wire[size:]


def run(reader: DotReader, pieces: Iterator[bytes]) -> tuple[bytes, bytes, int | None]:
    """Return the content, the octets after the end, and the position of the first fault."""
    content = b""
    fault: int | None = None
    for piece in pieces:
        found, stop = reader.feed(piece, 0)
        if fault is None and reader.fault is not None:
            fault = len(content) + reader.fault
        content += found
        if reader.done:
            return content, piece[stop:] + b"".join(pieces), fault
        assert stop == len(piece)
    raise AssertionError("no end")


@pytest.mark.parametrize("check_newlines", [False, True])
@pytest.mark.parametrize("before", [b"", b"x"])
def test_reader(before: bytes, check_newlines: bool) -> None:
    rng = random.Random(before)
    for string in STRINGS:
        wire = before + string + AFTER
        content, behind = read(wire)
        expected = content, behind, first_bare_newline(content) if check_newlines else None
        octets = (wire[i : i + 1] for i in range(len(wire)))
        assert run(DotReader(check_newlines=check_newlines), iter([wire])) == expected
        assert run(DotReader(check_newlines=check_newlines), octets) == expected
        assert run(DotReader(check_newlines=check_newlines), cut_randomly(wire, rng)) == expected


def test_reader_in_the_middle_of_a_buffer() -> None:
    """The connection calls the reader like this if the DATA line and the text arrived together."""
    for string in STRINGS:
        wire = string + AFTER
        reader = DotReader(check_newlines=False)
        content, stop = reader.feed(b"DATA\r\n" + wire, 6)
        assert (content, wire[stop - 6 :]) == read(wire)


@pytest.mark.parametrize("bare_newline", ["keep", "reject"])
def test_connection(bare_newline: Literal["keep", "reject"]) -> None:
    """Nothing in a message is taken for a command, and a fault is answered after the true end of the message."""
    config = Config(hostname="mx.example", bare_newline=bare_newline, limits=Limits(errors=len(STRINGS)))
    begin = AT_DATA.wire.removeprefix(AT_READY.wire)
    player = Player.at(AT_DATA, config)
    for string in STRINGS:
        content, behind = read(string + b"\r\n.\r\n")
        fault = first_bare_newline(content) if bare_newline == "reject" else None
        player.feed((string + b"\r\n.\r\n").removesuffix(behind))
        if fault is None:
            assert player.events == [*([MessageChunk(content)] if content else []), MessageEnd(len(content))]
            assert player.sent == replies.MESSAGE_ACCEPTED.wire
        else:
            part = [MessageChunk(content[:fault])] if fault else []
            assert player.events == [*part, TransactionAborted(AbortReason.BARE_NEWLINE)]
            assert player.sent == replies.BARE_NEWLINE_IN_BODY.wire
        player.feed(begin)
        player.events, player.sent = [], b""


EDGES = [b"hi\r\n.\r\n", b"h\r\n..\r\n\r\n.\r\n", b".\r\n", b"\r\n.\r\n", b"a\r\r\n.\r\n", b"\0\r\n.x\r\n.\r\n"]


@pytest.mark.parametrize("wire", EDGES)
def test_all_ways_to_cut_it(wire: bytes) -> None:
    content, _ = read(wire)
    for bits in range(1 << (len(wire) - 1)):
        reader = DotReader(check_newlines=False)
        pieces = [b""]
        for i in range(len(wire)):
            pieces[-1] += wire[i : i + 1]
            if bits >> i & 1 and i + 1 < len(wire):
                pieces.append(b"")
        assert run(reader, iter(pieces)) == (content, b"", None)
