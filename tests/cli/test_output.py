"""The output of commands: JSON, records, tables and warnings, all with hostile text."""

from __future__ import annotations

import json
import sys

import pytest

from tests.cli.tools import Terminal
from trio_smtp.cli.output import Record, printable, say_json, say_record, say_table, warn

# It clears the screen, reverses the text, ends a line in some programs, and has half of a surrogate pair.
HOSTILE = "\x1b[2J\u202e\u2028\x7f\x9b\r\n\ud800"
ESCAPED = r"\x1b[2J\u202e\u2028\x7f\x9b\r\n\ud800"


def test_json_is_one_line_of_printable_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    record: Record = {"text": HOSTILE, "list": [HOSTILE], "number": 1, "nothing": None}
    say_json(record)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out) == record


def test_record_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    say_record({"read_only": True, "used": 7, "quota": None, "addresses": ["a", "b\x07"], "note": ""}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "read only:    yes",
        "used:         7",
        "quota:        -",
        r"addresses:    a b\x07",
        "note:",
    ]


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    records: list[Record] = [
        {"uid": 9, "sender": HOSTILE, "hidden": 1, "subject": "a\\b"},
        {"uid": 10, "sender": "x" * 50, "hidden": 2, "subject": "y" * 50},
    ]
    say_table(records, ("uid", "sender", "subject"), as_json=False)
    titles, first, second = capsys.readouterr().out.splitlines()
    assert titles == f"UID  {'SENDER':40}  SUBJECT"
    assert first == rf"  9  {ESCAPED:40}  a\\b"
    assert second == f" 10  {'x' * 39}…  {'y' * 50}"


def test_columns_of_a_table_are_those_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["王小明", "e\u0301ve", "ann", "明" * 30]
    say_table([{"name": name, "subject": "x"} for name in names], ("name", "subject"), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        f"NAME{' ' * 36}  SUBJECT",
        f"王小明{' ' * 34}  x",
        f"e\u0301ve{' ' * 37}  x",
        f"ann{' ' * 37}  x",
        f"{'明' * 19}… " + "  x",
    ]


def test_table_without_titles(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([{"uid": 1, "subject": "x"}], ("uid", "subject"), as_json=False, titles=False)
    say_table([], ("uid", "subject"), as_json=False, titles=False)
    assert capsys.readouterr().out == "1  x\n"


def test_table_as_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([{"a": 1, "b": 2}, {"a": 3, "b": 4}], ("a",), as_json=True)
    assert capsys.readouterr().out == '{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n'


def test_warning(capsys: pytest.CaptureFixture[str]) -> None:
    warn("no account 'j\\xf6rg'" + HOSTILE)
    err = capsys.readouterr().err
    assert err == "trio-smtp: no account 'j\\xf6rg'" + ESCAPED + "\n"


def test_a_warning_goes_over_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    warn("careful")
    assert terminal.getvalue() == "\r\x1b[Ktrio-smtp: careful\n"


def test_printable_changes_nothing_twice() -> None:
    once = printable(HOSTILE)
    assert once.isprintable()
    assert printable(once) == once
