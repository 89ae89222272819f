"""The tables in docs/sans-io.md are those of the code."""

from __future__ import annotations

from pathlib import Path

from trio_smtp.protocol.states import COMMANDS, TRANSITIONS, State

PAGE = Path(__file__).parents[2] / "docs" / "sans-io.md"


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a header line, a list of cells each."""
    lines = PAGE.read_text().splitlines()
    rows: list[list[str]] = []
    for line in lines[lines.index(heading) + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


def test_commands() -> None:
    printed = table("| state | meaning | commands |")
    assert printed == [
        [state.name, state.value, " ".join(sorted(verb.decode() for verb in COMMANDS[state])) or "-"] for state in State
    ]


def test_transitions() -> None:
    printed = table("| state | what happens | next state |")
    assert printed == [
        [state.name, trigger.value, following.name]
        for state in State
        for trigger, following in TRANSITIONS[state].items()
    ]
