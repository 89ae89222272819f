"""The table in docs/dos-mitigations.md: its rules, flags and arguments exist, it has all rules, its defaults hold."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trio_smtp
from trio_smtp.cli.parser import build_parser
from trio_smtp.cli.serve_flags import RATES
from trio_smtp.server import ServerOptions, log
from trio_smtp.server.server import DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_CONNECTIONS_PER_PEER
from trio_smtp.server.settings import DEFAULT_MESSAGE_MEMORY

PAGE = Path(__file__).parent.parent / "docs" / "dos-mitigations.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if re.match(r"\| (?!attack )", line)
]
CALL = re.compile(r"(\w+)\(([\w=, ]+)\)")
COUNTERS = {"strike", "_turn_away", "_count_refusal", "_Limit"}  # functions that are called with the name of a rule
OPTIONS = {
    "max_connections=": DEFAULT_MAX_CONNECTIONS,
    "max_connections_per_peer=": DEFAULT_MAX_CONNECTIONS_PER_PEER,
    "message_memory=": DEFAULT_MESSAGE_MEMORY // 2,  # half for messages on their way in, half for those read back
}
IN_WORDS = {2: "two", 3: "third", 86_400: "a day", 128 << 10: "128 KiB", 32 << 20: "32 MiB", 128 << 20: "128 MiB"}
SPANS = {60: "in a minute", 600: "in ten minutes", 3600: "in an hour"}
VALUES = {**dict.fromkeys(RATES, "5/10s"), "--early-talkers": "allow"}


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the strings to which an expression may evaluate."""
    for part in [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def rules() -> Iterator[str]:
    """Yield the names of the rules that the server counts."""
    yield from log.BUDGETS.values()
    yield from (rule for rule, _ in log.FAULTS.values())
    package = Path(trio_smtp.__file__).parent
    for path in [*(package / "server").glob("*.py"), *(package / "policy").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                given = node.args if name in COUNTERS else []
                for value in [*given, *(keyword.value for keyword in node.keywords if keyword.arg == "rule")]:
                    yield from texts(value)
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "waits_for":
                yield from texts(node.value)


def told(default: object) -> list[str]:
    """Return the words for a default in the table; none if it is not a number."""
    if isinstance(default, trio_smtp.Rate):
        return [f"{default.count:,}", SPANS[int(default.seconds)]]
    return [IN_WORDS.get(int(default), f"{default:,}")] if isinstance(default, int | float) else []


def test_every_rule_has_a_row_and_every_row_a_rule() -> None:
    assert sorted({rule for row in ROWS for rule in code(row[2])}) == sorted({*rules()} - {""})


def test_every_flag_exists() -> None:
    """Every rate that has a flag has a row as well."""
    flags = {flag.split()[0] for row in ROWS for flag in code(row[3])}
    for flag in flags - {"--listen"}:
        build_parser().parse_args(["serve", f"{flag}={VALUES.get(flag, '5')}"])
    assert {*RATES} <= flags


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_argument_exists_and_its_default_is_told(row: list[str]) -> None:
    for text in code(row[4]):
        call = CALL.fullmatch(text)
        if call is not None:
            made: Any = getattr(trio_smtp, call[1])
            parameters = inspect.signature(made).parameters
            for argument in call[2].split(", "):
                assert argument.removesuffix("=") in parameters, text
                default = parameters[argument.removesuffix("=")].default
                assert all(words in row[1] for words in told(default)), default
        elif text.endswith("="):
            assert text.removesuffix("=") in ServerOptions.__optional_keys__
            assert all(words in row[1] for words in told(OPTIONS.get(text))), text
