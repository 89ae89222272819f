"""The ways to serve: a port, sockets that are bound already, or one stream."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from types import NoneType
from typing import Final, Literal, TypedDict, Unpack

import trio

from trio_smtp._checks import check_type
from trio_smtp.handler import Peer
from trio_smtp.protocol import Config, Limits
from trio_smtp.server.certificates import AnyContext, Certificates
from trio_smtp.server.counting import Connections
from trio_smtp.server.listening import LOOPBACK, bind_sockets
from trio_smtp.server.log import log
from trio_smtp.server.login import AnyAuthenticator, resolve_authenticator
from trio_smtp.server.nurseries import open_bare_nursery
from trio_smtp.server.policies import AnyPolicy, resolve_policies
from trio_smtp.server.proxy import Network, parse_networks
from trio_smtp.server.server import Server
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import DEFAULT_MESSAGE_MEMORY, AnyHandler, Settings, resolve_handler
from trio_smtp.server.spool import MessageMemory
from trio_smtp.server.timeouts import Timeouts
from trio_smtp.server.transport import StreamTransport, peer_at

__all__ = ["ServerOptions", "SessionOptions", "open_server", "serve_smtp", "serve_sockets", "serve_stream"]

_SMTP_PORT: Final = 25


class SessionOptions(TypedDict, total=False):
    """The keyword options that every way to serve takes. All are optional."""

    config: Config | None
    """Host name, limits, and what the server requires of clients."""
    timeouts: Timeouts | None
    """How long the server waits for what."""
    ssl_context: AnyContext | None
    """Offer STARTTLS with these `Certificates`, or with one context; see `server_context`."""
    implicit_tls: bool
    """Begin with the TLS handshake (RFC 8314 §3) instead of offering STARTTLS."""
    lmtp: bool
    """Speak LMTP (RFC 2033); not on port 25."""
    authenticator: AnyAuthenticator | None
    """Offer AUTH, with the mechanisms that it can check, inside TLS only unless `Config.auth_requires_tls` is false."""
    policy: AnyPolicy | None
    """What clients may do: one `Policy` or several, asked in order. None: `default_policies`; ``()``: no policy."""
    message_memory: int
    """Octets of memory for messages that are kept whole, 256 MiB by default. Messages that are large, or for which it
    has no room, are kept on disk until they are complete; one for which it still has no room then gets 452."""
    proxy_networks: Sequence[str | Network]
    """Accept connections only from proxies in these networks, and only with the client's address in a header of the
    PROXY protocol, version 1 or 2. Empty: there is no proxy."""
    early_talkers: Literal["refuse", "allow"]
    """What happens to a client that talks before the greeting (RFC 5321 §4.3.1): it gets 554, or nothing happens."""
    on_error: Literal["reply", "raise"]
    """What happens to an exception in a hook: 451 and a log record or, for tests, the server raises it."""


class ServerOptions(SessionOptions, total=False):
    """The further options of a server that listens."""

    max_connections: int | None
    """Connections at one time; more get 421. None: 1,000."""
    max_connections_per_peer: int | None
    """The same from one address or IPv6 /64. None: 50, with loopback not counted; a number applies to loopback too."""
    connection_counts: Connections
    """Where connections are counted: by default for this server alone; with `SharedCounts`, for several processes."""


async def serve_smtp(  # noqa: ASYNC128 - Server.run calls it
    handler: AnyHandler,
    port: int,
    *,
    host: str | Sequence[str] | None = LOOPBACK,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerOptions],
) -> None:
    """Take mail on a TCP port until cancelled, or until `Server.aclose` is called.

    Like `trio.serve_tcp`: ``trio.run(serve_smtp, on_mail, 1025)``; or ``server = await nursery.start(serve_smtp,
    on_mail, 0)``, and then `Server.port`.

    Args:
        handler: an async function of one `Mail`, a `Handler` subclass, or a `HandlerFactory`.
        port: the port; 0 takes a free one, the same for IPv4 and IPv6.
        host: where to listen: the loopback addresses by default, a name, address or several, None for every interface.
        task_status: gets the `Server` as soon as it accepts connections.
        **options: see `ServerOptions` and `SessionOptions`.

    Raises:
        TypeError: if the handler is none of the three, or an option does not exist or has the wrong type; raised before
            anything is bound.
        ValueError: if the options contradict each other; raised before anything is bound.
        OSError: if the port cannot be bound.
        RuntimeError: if called outside trio.
    """
    settings = _settings(handler, options, ServerOptions.__optional_keys__)
    _check_port(settings, port)
    sockets = await bind_sockets(port, host)
    await _server(settings, sockets, options).run(task_status)


async def serve_sockets(  # noqa: ASYNC128 - Server.run calls it
    handler: AnyHandler,
    sockets: Sequence[socket.socket],
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerOptions],
) -> None:
    """As `serve_smtp`, on sockets that are bound and listening already: Unix sockets, inherited ones.

    Args:
        handler: see `serve_smtp`.
        sockets: stream sockets of the standard library; the server closes them.
        task_status: see `serve_smtp`.
        **options: see `ServerOptions` and `SessionOptions`.

    Raises:
        TypeError, ValueError: as in `serve_smtp`; TypeError also if a socket is not one of the standard library,
            ValueError also if it does not listen.
    """
    settings = _settings(handler, options, ServerOptions.__optional_keys__)
    for sock in sockets:
        if not isinstance(sock, socket.socket):  # such as a path or a trio socket
            raise TypeError(f"a socket must be a listening socket.socket, not {sock!r}")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            _check_port(settings, sock.getsockname()[1])
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):  # accept() would fail again and again
            raise ValueError(f"{sock!r} is not listening; call its listen() first")
        sock.setblocking(False)
    await _server(settings, sockets, options).run(task_status)


@contextlib.asynccontextmanager
async def open_server(
    handler: AnyHandler,
    port: int = 0,
    *,
    host: str | Sequence[str] | None = LOOPBACK,
    **options: Unpack[ServerOptions],
) -> AsyncIterator[Server]:
    """Run a server for an ``async with`` block. Leaving the block drains; an exception aborts the connections.

    Args:
        handler: see `serve_smtp`.
        port: the port; 0, the default, takes a free one, see `Server.port`.
        host: see `serve_smtp`.
        **options: see `ServerOptions` and `SessionOptions`.

    Raises:
        TypeError, ValueError, OSError: as in `serve_smtp`.
    """
    settings = _settings(handler, options, ServerOptions.__optional_keys__)
    _check_port(settings, port)
    server = _server(settings, await bind_sockets(port, host), options)
    async with open_bare_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        await server.aclose()


async def serve_stream(handler: AnyHandler, stream: trio.abc.Stream, **options: Unpack[SessionOptions]) -> None:
    """Take mail over one connection, on any trio stream, until the session ends; then close the stream.

    Args:
        handler: see `serve_smtp`.
        stream: the connection, such as a memory stream in tests, a Unix socket or a tunnel.
        **options: see `SessionOptions`.

    Raises:
        TypeError, ValueError: as in `serve_smtp`; TypeError also if `stream` is not a trio stream.
    """
    settings = _settings(handler, options, SessionOptions.__optional_keys__)
    if not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"the stream must be a trio.abc.Stream, such as trio.SocketStream, not {stream!r}")
    peer = Peer("", 0)
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):  # the client is gone already; the session will notice
            peer = peer_at(stream.socket.getpeername())
    session = ServerSession(settings, StreamTransport(stream), peer)
    async with open_bare_nursery() as nursery:
        nursery.start_soon(_abort_when_cancelled, session)
        await session.run()
        nursery.cancel_scope.cancel()


async def _abort_when_cancelled(session: ServerSession) -> None:
    try:
        await trio.sleep_forever()
    finally:
        session.abort()


def _settings(handler: AnyHandler, options: SessionOptions, known: frozenset[str]) -> Settings:
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError("the server must be called from async code that runs in trio.run()")
    _check_options(options, known)
    config = options.get("config") or Config()
    config = dataclasses.replace(config, lmtp=config.lmtp or options.get("lmtp", False), verify=True)
    ssl_context = options.get("ssl_context")
    if options.get("implicit_tls") and ssl_context is None:
        raise ValueError("implicit_tls needs an ssl_context")
    if isinstance(ssl_context, ssl.SSLContext):
        ssl_context.options |= ssl.OP_NO_RENEGOTIATION  # not set by default: CVE-2011-1473
    return Settings(
        make_handler=resolve_handler(handler),
        config=config,
        timeouts=options.get("timeouts") or Timeouts(),
        ssl_context=ssl_context,
        implicit_tls=options.get("implicit_tls", False),
        authenticator=resolve_authenticator(options.get("authenticator")),
        policies=resolve_policies(options.get("policy")),
        memory=MessageMemory(options.get("message_memory", DEFAULT_MESSAGE_MEMORY)),
        proxy_networks=parse_networks(options.get("proxy_networks", ())),
        early_talkers=options.get("early_talkers", "refuse"),
        on_error=options.get("on_error", "reply"),
    )


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "config": (Config, NoneType),
    "timeouts": (Timeouts, NoneType),
    "ssl_context": (Certificates, ssl.SSLContext, NoneType),
    "implicit_tls": (bool,),
    "lmtp": (bool,),
    "message_memory": (int,),
    "max_connections": (int, NoneType),
    "max_connections_per_peer": (int, NoneType),
    "connection_counts": (Connections,),
}
_CHOICES: Final = {"early_talkers": ("refuse", "allow"), "on_error": ("reply", "raise")}


def _check_options(options: Mapping[str, object], known: frozenset[str]) -> None:
    """Find the mistakes that a type checker finds, for callers who use none; they would show much later, or never."""
    for name in options.keys() - known:
        home = next((kind.__name__ for kind in (Config, Limits, Timeouts) if hasattr(kind(), name)), None)
        hint = f"it is an argument of {home}" if home else f"the options are {', '.join(sorted(known))}"
        raise TypeError(f"there is no option {name}; {hint}")
    for name, value in options.items():
        if name in _TYPES:
            check_type(name, value, *_TYPES[name])
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{name} must be at least 0, not {value}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name} must be {' or '.join(map(repr, _CHOICES[name]))}, not {value!r}")
    context = options.get("ssl_context")
    if isinstance(context, ssl.SSLContext) and context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("ssl_context must be for a server, not for a client; use server_context(certificate, key)")


def _check_port(settings: Settings, port: int) -> None:
    if settings.config.lmtp and port == _SMTP_PORT:
        raise ValueError("LMTP must not use port 25 (RFC 2033 section 5)")


def _server(settings: Settings, sockets: Sequence[socket.socket], options: ServerOptions) -> Server:
    config = settings.config
    if config.tls_required and settings.ssl_context is None:
        log.warning("all mail is refused: Config.tls_required is set, and there is no ssl_context")
    if settings.authenticator is None:
        if config.auth_required:
            log.warning("all mail is refused: Config.auth_required is set, and there is no authenticator")
    elif config.auth_requires_tls and settings.ssl_context is None:
        log.warning("nobody can log in: it takes an ssl_context, or Config(auth_requires_tls=False)")
    return Server(
        settings,
        sockets,
        options.get("max_connections"),
        options.get("max_connections_per_peer"),
        options.get("connection_counts") or Connections(),
    )
