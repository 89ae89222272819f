"""Whom limits count as one peer."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = ["is_loopback", "peer_network"]


@lru_cache(maxsize=4096)
def peer_network(host: str) -> str:
    """One peer: an IPv4 address, an IPv6 /64 network (one customer has all of it), ``""`` where there is no address.

    An IPv4 address that came in over IPv6 is the IPv4 address that it is (RFC 4291 §2.5.5.2).
    """
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return "" if address is None else str(address)


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether the peer is this machine: a loopback address, or a Unix socket, which has none."""
    address = _address(host)
    return address is None or address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
