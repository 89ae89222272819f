"""`bind_sockets`: which addresses and ports it binds, and its errors."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from trio_smtp.server.listening import bind_sockets

LOOPBACK = ["127.0.0.1", "::1"]


@contextlib.contextmanager
def closing(sockets: Sequence[socket.socket]) -> Iterator[Sequence[socket.socket]]:
    with contextlib.ExitStack() as stack:
        for sock in sockets:
            stack.enter_context(sock)
        yield sockets


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_ipv4_and_ipv6_share_a_free_port() -> None:
    with closing(await bind_sockets(0)) as sockets:
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        assert ports != {0}
        assert [sock.getsockname()[0] for sock in sockets] == LOOPBACK[: 1 + has_ipv6()]
        for sock in sockets:
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)  # so that a restart need not wait
            with socket.create_connection(sock.getsockname()[:2]):
                pass


@pytest.mark.parametrize(
    ("port", "error"),
    [("1025", TypeError), (1025.0, TypeError), (None, TypeError), (-1, ValueError), (65536, ValueError)],
)
async def test_what_is_no_port(port: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="a port must be"):
        await bind_sockets(port)


async def test_an_error_names_the_host() -> None:
    with pytest.raises(OSError, match="host\\.invalid"):
        await bind_sockets(0, "host.invalid")


async def test_every_interface() -> None:
    with closing(await bind_sockets(0, None)) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["0.0.0.0", "::"][: 1 + has_ipv6()]


async def test_one_host_by_name() -> None:
    with closing(await bind_sockets(0, "localhost")) as sockets:
        assert {sock.getsockname()[0] for sock in sockets} <= set(LOOPBACK)


async def test_a_host_named_twice_is_bound_once() -> None:
    with closing(await bind_sockets(0, ["127.0.0.1", "127.0.0.1"])) as sockets:
        assert len(sockets) == 1


async def test_a_link_local_address_is_bound_in_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [("fe80::1", 2525, 0, 1)][: has_ipv6()]
    bound: list[object] = []

    class Recorded(socket.socket):
        def bind(self, address: object) -> None:
            bound.append(address)
            raise OSError(errno.EADDRNOTAVAIL, "not here")

    monkeypatch.setattr(socket, "socket", Recorded)
    with pytest.raises(OSError, match="fe80::1 port 2525"):
        await bind_sockets(2525, "fe80::1%1")
    assert bound == expected


async def test_an_address_that_is_not_here_is_left_out() -> None:
    with closing(await bind_sockets(0, ["127.0.0.1", "192.0.2.1"])) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]


@pytest.mark.parametrize("port", [0, 65535])
async def test_no_address_is_here(port: int) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - by its number
        await bind_sockets(port, "192.0.2.1")
    assert raised.value.errno == errno.EADDRNOTAVAIL
    assert raised.value.filename == f"192.0.2.1 port {port}"


async def test_nowhere() -> None:
    with pytest.raises(OSError, match="no address to listen on"):
        await bind_sockets(0, [])


async def test_a_port_in_use_leaves_nothing_open() -> None:
    """The second address is taken, so the socket of the first one must be closed (ResourceWarning otherwise)."""
    [taken] = await bind_sockets(0, "127.0.0.2")
    with taken, pytest.raises(OSError) as raised:  # noqa: PT011 - by its number
        await bind_sockets(taken.getsockname()[1], ["127.0.0.1", "127.0.0.2"])
    assert raised.value.errno == errno.EADDRINUSE


async def test_a_free_port_that_is_taken_in_the_other_family_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    bind = socket.socket.bind

    class Taken(socket.socket):
        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]  # the one form that is used
            if address[0] == "127.0.0.2":
                tries.append(address[1])
                if len(tries) < 3:
                    raise OSError(errno.EADDRINUSE, "taken")
            bind(self, address)

    monkeypatch.setattr(socket, "socket", Taken)
    with closing(await bind_sockets(0, ["127.0.0.1", "127.0.0.2"])) as sockets:
        assert {sock.getsockname()[1] for sock in sockets} == {tries[-1]}
    assert len(set(tries)) == 3


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Creating an IPv6 socket fails with this errno."""

    class NoIPv6(socket.socket):
        def __init__(self, family: int = -1, *arguments: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, "no socket")
            super().__init__(family, *arguments)

    monkeypatch.setattr(socket, "socket", NoIPv6)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT])
@pytest.mark.usefixtures("no_ipv6")
async def test_without_ipv6() -> None:
    with closing(await bind_sockets(0)) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]


@pytest.mark.parametrize("number", [errno.EMFILE])
@pytest.mark.usefixtures("no_ipv6")
async def test_a_want_of_sockets_is_no_want_of_ipv6() -> None:
    with pytest.raises(OSError, match=r"::1 port [1-9]") as raised:
        await bind_sockets(0)
    assert raised.value.errno == errno.EMFILE
