"""The trio layer: listeners, sessions, TLS and the drain."""

from __future__ import annotations

from trio_smtp.server.authentication import StoreAuthenticator
from trio_smtp.server.certificates import AnyContext, CertificateError, Certificates, server_context
from trio_smtp.server.counting import Connections
from trio_smtp.server.listening import bind_sockets
from trio_smtp.server.login import AnyAuthenticator, Authenticator
from trio_smtp.server.serve import (
    ServerOptions,
    SessionOptions,
    open_server,
    serve_smtp,
    serve_sockets,
    serve_stream,
)
from trio_smtp.server.server import Server
from trio_smtp.server.settings import AnyHandler
from trio_smtp.server.shared import SharedCounts, SharedMemory, shared_memory
from trio_smtp.server.stats import Stats
from trio_smtp.server.timeouts import Timeouts

__all__ = [
    "AnyAuthenticator",
    "AnyContext",
    "AnyHandler",
    "Authenticator",
    "CertificateError",
    "Certificates",
    "Connections",
    "Server",
    "ServerOptions",
    "SessionOptions",
    "SharedCounts",
    "SharedMemory",
    "Stats",
    "StoreAuthenticator",
    "Timeouts",
    "bind_sockets",
    "open_server",
    "serve_smtp",
    "serve_sockets",
    "serve_stream",
    "server_context",
    "shared_memory",
]
