"""trio-smtp with a handler that drops every message."""

from __future__ import annotations

import trio

import trio_smtp


class Null(trio_smtp.Handler):
    async def message(self, envelope: trio_smtp.Envelope, body: trio_smtp.Body) -> None:
        async for _ in body:
            pass


async def main() -> None:
    async with trio_smtp.open_server(Null, port=0) as server:
        print(server.port, flush=True)
        await trio.sleep_forever()


trio.run(main)
