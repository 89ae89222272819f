"""Sockets to listen on: one port number for IPv4 and IPv6 together."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final, TypeAlias

import trio

__all__ = ["LOOPBACK", "bind_sockets"]

LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - asked for by host=None
_BACKLOG: Final = 1024
_RETRIES: Final = 20
_LAST_PORT: Final = 65535
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})

_Address: TypeAlias = tuple[int, str, tuple[int, ...]]
"""The family, the address and, for IPv6, its flow information and its zone, which a link-local one needs."""


async def bind_sockets(port: int, host: str | Sequence[str] | None = LOOPBACK) -> list[socket.socket]:
    """Bind listening, non-blocking TCP sockets, all on one port.

    Args:
        port: 0 takes a free one, the same for all addresses.
        host: a name or address, or several; None stands for every interface. Addresses that this machine does not have
            (often IPv6) are left out, as long as it has at least one of them.

    Raises:
        TypeError, ValueError: if `port` is not a port number.
        OSError: if the port is taken, or the machine has none of the addresses; `filename` says which.
    """
    if not isinstance(port, int):
        raise TypeError(f"a port must be an int, not {port!r}")
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"a port must be from 0 to {_LAST_PORT}, not {port}")
    hosts = _EVERYWHERE if host is None else (host,) if isinstance(host, str) else tuple(host)
    addresses: list[_Address] = []
    for name in hosts:
        try:
            found = await trio.socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError as error:
            error.filename = name
            raise
        for family, _, _, _, address in found:
            place = int(family), str(address[0]), address[2:]
            if place not in addresses:
                addresses.append(place)
    for _ in range(_RETRIES if port == 0 else 0):
        try:
            return _bind_all(addresses, port)
        except OSError as error:  # a port that is free in one address family may be taken in the other
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_all(addresses, port)


def _bind_all(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, host, zone in addresses:
            try:
                sockets.append(_listen(family, (host, port, *zone)))
            except OSError as error:
                error.filename = f"{host} port {port}"
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
            else:
                port = sockets[-1].getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no address to listen on")
    return sockets


def _listen(family: int, address: tuple[str | int, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
