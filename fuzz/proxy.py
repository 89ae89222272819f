"""Target: headers of the PROXY protocol. The reader must agree with a second reader, which sees the whole input."""

from __future__ import annotations

import re
import socket
from typing import Final, TypeAlias

from fuzz.cuts import CUTS
from trio_smtp.handler import Peer
from trio_smtp.server.proxy import ProxyError, announced_peer, missing

SIGNATURE: Final = bytes.fromhex("0d0a0d0a000d0a515549540a")
BEGINNINGS: Final = (b"", b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE, SIGNATURE + b"\x21")
FAMILIES: Final = {0x11: socket.AF_INET, 0x21: socket.AF_INET6}
SIZES: Final = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
MAPPED: Final = bytes(10) + b"\xff\xff"

Outcome: TypeAlias = tuple[int, tuple[bytes, int] | None] | None
"""The length of the header and the address and port, if it has one; None for an invalid or incomplete header."""


def proxy(data: bytes) -> None:
    """Read a header. The first octet selects how the input begins; the rest follows it."""
    stream = BEGINNINGS[data[0] % len(BEGINNINGS)] + data[1:] if data else b""
    expected = expected_outcome(stream)
    for cut in CUTS.values():
        assert outcome(cut(stream)) == expected, cut


def outcome(pieces: list[bytes]) -> Outcome:
    header = b""
    try:
        while size := missing(header):
            if not pieces:
                return None
            piece = pieces.pop(0)
            if piece[size:]:
                pieces.insert(0, piece[size:])
            header += piece[:size]
        peer = announced_peer(header)
    except ProxyError:
        return None
    return len(header), None if peer is None else packed(peer)


def packed(peer: Peer) -> tuple[bytes, int]:
    family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
    return socket.inet_pton(family, peer.host), peer.port


def expected_outcome(stream: bytes) -> Outcome:
    """The outcome by section 2 of the PROXY protocol, for the whole input."""
    if stream[:12] == SIGNATURE:
        return expected_of_binary(stream)
    if stream[:6] == b"PROXY ":
        return expected_of_line(stream)
    return None


def expected_of_binary(stream: bytes) -> Outcome:
    size = 16 + int.from_bytes(stream[14:16], "big")
    if size > 536 or len(stream) < size:
        return None
    command, family = stream[12:14]
    if command == 0x20:
        return size, None
    if command != 0x21 or family not in SIZES or size - 16 < SIZES[family]:
        return None
    if family not in FAMILIES:
        return size, None
    width = SIZES[family] // 2 - 2
    return size, folded(stream[16 : 16 + width], int.from_bytes(stream[16 + 2 * width :][:2], "big"))


def expected_of_line(stream: bytes) -> Outcome:
    line, end, _ = stream.partition(b"\n")
    if not end or len(line) > 106 or line.find(b"\r") != len(line) - 1:
        return None
    words = line[:-1].split(b" ")
    if words[1] == b"UNKNOWN":
        return len(line) + 1, None
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        return None
    family = socket.AF_INET if words[1] == b"TCP4" else socket.AF_INET6
    try:
        source, _ = [socket.inet_pton(family, word.decode("ascii")) for word in words[2:4]]
    except (OSError, ValueError):
        return None
    if not all(re.fullmatch(b"[0-9]{1,5}", word) and str(int(word)).encode() == word for word in words[4:]):
        return None
    ports = [int(word) for word in words[4:]]
    return (len(line) + 1, folded(source, ports[0])) if max(ports) < 65536 else None


def folded(address: bytes, port: int) -> tuple[bytes, int]:
    return address.removeprefix(MAPPED) if len(address) == 16 else address, port
