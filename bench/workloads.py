"""The workloads of the servers. Each is one command line for load.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TLS = Literal["none", "starttls", "implicit"]
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Workload:
    """A workload.

    Args:
        name: the name for ``--workloads``.
        title: a description for people.
        mode: the mode of load.c.
        sessions: the number of concurrent sessions.
        size: the octets of a message.
        recipients: the number of recipients of a message.
        tls: how the sessions begin.
        options: further options for load.c.
        hold: whether to measure the memory per session instead of messages.
        stores: whether to measure also the servers that keep mail, not only those that drop it.
        quick: whether it belongs to the short version.
    """

    name: str
    title: str
    mode: Literal["lockstep", "pipelined", "bdat", "hello"]
    sessions: int = 10
    size: int = KIB
    recipients: int = 1
    tls: TLS = "none"
    options: tuple[str, ...] = ()
    hold: bool = False
    stores: bool = False
    quick: bool = False

    @property
    def arguments(self) -> list[str]:
        """The arguments for load.c."""
        numbers = {"sessions": self.sessions, "size": self.size, "recipients": self.recipients}
        words = [f"--{name}={value}" for name, value in numbers.items()]
        return [*words, f"--mode={self.mode}", f"--tls={self.tls}", *self.options, *["--hold"] * self.hold]


WORKLOADS = [
    Workload("1k-pipelined", "1 KB, pipelined, 10 sessions", "pipelined", stores=True, quick=True),
    Workload("1k-pipelined-32", "1 KB, pipelined, 32 sessions", "pipelined", 32, stores=True, quick=True),
    Workload("1k-pipelined-200", "1 KB, pipelined, 200 sessions", "pipelined", 200, stores=True),
    Workload("1k-lockstep", "1 KB, lockstep, 10 sessions", "lockstep", stores=True, quick=True),
    Workload("10k", "10 KB, pipelined, 10 sessions", "pipelined", size=10 * KIB),
    Workload("100k", "100 KB, pipelined, 10 sessions", "pipelined", size=100 * KIB, quick=True),
    Workload("1m", "1 MB, pipelined, 4 sessions", "pipelined", 4, size=MIB),
    Workload("25m", "25 MB, one session", "lockstep", 1, size=25 * MIB, quick=True),
    Workload("100-recipients-pipelined", "100 recipients, 1 KB, pipelined, 10 sessions", "pipelined", recipients=100),
    Workload("100-recipients-lockstep", "100 recipients, 1 KB, lockstep, 10 sessions", "lockstep", recipients=100),
    Workload("bdat-1k", "BDAT, 1 KB, pipelined, 10 sessions", "bdat"),
    Workload("bdat-1m", "BDAT, 1 MB, pipelined, 4 sessions", "bdat", 4, size=MIB),
    Workload("connect", "connect, one message of 1 KB, quit", "pipelined", options=("--reconnect",), quick=True),
    Workload("starttls", "connect, STARTTLS, quit", "hello", tls="starttls", options=("--reconnect",)),
    Workload("implicit-tls", "connect with TLS, quit", "hello", tls="implicit", options=("--reconnect",)),
    Workload("tls-1k", "1 KB in TLS, pipelined, 10 sessions", "pipelined", tls="implicit"),
    Workload("tls-1m", "1 MB in TLS, pipelined, 4 sessions", "pipelined", 4, size=MIB, tls="implicit"),
    Workload(
        "open-200",
        "200 connections a second, one message of 1 KB in each",
        "pipelined",
        1000,
        options=("--rate=200", "--seconds=2"),
    ),
    Workload(
        "slow-100",
        "100 slow clients: 64 octets, then a pause of 50 ms",
        "pipelined",
        100,
        options=("--piece=64", "--pause=0.05", "--seconds=3"),
    ),
    Workload("idle-1000", "1,000 idle connections", "lockstep", 1000, hold=True),
    Workload("idle-5000", "5,000 idle connections", "lockstep", 5000, hold=True),
    Workload("idle-tls-1000", "1,000 idle connections in TLS", "lockstep", 1000, tls="implicit", hold=True),
    Workload("idle-tls-5000", "5,000 idle connections in TLS", "lockstep", 5000, tls="implicit", hold=True),
]
