"""TLS as the server, on any transport, driven through buffers in memory.

`trio.SSLStream` would do the same for any stream, but takes 40 us more per turn: it lets one task receive while another
sends, with locks and checkpoints that a session does not need, because it never does both at once.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any, Final

import trio

from trio_smtp.handler import TLSInfo
from trio_smtp.server.certificates import AnyContext, current_context, verified_certificate
from trio_smtp.server.transport import Transport

__all__ = ["TLSTransport"]

_RECORD: Final = 16 * 1024  # octets: the most that a TLS record holds
_RECORDS_AT_ONCE: Final = 64  # to read; a peer can send thousands that hold one octet each
# Octets that TLS may send on its own for what was received together: the answers to some 35 KeyUpdate messages of TLS
# 1.3, of which a peer needs one in many GiB. Each costs as much time as several commands.
_MOST_ANSWERS: Final = 1024
_END: Final = (ssl.SSLZeroReturnError, ssl.SSLEOFError)  # with close_notify, and without it, as many peers end


class TLSTransport:
    """The server's end of a TLS connection.

    Args:
        transport: the transport that carries it; nothing else may use it from now on.
        context: the certificates.
    """

    __slots__ = ("_at_end", "_fault", "_incoming", "_outgoing", "_tls", "_transport")

    def __init__(self, transport: Transport, context: AnyContext) -> None:
        self._transport = transport
        self._fault: ssl.SSLError | None = None  # why input can no longer be read
        self._at_end = False  # the peer has ended its input, with close_notify or without
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = current_context(context).wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self, timeout: float) -> None:
        """Do the handshake.

        Raises:
            trio.BrokenResourceError: if it fails. The TLS alert for the peer, if there is one, has then been sent.
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
                        await self._send_outgoing()  # noqa: ASYNC120 - TooSlowError may replace this error
                    raise trio.BrokenResourceError(str(error)) from error
                else:
                    await self._send_outgoing()
                    return

    @property
    def context(self) -> ssl.SSLContext:
        """The context that was chosen by SNI."""
        return self._tls.context

    def info(self) -> TLSInfo:
        """What the handshake agreed on."""
        cipher, certificate = self._tls.cipher(), verified_certificate(self._tls)
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
        if self._has_more():  # the next `receive` may not ask the transport, which then could not raise `Unsent`
            return self.send_now(data)
        return self._transport.send_soon(self._encrypted(data))

    async def flush(self) -> None:
        await self._transport.flush()

    def has_input(self) -> bool:
        return False

    def has_output(self) -> bool:
        return self._transport.has_output()

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        try:
            with contextlib.suppress(ssl.SSLError):  # do not wait for the peer's close_notify, whatever came instead
                self._tls.unwrap()
            with trio.move_on_after(seconds, shield=True), contextlib.suppress(trio.BrokenResourceError):
                await self._send_outgoing()
        finally:
            await self._transport.aclose(linger=linger, seconds=seconds)  # noqa: ASYNC102 - it closes even if cancelled

    def _has_more(self) -> bool:
        """Whether a read may return data, an end or an error without receiving more from the transport."""
        return bool(self._incoming.pending or self._tls.pending() or self._at_end or self._fault is not None)

    def _encrypted(self, data: bytes) -> bytes:
        """The records to send for this data, after any that TLS has to send on its own."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        return self._outgoing.read()

    def _read(self, size: int) -> bytes | None:
        """Read from the received records, at most `size` octets; ``b""`` at the end, None if more must be received."""
        pieces: list[bytes] = []
        try:
            for _ in range(_RECORDS_AT_ONCE):
                piece = self._tls.read(size)
                pieces.append(piece)
                size -= len(piece)
                self._at_end = not piece
                if self._at_end or not size or not self._incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except _END:
            self._at_end = True
        except ssl.SSLError as error:
            self._fault = error
        if self._outgoing.pending > _MOST_ANSWERS:
            raise trio.BrokenResourceError("too many requests for new keys")
        if not pieces and self._fault is not None:
            raise trio.BrokenResourceError(str(self._fault)) from self._fault
        if not pieces and not self._at_end:
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _receive_more(self, size: int) -> None:
        await self._send_outgoing()  # TLS may have a response of its own to send
        data = await self._transport.receive(max(size, _RECORD))
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _send_outgoing(self) -> None:
        if self._outgoing.pending and not self._transport.send_now(self._outgoing.read()):
            await self._transport.flush()


def _verified_name(certificate: Mapping[str, Any]) -> str | None:
    """The first DNS name or mail address, else the common name, of a certificate that was checked."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email"):
            return str(name)
    for attributes in certificate.get("subject", ()):
        for kind, name in attributes:
            if kind == "commonName":
                return str(name)
    return None
