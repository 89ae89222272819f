"""The performance targets of trio-smtp, as data: each row is a ratio to another server, or an absolute limit.

A ratio is the median over all rounds of the ratio within one round, because whatever slows the machine down then slows
all servers that are measured in the same seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.subjects import OURS

Measure = Literal["cpu", "rate", "growth", "each"]
UNITS: Mapping[Measure, str] = {"cpu": "us", "rate": "messages/s", "growth": "MiB", "each": "KiB"}


@dataclass(frozen=True)
class Round:
    """The results of one measurement.

    Args:
        cpu: microseconds of the server's processor time per message, user and system.
        rate: messages per second.
        p50: the median time until a message was accepted, in milliseconds.
        p99: the 99th percentile of that time, in milliseconds.
        peak: the peak resident memory, in MiB.
        growth: how much the peak has grown during the measurement, in MiB.
        each: the memory per idle connection, in KiB.
        busy: the share of the time in which the load generator was not waiting.
    """

    cpu: float = 0
    rate: float = 0
    p50: float = 0
    p99: float = 0
    peak: float = 0
    growth: float = 0
    each: float = 0
    busy: float = 0


Results = Mapping[str, Mapping[str, Sequence[Round]]]
"""The rounds by workload and server."""


@dataclass(frozen=True)
class Target:
    """A target for one measure.

    Args:
        workload: the name of the workload.
        measure: which field of `Round` is judged.
        at_most: the greatest ratio to each of these servers.
        at_least: the smallest ratio to each of these servers.
        limit: the greatest value, in the unit of the measure.
        subject: the name of the server that is judged.
    """

    workload: str
    measure: Measure = "cpu"
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    subject: str = OURS


TARGETS = [
    Target("1k-pipelined", at_most={"aiosmtpd": 1 / 6, "go-smtp": 1, "smtp-server": 3 / 4}),
    Target("1k-lockstep", at_most={"aiosmtpd": 1 / 3, "go-smtp": 1.3, "smtp-server": 1.2}),
    Target("10k", at_most={"aiosmtpd": 1 / 10, "go-smtp": 0.6}),
    Target("100k", at_most={"aiosmtpd": 1 / 16, "go-smtp": 0.3}),
    Target("1m", at_most={"aiosmtpd": 1 / 16, "go-smtp": 0.3}),
    Target("25m", at_most={"aiosmtpd": 1 / 10, "go-smtp": 1 / 2}),
    Target("25m", "growth", limit=4),
    Target("100-recipients-pipelined", at_most={"aiosmtpd": 1 / 25, "go-smtp": 1 / 2}),
    Target("connect", at_most={"aiosmtpd": 1 / 2, "go-smtp": 1.5}),
    Target("starttls", at_most={"aiosmtpd": 0.9}),
    Target("implicit-tls", at_most={"aiosmtpd": 0.9}),
    Target("tls-1k", at_most={"aiosmtpd": 1 / 5, "go-smtp": 1.8}),
    *(
        Target(f"idle-{kind}{count}", "each", {"aiosmtpd": 1, "go-smtp": 1, "smtp-server": 1}, limit=limit)
        for kind, limit in (("", 6), ("tls-", 26))
        for count in (1000, 5000)
    ),
    Target("1k-pipelined-200", "rate", at_least={"maildir": 15, "go-smtp-files": 3}, subject="json"),
    Target("1k-lockstep", "rate", at_least={"maildir": 4, "go-smtp-files": 1.2}, subject="json"),
    Target("1k-pipelined-32", "rate", at_least={"memory": 1 / 2, "json-one-by-one": 5}, subject="json"),
]


@dataclass(frozen=True)
class Verdict:
    """A target and the measured value."""

    workload: str
    what: str
    measured: str
    wanted: str
    kept: bool


def value(measured: Round, measure: str) -> float:
    return float(getattr(measured, measure))


def median(rounds: Sequence[Round], measure: str) -> float:
    return statistics.median(value(each, measure) for each in rounds)


def ratio(rounds: Sequence[Round], others: Sequence[Round], measure: str) -> float:
    """The ratio of a measure to that of another server: the median over the rounds that both have."""
    pairs = zip(rounds, others, strict=False)
    return statistics.median(value(one, measure) / (value(other, measure) or 1e-9) for one, other in pairs)


def judge(results: Results, targets: Sequence[Target] = TARGETS) -> Iterator[Verdict]:
    """Yield a verdict for each ratio of which both servers were measured, and for each limit."""
    for target in targets:
        measured = results.get(target.workload, {})
        rounds = measured.get(target.subject)
        if not rounds:
            continue
        what = f"{target.subject}, {target.measure}"
        for sign, wanted in (("at most", target.at_most), ("at least", target.at_least)):
            for other, factor in wanted.items():
                if others := measured.get(other):
                    reached = ratio(rounds, others, target.measure)
                    kept = reached <= factor if sign == "at most" else reached >= factor
                    words = f"{reached:.3g} x {other}", f"{sign} {factor:.3g}"
                    yield Verdict(target.workload, what, *words, kept)
        if target.limit is not None:
            reached, unit = median(rounds, target.measure), UNITS[target.measure]
            words = f"{reached:.3g} {unit}", f"at most {target.limit:g} {unit}"
            yield Verdict(target.workload, what, *words, reached <= target.limit)
