"""trio-smtp for the scenarios of `bench.attack` that the program cannot show: ``trio_smtp_target MODE``.

``logins`` drops mail and checks passwords as the program does, but without TLS. ``mixed`` offers STARTTLS, accepts no
password, and buffers every message in a file. ``holding`` keeps every message in memory for a while. ``raising`` raises
in the hook that the client names. The server answers every line of its standard input with its counters as JSON.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack

import trio

import trio_smtp
from bench.attacks.measure import HELD, RAISES_AT_ONCE, RECIPIENT
from trio_smtp.cli.self_signed import self_signed
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.server import AnyHandler, ServerOptions


async def hold(_mail: trio_smtp.Mail) -> None:
    await trio.sleep(HELD)


async def take(_mail: trio_smtp.Mail) -> None:
    pass


async def nobody(_username: str, _password: str) -> str | None:
    return None


def faults() -> Iterator[Exception]:
    while True:
        yield RuntimeError("on purpose")
        yield ExceptionGroup("on purpose", [KeyError("a"), ValueError("b")])
        yield trio.TooSlowError("on purpose")
        yield trio.BrokenResourceError("on purpose")
        yield RecursionError("on purpose")
        yield OSError(24, "on purpose")


class Raising(trio_smtp.Handler):
    """Raises in the hook that the first label of the client's EHLO name names, a different exception each time."""

    faults = faults()

    def _raise_in(self, hook: str) -> None:
        if self.session.hello is not None and self.session.hello.domain.startswith(f"{hook}."):
            raise next(self.faults)

    async def connect(self) -> None:
        if self.session.peer.host == RAISES_AT_ONCE:
            raise next(self.faults)

    async def hello(self, event: trio_smtp.Hello) -> None:
        if event.domain.startswith("hello."):
            raise next(self.faults)

    async def mail(self, event: trio_smtp.MailFrom) -> None:
        self._raise_in("mail")

    async def rcpt(self, event: trio_smtp.RcptTo) -> None:
        self._raise_in("rcpt")

    async def message(self, envelope: trio_smtp.Envelope, body: trio_smtp.Body) -> None:
        async for _ in body:
            self._raise_in("message")

    async def reset(self, reason: trio_smtp.AbortReason) -> None:
        self._raise_in("reset")

    async def close(self) -> None:
        self._raise_in("close")


async def configured(mode: str, stack: AsyncExitStack) -> tuple[AnyHandler, ServerOptions]:
    in_clear = trio_smtp.Config(auth_requires_tls=False)
    if mode == "logins":
        store = await stack.enter_async_context(opened(StoreURL("null")))
        await store.create_account("bob", addresses=[RECIPIENT.decode()], password="correct horse battery staple")
        authenticator = trio_smtp.StoreAuthenticator(store)
        return trio_smtp.MailboxHandler.factory(store), {"config": in_clear, "authenticator": authenticator}
    if mode == "mixed":
        certificate, _ = stack.enter_context(self_signed(StoreURL("memory"), "localhost"))
        return take, {
            "config": in_clear,
            "authenticator": nobody,
            "message_memory": 0,
            "ssl_context": trio_smtp.server_context(certificate),
        }
    if mode == "holding":
        return hold, {}
    if mode == "raising":
        return Raising, {}
    sys.exit(f"no such mode: {mode}")


def report(server: trio_smtp.Server) -> Mapping[str, object]:
    gc.collect()
    stats = server.stats
    return {
        "connections": stats.connections,
        "messages": stats.messages_accepted,
        "login_failures": stats.login_failures,
        "hook_errors": stats.hook_errors,
        "open": server.connections,
        "tasks": trio.lowlevel.current_statistics().tasks_living,
    }


async def main() -> None:
    async with AsyncExitStack() as stack:
        handler, options = await configured(sys.argv[1], stack)
        server = await stack.enter_async_context(trio_smtp.open_server(handler, host="127.0.0.1", **options))
        print(server.port, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(report(server)), flush=True)


trio.run(main)
