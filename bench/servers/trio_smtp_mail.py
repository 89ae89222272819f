"""trio-smtp with default options, except for the number of connections.

    trio_smtp_mail drop|memory|json|json-one-by-one [CERTIFICATE starttls|implicit]

``drop`` reads and drops every message. The others deliver to a store; the JSON store is in the working directory.
``json-one-by-one`` syncs each message separately, to show the gain from group commit.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

import trio

import trio_smtp
from trio_smtp.mailbox.json_file import writer
from trio_smtp.server import ServerOptions


class Drop(trio_smtp.Handler):
    async def message(self, envelope: trio_smtp.Envelope, body: trio_smtp.Body) -> None:
        async for _ in body:
            pass


async def delivering(kind: str, stack: AsyncExitStack) -> trio_smtp.HandlerFactory:
    if kind == "json-one-by-one":
        writer.GROUP_OCTETS = 1
    store = trio_smtp.MemoryStore() if kind == "memory" else trio_smtp.JSONFileStore("mail")
    await stack.enter_async_context(store)
    await store.create_account("demo", addresses=["demo@example.com"])
    return trio_smtp.MailboxHandler.factory(store)


async def main(*arguments: str) -> None:
    kind, *tls = arguments
    options: ServerOptions = {"max_connections": 10_000}
    if tls:
        certificate, how = tls
        options["ssl_context"] = trio_smtp.server_context(certificate)
        options["implicit_tls"] = how == "implicit"
    async with AsyncExitStack() as stack:
        handler = Drop if kind == "drop" else await delivering(kind, stack)
        server = await stack.enter_async_context(trio_smtp.open_server(handler, **options))
        print(server.port, flush=True)
        await trio.sleep_forever()


trio.run(main, *sys.argv[1:])
