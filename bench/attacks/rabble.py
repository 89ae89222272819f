"""Bad clients, which run until they are killed: ``python -m bench.attacks.rabble PORT``.

Ten send commands and very small messages without waiting for replies, ten send one large message after the other, and
ten guess passwords. The program prints a line when all of them have started.
"""

from __future__ import annotations

import select
import sys
import threading
from base64 import b64encode

from bench.attacks.measure import MAIL, MIB, RCPT, Client

OF_EACH = 10
BURST = (MAIL + RCPT + b"BDAT 1 LAST\r\nx" + b"NOOP\r\n" * 40) * 20  # few enough commands not to be delayed
PIECE = (b"x" * 70 + b"\r\n") * 1000
PASSWORDS = 3  # after so many the server closes the connection


def flood(port: int, begun: threading.Barrier) -> None:
    with Client(port) as client:
        sock = client.greeted().socket
        begun.wait()
        sock.setblocking(False)
        burst = memoryview(BURST)
        while True:
            readable, writable, _ = select.select([sock], [sock], [])
            if readable:
                sock.recv(1 << 16)
            if writable:
                burst = burst[sock.send(burst) :] or memoryview(BURST)


def send_bulk(port: int, begun: threading.Barrier) -> None:
    with Client(port) as client:
        client.greeted()
        begun.wait()
        while True:
            client.say(MAIL, RCPT, b"DATA\r\n")
            for _ in range(10 * MIB // len(PIECE)):
                client.socket.sendall(PIECE)
            client.say(b".\r\n")


def guess(port: int, begun: threading.Barrier) -> None:
    begun.wait()
    attempt = b"AUTH PLAIN " + b64encode(b"\0bob\0guess") + b"\r\n"
    while True:
        with Client(port) as client:
            client.greeted().say(*[attempt] * PASSWORDS)


def main() -> None:
    port = int(sys.argv[1])
    begun = threading.Barrier(3 * OF_EACH + 1)
    for attack in (flood, send_bulk, guess):
        for _ in range(OF_EACH):
            threading.Thread(target=attack, args=(port, begun)).start()
    begun.wait()
    print("begun", flush=True)


if __name__ == "__main__":
    main()
