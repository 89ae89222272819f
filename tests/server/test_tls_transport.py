"""`TLSTransport`: it behaves like any transport, whatever records arrive and however they are cut up."""

from __future__ import annotations

import hmac
import ssl
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from trio.testing import MockClock, assert_checkpoints, memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import connection
from trio_smtp.server.polled import open_poller
from trio_smtp.server.tls import TLSTransport
from trio_smtp.server.transport import StreamTransport

NAME = "mx.example.com"


class Client:
    """The client: TLS over memory BIOs, so that the test decides which octets are sent when."""

    def __init__(self, context: ssl.SSLContext, stream: trio.abc.HalfCloseableStream) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=NAME)
        self.stream = stream

    async def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.stream.send_all(self.outgoing.read())
                self.incoming.write(await self.stream.receive_some())
            else:
                await self.stream.send_all(self.outgoing.read())
                return

    def records(self, *contents: bytes) -> bytes:
        for content in contents:
            self.tls.write(content)
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def read(self) -> bytes:
        self.incoming.write(await self.stream.receive_some())
        return self.tls.read(1 << 20)


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
async def ends(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> tuple[TLSTransport, Client]:
    client_tls.minimum_version = client_tls.maximum_version = ssl.TLSVersion[request.param]
    return await shake_hands(server_tls, client_tls)


async def shake_hands(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> tuple[TLSTransport, Client]:
    ours, theirs = memory_stream_pair()
    transport = TLSTransport(StreamTransport(ours), server_tls)
    client = Client(client_tls, theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.handshake, 10)
        await client.handshake()
    return transport, client


async def test_both_ways(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    assert transport.info().version == client.tls.version()
    await client.stream.send_all(client.records(b"EHLO x\r\n"))
    assert await transport.receive(1000) == b"EHLO x\r\n"
    if not transport.send_now(b"250 OK\r\n"):
        await transport.flush()
    assert await client.read() == b"250 OK\r\n"
    assert not transport.has_input()


async def test_a_burst_of_records_is_one_receive(ends: tuple[TLSTransport, Client]) -> None:
    """What does not fit into one receive is there for the next, without another octet from the peer."""
    transport, client = ends
    await client.stream.send_all(client.records(b"one", b"two", b"three" * 1000))
    assert await transport.receive(10_000) == b"onetwo" + b"three" * 1000
    await client.stream.send_all(client.records(b"0123456789", b"abc"))
    received = []
    for _ in range(4):
        with assert_checkpoints():
            received.append(await transport.receive(4))
    assert received == [b"0123", b"4567", b"89ab", b"c"]
    await client.stream.send_all(client.records(b"0123456789", b"abc"))
    for content in (b"0123456789", b"abc"):
        with trio.fail_after(5), assert_checkpoints():
            assert await transport.receive(10) == content


async def test_a_flood_of_records_is_read_in_turns(ends: tuple[TLSTransport, Client]) -> None:
    """Reading thousands at once would keep other connections waiting."""
    transport, client = ends
    await client.stream.send_all(client.records(*[b"x"] * 1000))
    received = b""
    while len(received) < 1000:
        with assert_checkpoints():
            data = await transport.receive(65536)
        assert len(data) <= 100
        received += data
    assert received == b"x" * 1000


async def test_what_has_come_does_not_wait_for_the_rest_of_the_next_record(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    first, second = client.records(b"one"), client.records(b"two")
    await client.stream.send_all(first + second[:7])
    assert await transport.receive(100) == b"one"
    await client.stream.send_all(second[7:])
    assert await transport.receive(100) == b"two"


async def test_octet_by_octet(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    records = client.records(b"one", b"two")
    received: list[bytes] = []

    async def receive() -> None:
        while sum(map(len, received)) < 6:
            received.append(await transport.receive(100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for position in range(len(records)):
            await client.stream.send_all(records[position : position + 1])
            await wait_all_tasks_blocked()
    assert received == [b"one", b"two"]


async def test_a_receive_that_is_cancelled_loses_nothing(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    await client.stream.send_all(client.records(b"0123456789"))
    assert await transport.receive(4) == b"0123"
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.receive(4)
    assert scope.cancelled_caught
    assert await transport.receive(100) == b"456789"


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_the_end(ends: tuple[TLSTransport, Client], says_goodbye: bool) -> None:
    """With or without close_notify, which many clients leave out. What was sent before it is not lost."""
    transport, client = ends
    await client.stream.send_all(client.records(b"QUIT\r\n") + (client.goodbye() if says_goodbye else b""))
    await client.stream.send_eof()
    assert await transport.receive(100) == b"QUIT\r\n"
    for _ in range(2):
        assert await transport.receive(100) == b""


async def test_the_goodbye_is_the_end_of_a_connection_that_stays_open(
    ends: tuple[TLSTransport, Client], autojump_clock: MockClock
) -> None:
    """The client may wait for our close_notify before it closes, and sends nothing more until then."""
    transport, client = ends
    await client.stream.send_all(client.records(b"data") + client.goodbye())
    assert await transport.receive(100) == b"data"
    for _ in range(2):
        with trio.fail_after(1), assert_checkpoints():
            assert await transport.receive(100) == b""


async def test_what_follows_the_goodbye_is_no_part_of_it(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    await client.stream.send_all(client.records(b"QUIT\r\n") + client.goodbye() + b"MAIL FROM:<>\r\n")
    assert await transport.receive(100) == b"QUIT\r\n"
    assert await transport.receive(100) == b""


async def test_a_forged_record(ends: tuple[TLSTransport, Client]) -> None:
    """Octets before the forged record are received; then reading and sending raise."""
    transport, client = ends
    good = client.records(b"good")
    forged = bytearray(client.records(b"forged"))
    forged[-1] ^= 1
    await client.stream.send_all(good + forged)
    assert await transport.receive(100) == b"good"
    with pytest.raises(trio.BrokenResourceError):
        await transport.receive(100)
    with pytest.raises(trio.BrokenResourceError):
        transport.send_now(b"x")


async def test_a_forged_record_alone(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    forged = bytearray(client.records(b"forged"))
    forged[-1] ^= 1
    await client.stream.send_all(forged)
    with pytest.raises(trio.BrokenResourceError, match=r"(?i)mac|decrypt"):
        await transport.receive(100)


async def test_what_is_said_soon_is_not_forgotten_over_what_has_come_already(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Here `receive` does not call the transport below, so that one cannot raise `Unsent` for the waiting output."""
    ours, theirs = connection()
    async with open_poller() as poller, trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
        transport = TLSTransport(poller(theirs), server_tls)
        client = Client(client_tls, stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.handshake, 10)
            nursery.start_soon(client.handshake)
        await stream.send_all(client.records(b"QUIT\r\n") + client.goodbye())
        assert await transport.receive(100) == b"QUIT\r\n"
        assert not transport.send_soon(bytes(16_000_000))
        assert await transport.receive(100) == b""
        await transport.aclose(linger=False, seconds=0)


async def test_closing_says_goodbye_and_waits_for_none(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    await transport.aclose(linger=False, seconds=5)
    assert await client.read() == b""
    with pytest.raises(trio.BrokenResourceError):
        await client.stream.send_all(b"x")


async def test_closing_says_goodbye_even_if_it_is_cancelled(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.aclose(linger=False, seconds=5)
    assert await client.read() == b""


async def test_closing_says_goodbye_to_a_client_that_was_not_heard_out(ends: tuple[TLSTransport, Client]) -> None:
    """Otherwise it could not tell the end from a connection that was cut off."""
    transport, client = ends
    await client.stream.send_all(client.records(b"one", b"two"))
    assert await transport.receive(3) == b"one"
    await transport.aclose(linger=False, seconds=5)
    assert await client.read() == b""


async def test_closing_after_a_forged_record_says_why(ends: tuple[TLSTransport, Client]) -> None:
    transport, client = ends
    forged = bytearray(client.records(b"forged"))
    forged[-1] ^= 1
    await client.stream.send_all(forged)
    with pytest.raises(trio.BrokenResourceError):
        await transport.receive(100)
    await transport.aclose(linger=False, seconds=5)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert bad record mac"):
        await client.read()


async def test_closing_after_the_peer_has_gone(ends: tuple[TLSTransport, Client], autojump_clock: MockClock) -> None:
    transport, client = ends
    await client.stream.aclose()
    await transport.aclose(linger=True, seconds=5)
    assert trio.current_time() == 0
    with pytest.raises(trio.BrokenResourceError, match="closed on this side"):
        await transport.receive(1)


async def test_a_handshake_that_is_broken_off(server_tls: ssl.SSLContext) -> None:
    ours, theirs = memory_stream_pair()
    transport = TLSTransport(StreamTransport(ours), server_tls)
    await theirs.send_all(b"\x16\x03\x01")
    await theirs.send_eof()
    with pytest.raises(trio.BrokenResourceError):
        await transport.handshake(10)
    await transport.aclose(linger=False, seconds=5)


def requests_for_new_keys(secret: bytes, number: int) -> bytes:
    """KeyUpdate messages of a client that has sent no data yet, encrypted as TLS 1.3 prescribes. Each requests
    an answer. (The module ssl cannot send them.)

    Args:
        secret: the client's traffic secret, for TLS_AES_256_GCM_SHA384.
    """

    def derived(label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        return hmac.digest(secret, b"%c%c%c%b\0\1" % (0, length, len(label), label), "sha384")[:length]

    update, head = bytes([24, 0, 0, 1, 1]), bytes([23, 3, 3, 0, 5 + 1 + 16])
    records = []
    for _ in range(number):
        records.append(head + AESGCM(derived(b"key", 32)).encrypt(derived(b"iv", 12), update + bytes([22]), head))
        secret = derived(b"traffic upd", 48)
    return b"".join(records)


@pytest.mark.parametrize("number", [10, 100])
async def test_requests_for_new_keys(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, tmp_path: Path, number: int, autojump_clock: MockClock
) -> None:
    """A peer that asks again and again is cut off: each answer costs as much time as several commands."""
    client_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    client_tls.keylog_filename = str(tmp_path / "keys")
    transport, client = await shake_hands(server_tls, client_tls)
    assert client.tls.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
    lines = (tmp_path / "keys").read_text().splitlines()
    (secret,) = (line.split()[2] for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 "))
    await client.stream.send_all(requests_for_new_keys(bytes.fromhex(secret), number))
    with trio.move_on_after(1) as patience:
        with pytest.raises(trio.BrokenResourceError, match="too many requests for new keys"):
            await transport.receive(1000)
    assert patience.cancelled_caught is (number == 10)
