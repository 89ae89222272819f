"""Measure what logins reveal and what they cost: ``python -m bench.auth``, or ``nox -s bench -- auth``.

For scrypt and for Argon2id (the extra ``auth``):

1. *The time does not reveal which users exist.* Compared are the median times to refuse an unknown user and to refuse a
   wrong password, over 400 alternating tries of each: for the hash alone in processor time, and for AUTH PLAIN over
   loopback in elapsed time, where the replies must be the same too. The limit is a difference of 2 %.
2. *Logins do not block the server.* 1,000 clients send AUTH PLAIN at the same moment. Measured are how late a server
   task wakes up that sleeps for a millisecond (p99 and maximum; the limit is a p99 of 20 ms), how many passwords are
   hashed at a time (at most 2), how many clients get 454 because the queue is full, and that all others get an answer.

With ``--check`` the exit code is 1 if a limit is exceeded. The numbers mean little on a machine that is busy with other
things. On an idle one it takes ten minutes; ``--tries`` and ``--clients`` change that.
"""

from __future__ import annotations

import argparse
import json
import smtplib
import statistics
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator

import trio

from bench.options import add_check, conclude, machine
from bench.process import Server, running
from trio_smtp.mailbox import passwords

METHODS = ("scrypt", "argon2id")
ACCOUNT, PASSWORD = "known", "correct horse battery staple"
WRONG, UNKNOWN = (ACCOUNT, "incorrect horse battery staple"), ("nobody", "incorrect horse battery staple")
SERVER = "bench.servers.trio_smtp_logins"
AT_ONCE, WAITING = 2, 64  # the defaults of StoreAuthenticator
HAS_ARGON2 = passwords.HAS_ARGON2
LIMIT_DIFFERENCE = 0.02
LIMIT_STALL = 0.020  # seconds


def use_method(name: str) -> None:
    """Hash passwords with Argon2id, as with the extra ``auth``, or with scrypt, as without it."""
    if name == "argon2id" and not HAS_ARGON2:
        sys.exit("Argon2id needs argon2-cffi: python -m pip install '.[auth]'")
    passwords.HAS_ARGON2 = name == "argon2id"  # type: ignore[misc]  # Final, but not for this benchmark


def alternate(
    tries: int, clock: Callable[[], float], wrong: Callable[[], object], unknown: Callable[[], object]
) -> tuple[float, float]:
    """The median seconds of `wrong` and of `unknown`. They take turns in being first, so that neither benefits."""
    times: dict[Callable[[], object], list[float]] = {wrong: [], unknown: []}
    for number in range(tries):
        for attempt in (wrong, unknown) if number % 2 else (unknown, wrong):
            start = clock()
            attempt()
            times[attempt].append(clock() - start)
    return statistics.median(times[wrong]), statistics.median(times[unknown])


def compare(what: str, medians: tuple[float, float]) -> Iterator[str]:
    """Print the two medians, and yield a sentence if they differ too much."""
    wrong, unknown = medians
    difference = abs(wrong - unknown) / wrong
    print(f"  {what:<22}wrong password {wrong * 1e3:.2f} ms, unknown user {unknown * 1e3:.2f} ms: {difference:.2%}")
    if difference > LIMIT_DIFFERENCE:
        yield f"{what}: unknown users differ by {difference:.2%}, the limit is {LIMIT_DIFFERENCE:.0%}"


def time_hash(tries: int) -> tuple[float, float]:
    credentials = passwords.hash_password(PASSWORD)
    return alternate(
        tries,
        time.thread_time,
        lambda: passwords.verify_password(credentials, WRONG[1]),
        lambda: passwords.verify_password(None, UNKNOWN[1]),
    )


def plain(username: str, password: str) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{username}\0{password}".encode()).decode()


def time_replies(server: Server, tries: int) -> tuple[float, float]:
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo()
        replies = {client.docmd(plain(*claim)) for claim in (WRONG, UNKNOWN)}
        medians = alternate(
            tries,
            time.perf_counter,
            lambda: replies.add(client.docmd(plain(*WRONG))),
            lambda: replies.add(client.docmd(plain(*UNKNOWN))),
        )
    if len(replies) != 1:
        sys.exit(f"the replies differ: {replies}")
    return medians


async def rush(port: int, clients: int) -> Counter[bytes]:
    """Let all clients log in at the same moment, and count the reply codes."""
    codes: Counter[bytes] = Counter()
    ready, go = trio.Event(), trio.Event()
    connected = 0

    async def one(number: int) -> None:
        nonlocal connected
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.receive_some()
            await stream.send_all(b"EHLO client.example\r\n")
            await stream.receive_some()
            connected += 1
            if connected == clients:
                ready.set()
            await go.wait()
            await stream.send_all(plain(*(WRONG, UNKNOWN)[number % 2]).encode() + b"\r\n")
            codes[(await stream.receive_some())[:3]] += 1

    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(one, number)
        await ready.wait()
        go.set()
    return codes


def measure_rush(method: str, clients: int) -> Iterator[str]:
    with running(SERVER, method) as server:
        start = time.perf_counter()
        codes = trio.run(rush, server.port, clients)
        seconds = time.perf_counter() - start
        report = json.loads(server.finish())
    stalls, hashes = sorted(report["stalls"]), report["hashes"]
    p99 = stalls[len(stalls) * 99 // 100]
    counts = ", ".join(f"{count} x {code.decode()}" for code, count in sorted(codes.items()))
    print(f"  {clients} clients at once    {counts} in {seconds:.1f} s; {hashes} hashes at a time;")
    print(f"  {'':<22}the loop is late by {p99 * 1e3:.1f} ms (p99), {stalls[-1] * 1e3:.1f} ms (most)")
    if p99 > LIMIT_STALL:
        yield f"{clients} clients at once: the loop is late by {p99 * 1e3:.1f} ms, the limit is {LIMIT_STALL * 1e3:.0f}"
    if hashes > AT_ONCE:
        yield f"{clients} clients at once: {hashes} hashes at a time, the limit is {AT_ONCE}"
    if codes.keys() - {b"454", b"535"} or codes.total() != clients:
        yield f"{clients} clients at once: other answers than 454 and 535: {counts}"
    if clients > 2 * (AT_ONCE + WAITING) and codes[b"454"] < clients - 2 * (AT_ONCE + WAITING):
        yield f"{clients} clients at once: too few were turned away: {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.auth", description="Measure logins.")
    parser.add_argument("--tries", type=int, default=400, help="of each kind (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=1000, help="that log in at once (default: %(default)s)")
    add_check(parser)
    arguments = parser.parse_args()

    print(f"{machine()}, medians of {arguments.tries} tries")
    broken: list[str] = []
    for method in METHODS:
        print(f"\n{method}")
        use_method(method)
        sentences = list(compare("hash alone", time_hash(arguments.tries)))
        with running(SERVER, method) as server:
            sentences += compare("AUTH PLAIN", time_replies(server, arguments.tries))
        sentences += measure_rush(method, arguments.clients)
        broken += [f"{method}: {sentence}" for sentence in sentences]
    conclude(broken, check=arguments.check)


if __name__ == "__main__":
    main()
