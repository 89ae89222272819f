"""An application that uses the types of trio-typing: it must type-check, and it receives a message.

pytest does not collect it. ``nox -s typing_compat`` checks and runs it in a separate environment, because the stubs of
trio-typing hide the types of trio itself.
"""

from __future__ import annotations

import trio
from trio_typing import TaskStatus

import trio_smtp

DIALOGUE = (
    b"EHLO client.example\r\nMAIL FROM:<sender@example.com>\r\nRCPT TO:<demo@example.com>\r\nDATA\r\n"
    b"Subject: hello\r\n\r\nworld\r\n.\r\nQUIT\r\n"
)


class Inbox:
    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def take(self, mail: trio_smtp.Mail) -> None:
        self.contents.append(mail.content)

    # serve_smtp reports the start, not this method.
    async def serve(self, *, task_status: TaskStatus[trio_smtp.Server]) -> None:  # noqa: ASYNC128
        await trio_smtp.serve_smtp(self.take, 0, task_status=task_status)


async def main() -> None:
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        server: trio_smtp.Server = await nursery.start(inbox.serve)
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(DIALOGUE)
            while await stream.receive_some():
                pass
        nursery.cancel_scope.cancel()
    assert inbox.contents == [b"Subject: hello\r\n\r\nworld\r\n"], inbox.contents


trio.run(main)
