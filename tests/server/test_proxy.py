"""PROXY protocol headers: the peers they announce, malformed ones, and that no octet behind them is read."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from fuzz.cuts import CUTS
from trio_smtp.handler import Peer
from trio_smtp.server.proxy import ProxyError, announced_peer, missing, parse_networks, receive_peer
from trio_smtp.server.transport import StreamTransport

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + b"\xc3\x50\x00\x19"  # 192.0.2.1:50000 to 10.0.0.1:25
SIX = ipaddress.IPv6Address("2001:db8::1").packed + ipaddress.IPv6Address("2001:db8::25").packed + b"\xc3\x50\x00\x19"
MAPPED = ipaddress.IPv6Address("::ffff:192.0.2.1").packed * 2 + b"\xc3\x50\x00\x19"
CLIENT = Peer("192.0.2.1", 50000)
CLIENT_SIX = Peer("2001:db8::1", 50000)
F = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"


def binary(command: int, family: int, block: bytes = b"", length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + block


GOOD: dict[str, tuple[bytes, Peer | None]] = {
    # PROXY §2.1
    "TCP4": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 25\r\n", CLIENT),
    "TCP4, shortest": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Peer("0.0.0.0", 0)),
    "TCP4, longest": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Peer("255.255.255.255", 65535),
    ),
    "TCP4, ports of one digit": (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 9\r\n", Peer("192.0.2.1", 1)),
    "TCP6": (b"PROXY TCP6 2001:db8::1 2001:db8::25 50000 25\r\n", CLIENT_SIX),
    "TCP6, shortest": (b"PROXY TCP6 :: :: 0 0\r\n", Peer("::", 0)),
    "TCP6, longest": (b"PROXY TCP6 %b %b 65535 65535\r\n" % (F, F), Peer(F.decode(), 65535)),
    "TCP6, upper case": (b"PROXY TCP6 2001:DB8::1 ::1 50000 25\r\n", CLIENT_SIX),
    "TCP6, not shortened": (b"PROXY TCP6 2001:0db8:0:0:0:0:0:0001 ::1 50000 25\r\n", CLIENT_SIX),
    "TCP6, IPv4 in it": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 50000 25\r\n", CLIENT),
    "TCP6, IPv4 in it, in hexadecimal": (b"PROXY TCP6 ::ffff:c000:201 ::1 50000 25\r\n", CLIENT),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "UNKNOWN and a space": (b"PROXY UNKNOWN \r\n", None),
    "UNKNOWN, with what is ignored": (b"PROXY UNKNOWN \x00 what ever\r\n", None),
    "UNKNOWN, longest": (b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (F, F), None),
    # PROXY §2.2
    "v2 TCP4": (binary(0x21, 0x11, FOUR), CLIENT),
    "v2 TCP4, TLVs": (binary(0x21, 0x11, FOUR + b"\x04\x00\x03abc\x02\x00\x00"), CLIENT),
    "v2 TCP4, longest": (binary(0x21, 0x11, FOUR + bytes(508)), CLIENT),
    "v2 TCP6": (binary(0x21, 0x21, SIX), CLIENT_SIX),
    "v2 TCP6, TLVs": (binary(0x21, 0x21, SIX + b"\x04\x00\x01a"), CLIENT_SIX),
    "v2 TCP6, IPv4 in it": (binary(0x21, 0x21, MAPPED), CLIENT),
    "v2 Unix": (binary(0x21, 0x31, bytes(216)), None),
    "v2 UNSPEC": (binary(0x21, 0x00), None),
    "v2 UNSPEC, with what is ignored": (binary(0x21, 0x00, b"what ever"), None),
    "v2 LOCAL": (binary(0x20, 0x00), None),
    "v2 LOCAL, with what is ignored": (binary(0x20, 0x11, FOUR), None),
    "v2 LOCAL of no family": (binary(0x20, 0xFF, b"x"), None),
}

BAD: dict[str, tuple[bytes, str]] = {
    "SMTP": (b"EHLO client.example\r\n", "no header"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no header"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "no header"),
    "empty lines": (b"\r\n\r\n\r\n", "no header"),
    "lower case": (b"proxy TCP4 192.0.2.1 10.0.0.1 50000 25\r\n", "no header"),
    "before it a space": (b" PROXY TCP4 192.0.2.1 10.0.0.1 50000 25\r\n", "no header"),
    "two spaces": (b"PROXY  TCP4 192.0.2.1 10.0.0.1 50000 25\r\n", "malformed"),
    "two spaces inside": (b"PROXY TCP4 192.0.2.1  10.0.0.1 50000 25\r\n", "malformed"),
    "space at the end": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 25 \r\n", "malformed"),
    "tab": (b"PROXY TCP4 192.0.2.1\t10.0.0.1 50000 25\r\n", "malformed"),
    "LF alone": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 25\n", "malformed"),
    "UNKNOWN with LF alone": (b"PROXY UNKNOWN xx\n", "malformed"),
    "CR alone": (b"PROXY TCP4 192.0.2.1 10.0.0.1\r50000 25\r\n", "malformed"),
    "UNKNOWN with CR inside": (b"PROXY UNKNOWN \r x\r\n", "malformed"),
    "CR twice": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 25\r\r\n", "malformed"),
    "no family": (b"PROXY 192.0.2.1 10.0.0.1 50000 25\r\n", "malformed"),
    "TCP5": (b"PROXY TCP5 192.0.2.1 10.0.0.1 50000 25\r\n", "malformed"),
    "UDP4": (b"PROXY UDP4 192.0.2.1 10.0.0.1 50000 25\r\n", "malformed"),
    "unknown in lower case": (b"PROXY unknown\r\n", "malformed"),
    "line too short": (b"PROXY UNKNW\r\n", "malformed"),
    "UNKNOWN and more": (b"PROXY UNKNOWNS\r\n", "malformed"),
    "no ports": (b"PROXY TCP4 192.0.2.1 10.0.0.1\r\n", "malformed"),
    "one port": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000\r\n", "malformed"),
    "three ports": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 25 26\r\n", "malformed"),
    "nothing but the family": (b"PROXY TCP4    \r\n", "malformed"),
    "name": (b"PROXY TCP4 client.example 10.0.0.1 50000 25\r\n", "malformed"),
    "IPv6 as TCP4": (b"PROXY TCP4 2001:db8::1 ::1 50000 25\r\n", "malformed address"),
    "IPv4 as TCP6": (b"PROXY TCP6 192.0.2.1 10.0.0.1 50000 25\r\n", "malformed address"),
    "octet over 255": (b"PROXY TCP4 192.0.2.256 10.0.0.1 50000 25\r\n", "malformed address"),
    "three octets": (b"PROXY TCP4 192.0.2 10.0.0.1 50000 25\r\n", "malformed address"),
    "octet with a zero before it": (b"PROXY TCP4 192.0.02.1 10.0.0.1 50000 25\r\n", "malformed address"),
    "destination with a zero before it": (b"PROXY TCP4 192.0.2.1 10.00.0.1 50000 25\r\n", "malformed address"),
    "digits of another script": ("PROXY TCP4 ١٩٢.0.2.1 10.0.0.1 50000 25\r\n".encode(), "malformed"),
    "two gaps": (b"PROXY TCP6 2001::db8::1 ::1 50000 25\r\n", "malformed address"),
    "zone": (b"PROXY TCP6 fe80::1%eth0 ::1 50000 25\r\n", "malformed"),
    "port with a zero before it": (b"PROXY TCP4 192.0.2.1 10.0.0.1 050000 25\r\n", "malformed"),
    "port 00": (b"PROXY TCP4 192.0.2.1 10.0.0.1 00 25\r\n", "malformed"),
    "port with a sign": (b"PROXY TCP4 192.0.2.1 10.0.0.1 +5000 25\r\n", "malformed"),
    "port with an underscore": (b"PROXY TCP4 192.0.2.1 10.0.0.1 5_000 25\r\n", "malformed"),
    "port too high": (b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 25\r\n", "port over 65535"),
    "port of six digits": (b"PROXY TCP4 192.0.2.1 10.0.0.1 100025 25\r\n", "port over 65535"),
    "destination port too high": (b"PROXY TCP4 192.0.2.1 10.0.0.1 25 99999\r\n", "port over 65535"),
    "line too long": (b"PROXY UNKNOWN %b %b 65535 65535x\r\n" % (F, F), "longer than 107 octets"),
    "line without end": (b"PROXY TCP4 " + b"1" * 200, "longer than 107 octets"),
    "line of spaces": (b"PROXY TCP4 " + b" " * 200, "longer than 107 octets"),
    "v2 signature damaged": (b"\r\n\r\n\0\r\nQUIT\r\n\x21\x11\x00\x0c" + FOUR, "no header"),
    "v2 version 1": (binary(0x11, 0x11, FOUR), "0x11 is not version 2"),
    "v2 version 3": (binary(0x31, 0x11, FOUR), "0x31 is not version 2"),
    "v2 command 2": (binary(0x22, 0x11, FOUR), "0x22 is not version 2"),
    "v2 TCP over UNSPEC": (binary(0x21, 0x01, FOUR), "0x01 is no family"),
    "v2 UNSPEC over IPv4": (binary(0x21, 0x10, FOUR), "0x10 is no family"),
    "v2 UDP": (binary(0x21, 0x12, FOUR), "0x12 is no family"),
    "v2 Unix datagram": (binary(0x21, 0x32, bytes(216)), "0x32 is no family"),
    "v2 family 4": (binary(0x21, 0x41, bytes(216)), "0x41 is no family"),
    "v2 TCP4 too short": (binary(0x21, 0x11, FOUR[:-1]), "too short"),
    "v2 TCP4 empty": (binary(0x21, 0x11), "too short"),
    "v2 TCP6 too short": (binary(0x21, 0x21, SIX[:-1]), "too short"),
    "v2 Unix too short": (binary(0x21, 0x31, bytes(215)), "too short"),
    "v2 too long": (binary(0x21, 0x11, FOUR + bytes(509)), "537 octets, more than 536"),
    "v2 LOCAL too long": (binary(0x20, 0x00, length=0xFFFF), "65551 octets, more than 536"),
}  # fmt: skip


class Source:
    """What a proxy sends. `take` returns at most `size` octets, and never more than the rest of one piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def take(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    @property
    def rest(self) -> bytes:
        return b"".join(self.pieces)


def read(source: Source) -> Peer | None:
    header = b""
    while size := missing(header):
        data = source.take(size)
        assert data, f"the input ended after {header!r}"
        header += data
    return announced_peer(header)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", GOOD)
def test_good(name: str, cut: Callable[[bytes], list[bytes]]) -> None:
    """Octets behind the header are not read."""
    header, peer = GOOD[name]
    for behind in (b"", b"\n", b"\r\n", b"EHLO client.example\r\n", b"\x16\x03\x01", header):
        source = Source(cut(header + behind))
        assert read(source) == peer
        assert source.rest == behind


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", BAD)
def test_bad(name: str, cut: Callable[[bytes], list[bytes]]) -> None:
    header, reason = BAD[name]
    with pytest.raises(ProxyError, match=reason):
        read(Source(cut(header)))


@pytest.mark.parametrize(
    ("before", "behind", "octets"),
    [
        (b"PROXY TCP", b" :: :: 1 1\r\n", b"6"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 ", b" 1\r\n", b"0123456789"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 ", b"1 1\r\n", b"123456789"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1", b"1 1\r\n", b"0123456789"),
        (b"PROXY TCP4 1.1.1.", b" 1.1.1.1 1 1\r\n", b"0123456789"),
        (b"PROXY TCP6 ", b"::1 ::1 1 1\r\n", b"0123456789ABCDEFabcdef"),
        (b"PROXY UNKNOWN ", b"x\r\n", bytes(set(range(256)) - set(b"\r\n"))),
    ],
)
def test_which_octets_may_stand_there(before: bytes, behind: bytes, octets: bytes) -> None:
    there = bytearray()
    for octet in range(256):
        with contextlib.suppress(ProxyError):
            announced_peer(before + bytes([octet]) + behind)
            there.append(octet)
    assert bytes(there) == octets


@pytest.mark.parametrize("name", GOOD)
def test_a_part_is_never_complete(name: str) -> None:
    """`missing` never asks for more octets than the header still has, so no read waits for octets that never come."""
    header, _ = GOOD[name]
    for size in range(len(header)):
        assert 1 <= missing(header[:size]) <= len(header) - size


@pytest.mark.parametrize(
    ("name", "most"), [("v2 TCP4", 3), ("v2 TCP4, longest", 3), ("TCP4, longest", 10), ("TCP6, longest", 17)]
)
def test_how_often_is_read(name: str, most: int) -> None:
    header, reads = b"", 0
    while size := missing(header):
        header += GOOD[name][0][len(header) : len(header) + size]
        reads += 1
    assert reads <= most


@given(address=st.ip_addresses(), port=st.integers(0, 65535), tlvs=st.binary(max_size=484), behind=st.binary())
def test_what_is_announced_is_read(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, tlvs: bytes, behind: bytes
) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    ports = port.to_bytes(2, "big") * 2
    headers = (
        f"PROXY TCP{address.version} {address} {address} {port} {port}\r\n".encode(),
        binary(0x21, 0x11 if address.version == 4 else 0x21, address.packed * 2 + ports + tlvs),
    )
    for header in headers:
        source = Source([header + behind])
        assert read(source) == Peer(str(mapped or address), port)
        assert source.rest == behind


# --- reading one from a connection

PROXY = Peer("10.0.0.9", 40000)
NETWORKS = parse_networks(["10.0.0.0/8", "2001:db8::/32", ipaddress.IPv4Network("192.0.2.7/32")])


@pytest.mark.parametrize(
    ("host", "believed"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8:ffff::1", True),
        ("2001:db8:ffff::1%2", True),
        ("2001:db9::1", False),
        ("::a00:1", False),
        ("", False),
    ],
)
async def test_who_is_believed(host: str, believed: bool) -> None:
    """No octet of an unlisted peer is read."""
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"PROXY UNKNOWN\r\nx")
    transport = StreamTransport(theirs)
    if believed:
        assert await receive_peer(transport, Peer(host, 1), NETWORKS, 1) is None
        assert await theirs.receive_some() == b"x"
    else:
        with pytest.raises(ProxyError, match="not a listed proxy"):
            await receive_peer(transport, Peer(host, 1), NETWORKS, 1)
        assert await theirs.receive_some() == b"PROXY UNKNOWN\r\nx"


@pytest.mark.parametrize(
    ("header", "reason"), [(b"", "no header"), (b"PROXY TCP4 192.0.2.1", "the connection ended in the header")]
)
async def test_the_connection_ends(header: bytes, reason: str) -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(header)
    await ours.send_eof()
    with pytest.raises(ProxyError, match=reason):
        await receive_peer(StreamTransport(theirs), PROXY, NETWORKS, 1)


@pytest.mark.parametrize("header", [GOOD["TCP4"][0], GOOD["v2 TCP4"][0]], ids=["v1", "v2"])
@pytest.mark.parametrize("in_time", [True, False])
async def test_octet_by_octet(header: bytes, in_time: bool, autojump_clock: MockClock) -> None:
    """The time limit is for the whole header."""
    ours, theirs = memory_stream_pair()

    async def drip() -> None:
        for octet in header:
            await ours.send_all(bytes([octet]))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        if in_time:
            assert await receive_peer(StreamTransport(theirs), PROXY, NETWORKS, len(header)) == CLIENT
        else:
            with pytest.raises(trio.TooSlowError):
                await receive_peer(StreamTransport(theirs), PROXY, NETWORKS, len(header) - 1.5)
            assert trio.current_time() == len(header) - 1.5
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "lan", "", "10.0.0.0/8,::/0", "fe80::%eth0/64"])
def test_no_networks(network: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits"):
        parse_networks([network])
