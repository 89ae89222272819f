"""Drive the protocol core alone, in memory, for `bench.instructions`: ``python -m bench.core WHAT MESSAGES``.

It imports nothing but the core and disables garbage collection, because the time and the cost of a collection depend on
everything else in memory. The core creates no reference cycles, so reference counting frees all its objects.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence

from trio_smtp.protocol import NEED_DATA, Config, MailFrom, MessageChunk, RcptTo, SMTPConnection

MAIL, DATA, END = b"MAIL FROM:<sender@example.com>\r\n", b"DATA\r\n", b".\r\n"
RCPT = [b"RCPT TO:<demo@example.com>\r\n", *(b"RCPT TO:<demo+%d@example.com>\r\n" % i for i in range(1, 100))]
READ = 1 << 16  # octets that the server reads from the socket at a time during a body


def content(size: int) -> bytes:
    header = b"From: sender@example.com\r\nTo: demo@example.com\r\nSubject: load\r\n\r\n"
    lines = (b"x" * 76 + b"\r\n") * (size // 78 + 1)
    return header + lines[: size - len(header) - 2] + b"\r\n"


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + READ] for at in range(0, len(data), READ)]


def pipelined(size: int, recipients: int = 1) -> list[bytes]:
    """The input for one message in a pipelined stream: its content and end, followed by the next message's envelope."""
    return pieces(content(size) + END + MAIL + b"".join(RCPT[:recipients]) + DATA)


READS: Mapping[str, Sequence[bytes]] = {
    "1 KB, pipelined": pipelined(1 << 10),
    "1 KB, lockstep": [content(1 << 10) + END, MAIL, RCPT[0], DATA],
    "100 KB": pipelined(100 << 10),
    "100 recipients": pipelined(1 << 10, 100),
}
"""The octets that are read for each message, one item per read."""


def drive(connection: SMTPConnection, data: bytes) -> bytes:
    """Pass octets to the connection, accept all events and return the replies."""
    connection.receive_data(data)
    while (event := connection.next_event()) is not NEED_DATA:
        if type(event) is not MessageChunk:
            connection.accept()
    return connection.data_to_send()


def opened() -> SMTPConnection:
    """A connection that has received the envelope of the first message."""
    connection = SMTPConnection(Config())
    connection.auto_accept = frozenset({MailFrom, RcptTo})  # as in a server without hooks for them
    connection.greet()
    drive(connection, b"EHLO client.example\r\n" + MAIL + RCPT[0] + DATA)
    return connection


def main(what: str, messages: int) -> None:
    gc.disable()
    connection = opened()
    for _ in range(messages):
        for data in READS[what]:
            drive(connection, data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
