"""The output of `bench.run`: Markdown tables that are also readable as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.subjects import BASELINE, Subject
from bench.targets import Results, Round, Verdict, median, ratio
from bench.workloads import Workload

Rounds = Mapping[str, Sequence[Round]]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with the first column aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in others) + " |"

    rule = f"|{'-' * (widths[0] + 2)}|" + "|".join(f"{'-' * (width + 1)}:" for width in widths[1:]) + "|"
    return "\n".join([line(headings), rule, *map(line, rows)])


def number(figure: float) -> str:
    """A figure with up to three significant digits; from 1,000 on a whole number."""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def cost(workload: Workload, rounds: Sequence[Round]) -> str:
    """The microseconds per message, or the KiB per connection."""
    return number(median(rounds, "each") if workload.hold else min(each.cpu for each in rounds))


def describe(workload: Workload, measured: Rounds, subjects: Sequence[Subject]) -> str:
    """The table of a workload, with a line for each server for which the load generator may have been too slow."""
    rows = []
    for subject in subjects:
        if rounds := measured.get(subject.name):
            of_baseline = measured.get(BASELINE)
            relation = f"{ratio(rounds, of_baseline, 'each' if workload.hold else 'cpu'):.3f}" if of_baseline else ""
            row = [subject.name, cost(workload, rounds), relation, f"{median(rounds, 'peak'):,.0f}"]
            if not workload.hold:
                row += [
                    f"{median(rounds, 'growth'):+.1f}",
                    *(number(median(rounds, m)) for m in ("rate", "p50", "p99")),
                ]
            rows.append(row)
    headings = ["server", "KiB each" if workload.hold else "CPU us", f"x {BASELINE}", "peak MiB"]
    if not workload.hold:
        headings += ["growth", "messages/s", "p50 ms", "p99 ms"]
    lines = [f"**{workload.title}** (`{workload.name}`)\n\n{table(headings, rows)}", *busy(measured)]
    return "\n\n".join(lines)


def busy(measured: Rounds) -> Iterator[str]:
    for name, rounds in measured.items():
        if (share := median(rounds, "busy")) > 0.9:
            yield f"The load generator itself was busy for {share:.0%} of the time with {name}."


def summary(results: Results, workloads: Sequence[Workload], subjects: Sequence[Subject]) -> str:
    """The table of the cost of each workload for each server."""
    columns = [subject for subject in subjects if any(subject.name in measured for measured in results.values())]
    rows = []
    for workload in workloads:
        measured = results[workload.name]
        cells = [cost(workload, measured[each.name]) if measured.get(each.name) else "" for each in columns]
        rows.append([f"`{workload.name}`", *cells])
    title = "**Microseconds of processor time for a message; KiB for an idle connection**"
    return f"{title}\n\n{table(['workload', *(each.name for each in columns)], rows)}"


def judgement(verdicts: Sequence[Verdict]) -> str:
    """The table of the targets."""
    rows = [[f"`{v.workload}`", v.what, v.measured, v.wanted, "yes" if v.kept else "**no**"] for v in verdicts]
    return "**Targets**\n\n" + table(["workload", "server, measure", "measured", "wanted", "kept"], rows)
