"""aiosmtpd with one of its own handlers.

    aiosmtpd_mail sink|maildir|maildir-unsynced [CERTIFICATE starttls|implicit]

The Maildir is in the working directory. Python's `mailbox.Maildir`, which the handler uses, syncs each file.
"""

from __future__ import annotations

import asyncio
import mailbox
import ssl
import sys
from pathlib import Path
from typing import IO

from aiosmtpd.handlers import Mailbox, Sink
from aiosmtpd.smtp import SMTP


def flush_only(file: IO[bytes]) -> None:
    file.flush()


async def main(kind: str, *tls: str) -> None:
    if kind == "maildir-unsynced":
        mailbox._sync_flush = flush_only  # type: ignore[attr-defined]  # private; there is no option for it
    handler = Sink() if kind == "sink" else Mailbox(Path("mail"))
    context, implicit = None, False
    if tls:
        certificate, how = tls
        context, implicit = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), how == "implicit"
        context.load_cert_chain(certificate)

    def session() -> SMTP:
        # Without a host name, aiosmtpd would look up its own for every connection.
        return SMTP(handler, hostname="localhost", tls_context=None if implicit else context)

    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", 0, ssl=context if implicit else None, backlog=1000
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
