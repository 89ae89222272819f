"""The verdicts of measurements against targets, and the tables of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.run import BEGIN, END, write
from bench.subjects import SUBJECTS
from bench.tables import describe, summary
from bench.targets import TARGETS, Round, Target, judge, ratio
from bench.workloads import WORKLOADS, Workload

NAMES = {subject.name: subject for subject in SUBJECTS}
LOADS = {workload.name: workload for workload in WORKLOADS}
LOAD = Workload("load", "a load", "lockstep")


def rounds(*cpu: float) -> list[Round]:
    return [Round(cpu=each, rate=1000 / each) for each in cpu]


def test_a_ratio_is_that_of_rounds_of_the_same_time() -> None:
    assert ratio(rounds(10, 100, 20), rounds(20, 200, 80), "cpu") == 0.5


@pytest.mark.parametrize(
    ("target", "measured", "kept"),
    [
        (Target("load", at_most={"go-smtp": 0.5}), "0.5 x go-smtp", True),
        (Target("load", at_most={"go-smtp": 0.4}), "0.5 x go-smtp", False),
        (Target("load", "rate", at_least={"go-smtp": 2}), "2 x go-smtp", True),
        (Target("load", "rate", at_least={"go-smtp": 3}), "2 x go-smtp", False),
        (Target("load", limit=10), "10 us", True),
        (Target("load", limit=9), "10 us", False),
    ],
)
def test_a_target_is_kept_or_missed(target: Target, measured: str, kept: bool) -> None:
    (verdict,) = judge({"load": {"drop": rounds(10), "go-smtp": rounds(20)}}, [target])
    assert (verdict.measured, verdict.kept) == (measured, kept)


@pytest.mark.parametrize("results", [{}, {"load": {"drop": rounds(1)}}, {"load": {"go-smtp": rounds(1)}}])
def test_what_was_not_measured_is_not_judged(results: dict[str, dict[str, list[Round]]]) -> None:
    assert not list(judge(results, [Target("load", at_most={"go-smtp": 1})]))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.workload}-{target.subject}-{target.measure}")
def test_a_target_speaks_of_what_is_measured(target: Target) -> None:
    workload = LOADS[target.workload]
    assert workload.hold == (target.measure == "each")
    for name in [target.subject, *target.at_most, *target.at_least]:
        assert NAMES[name].can(workload)
        assert workload.stores or not NAMES[name].stores


def test_the_tables() -> None:
    measured = {"drop": rounds(10, 12), "aiosmtpd": rounds(100, 100)}
    subjects = [NAMES["aiosmtpd"], NAMES["go-smtp"], NAMES["drop"]]
    _, _, *lines = describe(LOAD, measured, subjects).splitlines()
    assert [line.split("|")[1:4] for line in lines] == [
        [" server   ", " CPU us ", " x aiosmtpd "],
        ["----------", "-------:", "-----------:"],
        [" aiosmtpd ", "    100 ", "      1.000 "],
        [" drop     ", "     10 ", "      0.110 "],
    ]
    *_, row = summary({"load": measured}, [LOAD], subjects).splitlines()
    assert row == "| `load`   |      100 |   10 |"


def test_a_load_generator_at_its_limit_is_named() -> None:
    assert "busy for 95%" in describe(LOAD, {"drop": [Round(cpu=1, busy=0.95)]}, [NAMES["drop"]])


def test_the_report_replaces_the_one_of_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write(page, "new")
    write(page, "newer")
    assert page.read_text() == f"before\n\n{BEGIN}\n\nnewer\n\n{END}\n\nafter\n"


def test_a_page_without_a_place_for_the_report(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n")
    with pytest.raises(SystemExit, match="has no"):
        write(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n"
