"""A server that keeps the mail it gets, for tests of applications that send mail. You need not know trio.

`plugin` has pytest fixtures of it. It does not need pytest; with the standard library::

    class Registration(unittest.TestCase):
        def setUp(self):
            self.smtp = self.enterContext(CatchingServer())

        def test_welcome(self):
            register("ann@example.com", mail_host=self.smtp.host, mail_port=self.smtp.port)
            [mail] = self.smtp.messages
            self.assertEqual(mail.parsed.subject, "Welcome")
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self

from trio_smtp.handler import Mail
from trio_smtp.policy import Refusals
from trio_smtp.protocol import Config
from trio_smtp.server import ServerOptions, serve_sockets
from trio_smtp.testing.portal import Portal

if TYPE_CHECKING:
    from types import TracebackType

    import trustme

__all__ = ["CatchingServer"]

_NAMED: Final = 10  # messages in the text of an error, and recipients of each


class CatchingServer:
    """An SMTP server in its own thread, for the length of a `with` block. It can be used for several blocks in turn.

    It accepts every message, every recipient and every login (`Mail.session.identity` is the user name), except what
    `refuse` has named. A message is in `messages` before the client gets the reply that it was accepted.

    Args:
        tls: ``"starttls"`` offers STARTTLS, ``"implicit"`` begins with the TLS handshake. The certificate is for
            localhost and 127.0.0.1, and `authority` has signed it. TLS needs the package trustme.

    Raises:
        ValueError: if `tls` is anything else.
        RuntimeError: on entering a block inside another one of the same server.
    """

    def __init__(self, tls: Literal["starttls", "implicit"] | None = None) -> None:
        self.host: Final = "127.0.0.1"
        self.port = 0
        """The port, set inside the block. Each block gets a free one."""
        self.messages: list[Mail] = []
        """The messages in the order in which they arrived. `messages.clear()` removes them."""
        self._is_running = False
        self._arrived = threading.Condition()
        self._refusals = Refusals()
        self._options: ServerOptions = {
            "config": Config(auth_requires_tls=False, bare_newline="keep"),
            "authenticator": _anybody,
            "policy": self._refusals,
        }
        self._authority: trustme.CA | None = None
        if tls not in (None, "starttls", "implicit"):
            raise ValueError(f"tls must be 'starttls', 'implicit' or None, not {tls!r}")
        if tls is not None:
            self._options |= {"ssl_context": self._certified(), "implicit_tls": tls == "implicit"}

    def __enter__(self) -> Self:
        if self._is_running:  # the thread of the outer block would never end
            raise RuntimeError("this server is running already; make another CatchingServer for a second one")
        sock = socket.create_server((self.host, 0))
        self.port = sock.getsockname()[1]
        self._portal = Portal(partial(serve_sockets, self._keep, [sock], **self._options))
        try:
            self._portal.__enter__()
        except (OSError, RuntimeError):  # no descriptor, or no thread
            sock.close()  # or clients would connect to a server that never answers
            raise
        self._is_running = True
        return self

    @property
    def authority(self) -> bytes:
        """The certificate of the authority that clients must trust, in PEM form, for the application's CA file.

        Raises:
            RuntimeError: if the server is without TLS.
        """
        if self._authority is None:
            raise RuntimeError(
                'this server has no certificate, because it is without TLS; use CatchingServer(tls="starttls")'
            )
        return self._authority.cert_pem.bytes()

    @property
    def client_context(self) -> ssl.SSLContext:
        """An SSL context for clients. It trusts only `authority` and checks the host name."""
        return ssl.create_default_context(cadata=self.authority.decode("ascii"))

    def refuse(
        self,
        what: str,
        code: int = 550,
        text: str = "Refused, for a test",
        enhanced: str | None = None,
        *,
        times: int | None = None,
    ) -> None:
        """Refuse `what` from now on. Call it inside the block or before it.

        Args:
            what: ``"connection"``, ``"login"``, ``"sender"``, ``"recipient"``, ``"message"`` (after it has been
                received), or the address of one recipient.
            code, text, enhanced: the reply to the client, as in `Refuse`: 4xx for now, 5xx for good.
            times: how many times to refuse it before it is accepted again, to test retries; None for no end.

        Raises:
            ValueError: if `what` is anything else, `code` does not refuse, or `text` cannot be sent in a reply.
        """
        self._refusals.refuse(what, code, text, enhanced, times=times)

    def refuse_nothing(self) -> None:
        """Accept everything again."""
        self._refusals.clear()

    def wait_for(
        self, count: int = 1, timeout: float = 10.0, *, where: Callable[[Mail], bool] | None = None
    ) -> list[Mail]:
        """Wait until there are `count` messages and return them, for an application that sends mail in the background.

        Args:
            count: how many messages to wait for, including those that have already arrived.
            timeout: seconds to wait.
            where: selects messages, as ``lambda mail: mail.parsed.subject == "Welcome"``; by default all count.

        Raises:
            TimeoutError: if fewer arrive in that time. Its text lists the messages that did arrive.
        """
        found: list[Mail] = []

        def enough() -> bool:
            found[:] = self.messages if where is None else filter(where, self.messages)
            return len(found) >= count

        with self._arrived:
            if not self._arrived.wait_for(enough, timeout):
                raise TimeoutError(
                    f"{len(found)} of {count} messages arrived within {timeout:g} seconds{_listed(self.messages)}"
                )
            return found

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.__exit__(exc_type, exc, traceback)
        self._is_running = False

    def _certified(self) -> ssl.SSLContext:
        import trustme  # noqa: PLC0415 - only needed for tests with TLS

        self._authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost", self.host).configure_cert(context)
        return context

    async def _keep(self, mail: Mail) -> None:
        with self._arrived:
            self.messages.append(mail)
            self._arrived.notify_all()


def _listed(messages: Sequence[Mail]) -> str:
    """The messages that have arrived, for the text of an error."""
    lines = [
        f"    from <{mail.sender or ''}> to {', '.join(map(str, mail.recipients[:_NAMED]))}: {mail.parsed.subject!a}"
        for mail in messages[:_NAMED]
    ]
    rest = [f"    and {len(messages) - _NAMED} more"] if len(messages) > _NAMED else []
    return "\n".join([":" if lines else "", *lines, *rest])


async def _anybody(username: str, _: str, /) -> str:
    return username
