"""Which addresses the limits count as one peer."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = ["is_loopback", "peer_network"]


@lru_cache(maxsize=4096)
def peer_network(host: str) -> str:
    """The key of a peer: its IPv4 address or IPv6 /64 network, ``""`` if it has no address.

    A /64 network usually belongs to one customer. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) counts as IPv4.
    """
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return "" if address is None else str(address)


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether the peer is this machine: it has a loopback address, or no address because it uses a Unix socket."""
    address = _address(host)
    return address is None or address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
