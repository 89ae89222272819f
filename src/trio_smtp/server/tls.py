"""TLS as the server, on any transport, driven through buffers in memory.

`trio.SSLStream` would do the same for any stream, at 40 us more a turn: its receives and sends are tasks to each other,
with locks and checkpoints that a session which either reads or writes has no use for.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Final

import trio

from trio_smtp.handler import TLSInfo
from trio_smtp.server.certificates import AnyContext, current_context
from trio_smtp.server.transport import Transport

__all__ = ["TLSTransport"]

_RECORD: Final = 16 * 1024  # octets: the most that a TLS record holds
_END: Final = (ssl.SSLZeroReturnError, ssl.SSLEOFError)  # with the goodbye that TLS wants, and without, as many do


class TLSTransport:
    """The server's end of a TLS connection.

    Args:
        transport: what carries it. Nobody else uses it from now on.
        context: the certificates.
    """

    __slots__ = ("_at_end", "_fault", "_incoming", "_outgoing", "_tls", "_transport")

    def __init__(self, transport: Transport, context: AnyContext) -> None:
        self._transport = transport
        self._fault: ssl.SSLError | None = None  # what came cannot be read any more
        self._at_end = False  # the peer has said goodbye, or gone without one
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = current_context(context).wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self, timeout: float) -> None:
        """Do the handshake.

        Raises:
            trio.BrokenResourceError: if it fails. The peer has been told why, as far as TLS does.
            trio.TooSlowError: if it takes more than `timeout` seconds.
        """
        with trio.fail_after(timeout):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._receive_more(_RECORD)
                except ssl.SSLError as error:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await self._send_outgoing()  # noqa: ASYNC120 - being too slow may take its place
                    raise trio.BrokenResourceError(str(error)) from error
                else:
                    await self._send_outgoing()
                    return

    @property
    def context(self) -> ssl.SSLContext:
        """The one that SNI has chosen."""
        return self._tls.context

    def info(self) -> TLSInfo:
        """What was agreed on."""
        cipher, certificate = self._tls.cipher(), self._tls.getpeercert()
        return TLSInfo(
            self._tls.version() or "TLS",
            cipher[0] if cipher else "",
            _verified_name(certificate),
            self._tls.getpeercert(binary_form=True) if certificate else None,
        )

    async def receive(self, size: int) -> bytes:
        if self._has_more():
            await trio.lowlevel.checkpoint()
            data = self._read(size)
        else:
            data = None
        while data is None:
            await self._receive_more(size)
            data = self._read(size)
        return data

    def send_now(self, data: bytes) -> bool:
        return self._transport.send_now(self._encrypted(data))

    def send_soon(self, data: bytes) -> bool:
        if self._has_more():  # the transport is not asked for more then, so it could not say that something is unsent
            return self.send_now(data)
        return self._transport.send_soon(self._encrypted(data))

    async def flush(self) -> None:
        await self._transport.flush()

    def has_input(self) -> bool:
        return False

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        try:
            with trio.move_on_after(seconds, shield=True), contextlib.suppress(ssl.SSLError, trio.BrokenResourceError):
                with contextlib.suppress(ssl.SSLWantReadError):  # the peer's goodbye is not waited for
                    self._tls.unwrap()
                await self._send_outgoing()
        finally:
            await self._transport.aclose(linger=linger, seconds=seconds)  # noqa: ASYNC102 - it closes all the same

    def _has_more(self) -> bool:
        """Whether something can be read, or learnt by reading, of what has come already."""
        return bool(self._incoming.pending or self._tls.pending() or self._at_end or self._fault is not None)

    def _encrypted(self, data: bytes) -> bytes:
        """What goes out for it, behind what TLS has to say on its own."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        return self._outgoing.read()

    def _read(self, size: int) -> bytes | None:
        """What there is, all of a burst of records; ``b""`` at the end, None if more has to come first."""
        pieces: list[bytes] = []
        try:
            while True:
                piece = self._tls.read(size)
                pieces.append(piece)
                size -= len(piece)
                self._at_end = not piece
                if self._at_end or not size or not self._incoming.pending:
                    break
        except ssl.SSLWantReadError:
            if not pieces:
                return None
        except _END:
            self._at_end = True
        except ssl.SSLError as error:
            self._fault = error
        if self._fault is not None and not pieces:
            raise trio.BrokenResourceError(str(self._fault)) from self._fault
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _receive_more(self, size: int) -> None:
        await self._send_outgoing()  # TLS has answered something on its own
        data = await self._transport.receive(max(size, _RECORD))
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _send_outgoing(self) -> None:
        if self._outgoing.pending and not self._transport.send_now(self._outgoing.read()):
            await self._transport.flush()


def _verified_name(certificate: object) -> str | None:
    """The first DNS name or mail address, else the common name, of a certificate that was checked."""
    if not isinstance(certificate, dict):
        return None
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email"):
            return str(name)
    for attributes in certificate.get("subject", ()):
        for kind, name in attributes:
            if kind == "commonName":
                return str(name)
    return None
