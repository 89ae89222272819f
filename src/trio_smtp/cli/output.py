"""The output of commands: text for people, or one JSON object per line for programs.

Text from other sources (mail, names, replies) passes through `escape` before it reaches a terminal. JSON is pure ASCII,
so it is safe as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TextIO, TypeAlias
from unicodedata import combining, east_asian_width

from trio_smtp._escape import escape
from trio_smtp.cli.errors import OutputError, reason

__all__ = [
    "Record",
    "counted",
    "drop",
    "flush",
    "is_coloured",
    "json_text",
    "legible",
    "printable",
    "say",
    "say_json",
    "say_octets",
    "say_record",
    "say_result",
    "say_table",
    "spaced",
    "warn",
]

Value: TypeAlias = str | int | bool | Sequence[str] | None
Record: TypeAlias = Mapping[str, Value]

_BLANKS = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"  # one column each
_UNSEEN = "\xad\u034f\u200b\u200c\u200d\u2060\ufeff"  # invisible characters for line breaks and for joining letters
_SPACED = str.maketrans(dict.fromkeys(_BLANKS, " ") | {"\u3000": "  "})
_LEGIBLE = _SPACED | str.maketrans(dict.fromkeys(_UNSEEN, ""))

_WIDEST = 40  # the most terminal columns for a column of a table, except the last one


def say(line: str = "") -> None:
    """Print a line that is already safe for a terminal.

    If the reader, such as ``| head``, has closed the pipe, the line is dropped, so that a command that changes
    something does all of its work. `say_octets` and `say_table` raise an error then: they have nothing else to do.

    Raises:
        OutputError: if standard output cannot be written. The other functions that print raise it too.
    """
    try:
        _say(line)
    except OutputError as error:
        if not isinstance(error.__cause__, BrokenPipeError):
            raise
        drop(sys.stdout)


def _say(line: str) -> None:
    with _written():
        sys.stdout.write(line + "\n")


def say_octets(octets: bytes) -> None:
    """Print octets as they are."""
    with _written():
        sys.stdout.buffer.write(octets)


def flush() -> None:
    """Flush standard output."""
    with _written():
        sys.stdout.flush()


@contextmanager
def _written() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {reason(error)}") from error


def is_coloured() -> bool:
    """Whether to print colours: on a terminal that supports them, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def warn(sentence: str) -> None:
    """Print an error on standard error, over the bar of `progress` if there is one. If that fails, only the exit code
    tells of the error.
    """
    over = "\r\x1b[K" if sys.stderr.isatty() else ""  # erase the line
    try:
        sys.stderr.write(f"{over}trio-smtp: {printable(sentence)}\n")
    except OSError:
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Redirect a broken stream, with its buffered output, to /dev/null. Otherwise Python would exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(line: str) -> str:
    """A safe line, made of one that may contain escaped text: backslashes are kept, unprintable characters escaped."""
    return "".join(char if char.isprintable() else escape(char) for char in line)


def spaced(text: str) -> str:
    """A name or address with every kind of blank replaced by spaces. The result must still be escaped."""
    return text.translate(_SPACED)


def legible(text: str) -> str:
    """A text with every kind of blank replaced by spaces and without invisible characters. It must still be escaped.

    Do not use this for names and addresses: it would make different ones look alike.
    """
    return text.translate(_LEGIBLE)


def counted(number: int, what: str) -> str:
    """A number and the noun for what it counts: ``1 message``, ``2 messages``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def json_text(record: Mapping[str, object]) -> str:
    """A record as one line of JSON, without a line end."""
    return json.dumps(record).replace("\x7f", r"\u007f")  # DEL, the only control character that JSON does not escape


def say_json(record: Mapping[str, object]) -> None:
    """Print a record as one line of JSON."""
    say(json_text(record))


def say_result(record: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print what a command has done: `record` as JSON, or `text`, a line that is already safe for a terminal."""
    say(json_text(record) if as_json else text)


def say_record(record: Record, *, as_json: bool) -> None:
    """Print one record, as JSON or as text with a line for each field."""
    if as_json:
        say_json(record)
    else:
        for name, value in record.items():
            say(f"{_title(name) + ':':<13} {_cell(value)}".rstrip())


def say_table(records: Iterable[Record], columns: Sequence[str], *, as_json: bool, titles: bool = True) -> None:
    """Print records: all fields as JSON, or the fields in `columns` as a table.

    Args:
        titles: whether the table begins with the names of the columns.
    """
    if as_json:
        for record in records:
            _say(json_text(record))
        return
    rows = [[_title(column).upper() for column in columns]] if titles else []
    numeric = set[int]()
    for record in records:
        rows.append([_cell(record[column]) for column in columns])
        numeric |= {at for at, column in enumerate(columns) if type(record[column]) is int}
    widths = [min(_WIDEST, max(map(_width, cells))) for cells in zip(*rows, strict=True)][:-1]
    for *cells, last in rows:
        padded = [
            _padded(_cut(cell), width, to_the_right=at in numeric)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        _say("  ".join([*padded, last]).rstrip())


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int)):
        return escape(str(value))
    return printable(" ".join(value))  # flags begin with a backslash


def _cut(cell: str) -> str:
    if _width(cell) <= _WIDEST:
        return cell
    while _width(cell) >= _WIDEST:
        cell = cell[: min(len(cell), _WIDEST) - 1]
    return cell + "…"


def _padded(cell: str, width: int, *, to_the_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_the_right else cell + blanks


@lru_cache(4096)  # several times a page, and the same senders again and again
def _width(cell: str) -> int:
    """The width in terminal columns: two for wide East Asian characters, none for combining characters (UAX #11)."""
    if cell.isascii():
        return len(cell)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in cell)
