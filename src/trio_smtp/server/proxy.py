"""The PROXY protocol, versions 1 and 2, by which a proxy in front of the server announces the client's address.

The specification is HAProxy's "The PROXY protocol"; the sections are cited as PROXY §2.1. Its rules here:

- **Only a listed proxy is believed**, and it must always send a header. The server never guesses whether there is one:
  otherwise a client could give itself any address (PROXY §2).
- **Not one octet is read beyond the header.** The octets behind it belong to TLS or SMTP, and TLS cannot take octets
  that were read before it began. So `missing` returns how many octets are certain to belong to the header. A line
  (version 1) is read in a dozen small pieces, a binary header (version 2) in three.
- **Any fault closes the connection without a reply**, also a header that is too long or takes too long.
- If the connection is the proxy's own (LOCAL, for health checks), or the proxy cannot name the client (UNKNOWN, UNSPEC,
  a Unix socket), the peer is the proxy itself.

The TLVs at the end of a binary header are skipped.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import trio

from trio_smtp.handler import Peer
from trio_smtp.server.transport import Transport

__all__ = ["Network", "ProxyError", "announced_peer", "missing", "parse_networks", "receive_peer"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LINE_BEGIN: Final = b"PROXY "
_LONGEST_LINE: Final = 107  # PROXY §2.1
_SHORTEST_LINE: Final = len(b"PROXY UNKNOWN\r\n")
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST: Final = 536  # PROXY §2: what the smallest TCP segment holds
_FIXED: Final = 16  # octets of the fixed part of a binary header, the last two of which tell how many follow

_ADDRESS: Final = rb"([0-9A-Fa-f.:]+)"
_PORT: Final = rb"(0|[1-9][0-9]*)"
_LINE: Final = re.compile(rb"PROXY TCP([46]) %b %b %b %b\r\n" % (_ADDRESS, _ADDRESS, _PORT, _PORT))
_UNKNOWN_LINE: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

_LOCAL: Final = 0x20  # version 2 and command, PROXY §2.2
_PROXY: Final = 0x21
_ADDRESS_SIZES: Final = {0x00: 0, 0x11: 4, 0x21: 16, 0x31: 108}  # by family and transport: UNSPEC, TCP4, TCP6, Unix
_IP: Final = frozenset({0x11, 0x21})


class ProxyError(Exception):
    """A connection that does not come from a listed proxy, or does not begin with a valid header."""


def missing(header: bytes) -> int:
    """How many more octets the header has at least; 0 when it is complete.

    Args:
        header: the octets so far, never more than this function said were missing.

    Raises:
        ProxyError: if no header begins like this.
    """
    if not any(begin.startswith(header[: len(begin)]) for begin in (_SIGNATURE, _LINE_BEGIN)):
        raise ProxyError("no header")
    if header.startswith(_LINE_BEGIN):
        return _missing_of_line(header)
    if header.startswith(_SIGNATURE):
        return _missing_of_binary(header)
    return _SHORTEST_LINE - len(header)


def _missing_of_line(header: bytes) -> int:
    if b"\n" in header:
        return 0
    if header.endswith(b"\r"):
        size = 1
    elif header.startswith(b"PROXY TCP"):
        size = 2 * max(0, 5 - header.count(b" ")) + 2  # a space and an octet for each missing field, and CRLF
    else:
        size = 2
    size = max(size, _SHORTEST_LINE - len(header))
    if len(header) + size > _LONGEST_LINE:
        raise ProxyError(f"the line is longer than {_LONGEST_LINE} octets")
    return size


def _missing_of_binary(header: bytes) -> int:
    size = _FIXED + int.from_bytes(header[14:_FIXED], "big")  # too small as long as the length field is incomplete
    if size > _LONGEST:
        raise ProxyError(f"a header of {size} octets, more than {_LONGEST}")
    return size - len(header)


def announced_peer(header: bytes) -> Peer | None:
    """The client that a complete header announces; None if it announces none, so that the peer is the proxy.

    An IPv4-mapped IPv6 address becomes the IPv4 address.

    Raises:
        ProxyError: if the header is malformed by PROXY §2.1 or §2.2.
    """
    return _read_line(header) if header.startswith(_LINE_BEGIN) else _read_binary(header)


def _read_line(header: bytes) -> Peer | None:
    if _UNKNOWN_LINE.fullmatch(header):
        return None
    match = _LINE.fullmatch(header)
    if match is None:
        raise ProxyError("the line is malformed")
    family, *addresses = match.group(1, 2, 3)
    ports = [int(port) for port in match.group(4, 5)]
    parse = ipaddress.IPv4Address if family == b"4" else ipaddress.IPv6Address
    try:
        source, _ = [parse(address.decode("ascii")) for address in addresses]
    except ValueError:
        raise ProxyError("the line has a malformed address") from None
    if max(ports) > 65535:
        raise ProxyError("the line has a port over 65535")
    return _peer(source, ports[0])


def _read_binary(header: bytes) -> Peer | None:
    command, family, block = header[12], header[13], header[_FIXED:]
    if command == _LOCAL:
        return None  # whatever its address family is
    if command != _PROXY:
        raise ProxyError(f"0x{command:02x} is not version 2 with a command that there is")
    if family not in _ADDRESS_SIZES:
        raise ProxyError(f"0x{family:02x} is no family and transport that mail comes by")
    size = _ADDRESS_SIZES[family]
    with_ports = family in _IP
    if len(block) < 2 * size + (4 if with_ports else 0):
        raise ProxyError("a header too short for its addresses")
    if not with_ports:
        return None
    parse = ipaddress.IPv4Address if size == 4 else ipaddress.IPv6Address
    return _peer(parse(block[:size]), int.from_bytes(block[2 * size : 2 * size + 2], "big"))


def _peer(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Peer:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return Peer(str(mapped or address), port)


async def receive_peer(transport: Transport, proxy: Peer, networks: Sequence[Network], timeout: float) -> Peer | None:
    """Read a header and nothing behind it; return the client that it announces, as `announced_peer` does.

    Args:
        transport: the connection.
        proxy: its other end.
        networks: the networks of the proxies that are believed.
        timeout: in seconds, for the whole header.

    Raises:
        ProxyError: if the other end is none of the proxies, or sends no header or a malformed one.
        trio.BrokenResourceError: if the connection breaks.
        trio.TooSlowError: if it takes more than `timeout` seconds.
    """
    if not _is_within(proxy, networks):
        raise ProxyError("not a listed proxy")
    header = b""
    with trio.fail_after(timeout):
        while size := missing(header):
            data = await transport.receive(size)
            if not data:
                raise ProxyError("the connection ended in the header" if header else "no header")
            header += data
    return announced_peer(header)


def parse_networks(networks: Iterable[str | Network]) -> tuple[Network, ...]:
    """Parse the networks that are text: ``10.0.0.0/8``, ``2001:db8::/32`` or a single address.

    Raises:
        ValueError: if `networks` is one text, or one of them is not a network, has host bits set, or has a zone, which
            would be ignored.
    """
    if isinstance(networks, str):
        raise ValueError(f"the networks of proxies must be a list, such as [{networks!r}], not a string")  # noqa: TRY004 - as for a bad item
    parsed = tuple(map(ipaddress.ip_network, networks))
    for network in parsed:
        if "%" in str(network):
            raise ValueError(f"the network {str(network)!a} must not have a zone")
    return parsed


def _is_within(peer: Peer, networks: Sequence[Network]) -> bool:
    if not peer.host:  # a Unix socket
        return False
    address = ipaddress.ip_address(peer.host)
    return any(address in network for network in networks)
