"""What all the sessions of one server share, and how an application's handler becomes one `Handler` a connection."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from trio_smtp._checks import hint, is_async, takes
from trio_smtp.handler import Body, Handler, HandlerFactory, Mail
from trio_smtp.protocol import Config, Envelope, Reply
from trio_smtp.server.certificates import AnyContext
from trio_smtp.server.login import Authenticator
from trio_smtp.server.policies import Policies
from trio_smtp.server.proxy import Network
from trio_smtp.server.spool import MessageMemory
from trio_smtp.server.stats import Stats
from trio_smtp.server.timeouts import Timeouts

__all__ = ["DEFAULT_MESSAGE_MEMORY", "AnyHandler", "Settings", "resolve_handler"]

DEFAULT_MESSAGE_MEMORY: Final = 256 << 20

AnyHandler: TypeAlias = Callable[[Mail], Awaitable[Reply | None]] | type[Handler] | HandlerFactory
"""What a server takes as its application: an async function of one `Mail`, a `Handler` class, a `HandlerFactory`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server was started with."""

    make_handler: Callable[[], Handler]
    config: Config = field(default_factory=Config)
    timeouts: Timeouts = field(default_factory=Timeouts)
    ssl_context: AnyContext | None = None
    implicit_tls: bool = False
    authenticator: Authenticator | None = None
    policies: Policies = field(default_factory=Policies)
    memory: MessageMemory = field(default_factory=lambda: MessageMemory(DEFAULT_MESSAGE_MEMORY))
    proxy_networks: Sequence[Network] = ()
    early_talkers: Literal["refuse", "allow"] = "refuse"
    on_error: Literal["reply", "raise"] = "reply"
    stats: Stats = field(default_factory=Stats)


def resolve_handler(handler: AnyHandler) -> Callable[[], Handler]:
    """The function that makes the handler of each connection.

    Raises:
        TypeError: if `handler` is none of the three forms, or cannot be called with its arguments.
    """
    if isinstance(handler, HandlerFactory):
        if is_async(handler.make) or not takes(handler.make, 0):
            raise TypeError(f"a HandlerFactory needs a synchronous function without arguments, not {handler.make!r}")
        return functools.partial(_made, handler.make)
    if isinstance(handler, type) and issubclass(handler, Handler):
        if not takes(handler, 0):
            name = handler.__name__
            way = f"{name}.factory(...)" if hasattr(handler, "factory") else f"HandlerFactory(lambda: {name}(...))"
            raise TypeError(f"{name} cannot be created without arguments; pass {way}")
        return handler
    if is_async(handler):
        if not takes(handler, 1):
            raise TypeError(f"a handler function must take one argument, the Mail, and {handler!r} does not")
        return functools.partial(_FunctionHandler, handler)
    raise TypeError(
        "a handler must be an async function of one Mail, a subclass of Handler (the class, not an instance) or a "
        f"HandlerFactory, not {handler!r}{hint(handler)}"
    )


def _made(make: Callable[[], Handler]) -> Handler:
    handler = make()
    if not isinstance(handler, Handler):
        raise TypeError(f"the function of a HandlerFactory must return a Handler, and {make!r} returned {handler!r}")
    if hasattr(handler, "session"):  # the session of one client would be taken for that of another
        raise TypeError(f"the function of a HandlerFactory must make a new Handler each time, and {make!r} did not")
    return handler


class _FunctionHandler(Handler):
    """The handler for a function: reads the whole message into memory, then calls the function."""

    def __init__(self, function: Callable[[Mail], Awaitable[Reply | None]]) -> None:
        self._function = function

    async def message(self, envelope: Envelope, body: Body) -> Reply | Sequence[Reply] | None:
        content = await body.read()
        mail = Mail(envelope.sender, tuple(envelope.recipients), envelope.params, content, self.session)
        return await self._function(mail)
