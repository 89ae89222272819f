"""A pytest fixture for applications that send mail: a server that keeps what it gets. No knowledge of trio is needed.

In conftest.py::

    pytest_plugins = ["trio_smtp.testing.plugin"]

and in a test::

    def test_welcome(smtp_server):
        register("ann@example.com", mail_host=smtp_server.host, mail_port=smtp_server.port)
        [mail] = smtp_server.messages
        assert str(mail.recipients[0]) == "ann@example.com"
        assert mail.parsed.subject == "Welcome"

It is not loaded by itself, for trio-smtp is installed in more places than those that test with it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self

import pytest
import trio

from trio_smtp.handler import Mail
from trio_smtp.protocol import Config
from trio_smtp.server import serve_sockets

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CatchingServer", "smtp_server"]


class CatchingServer:
    """An SMTP server in a thread of its own, for the length of a `with` block, or of several, one after the other.

    It takes every message for everybody and every login (`Mail.session.identity` is the user name). A message is in
    `messages` before the client hears that it was accepted.
    """

    def __init__(self) -> None:
        self.host: Final = "127.0.0.1"
        self.port = 0
        """A free one, known inside the block; each block has its own."""
        self.messages: list[Mail] = []
        """In the order in which they came; `messages.clear()` forgets them."""
        self._arrived = threading.Condition()

    def __enter__(self) -> Self:
        self._scope = trio.CancelScope()
        self._started = threading.Event()
        sock = socket.create_server((self.host, 0))
        self.port = sock.getsockname()[1]
        self._thread = threading.Thread(target=trio.run, args=(self._serve, sock), name="smtp_server")
        self._thread.start()
        self._started.wait()
        return self

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Mail]:
        """The messages, as soon as there are so many: for what is sent behind the back of a test.

        Args:
            count: how many, those included that have come already.
            timeout: seconds to wait.

        Raises:
            TimeoutError: if fewer have come by then.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"{len(self.messages)} of {count} messages came within {timeout:g} seconds")
            return self.messages[:]

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join()

    async def _serve(self, sock: socket.socket) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._started.set()
        with self._scope:
            config = Config(auth_requires_tls=False, bare_newline="keep")
            await serve_sockets(self._keep, [sock], authenticator=_anybody, config=config, policy=())

    async def _keep(self, mail: Mail) -> None:
        with self._arrived:
            self.messages.append(mail)
            self._arrived.notify_all()


async def _anybody(username: str, _: str, /) -> str:
    return username


@pytest.fixture
def smtp_server() -> Iterator[CatchingServer]:
    """A server that keeps what it gets, anew for each test: `.host`, `.port`, `.messages`."""
    with CatchingServer() as server:
        yield server
