"""What commands print: one JSON object a line for programs, text for people.

Text of others (mail, names, replies) passes through `escape` before it reaches a terminal. JSON is pure ASCII, so it
is safe as it stands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO, TypeAlias
from unicodedata import combining, east_asian_width

from trio_smtp._escape import escape
from trio_smtp.cli.errors import OutputError, reason

__all__ = [
    "Record",
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
    "say_table",
    "spaced",
    "warn",
]

Value: TypeAlias = str | int | bool | Sequence[str] | None
Record: TypeAlias = Mapping[str, Value]

_BLANKS = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"  # one column each
_UNSEEN = "\xad\u034f\u200b\u200c\u200d\u2060\ufeff"  # they say where a line may break, and which letters are joined
_SPACED = str.maketrans(dict.fromkeys(_BLANKS, " ") | {"\u3000": "  "})
_LEGIBLE = _SPACED | str.maketrans(dict.fromkeys(_UNSEEN, ""))

_WIDEST = 40  # columns of a terminal that a column of a table has, unless it is the last one


def say(line: str = "") -> None:
    """Print a line that is safe already. OutputError if that fails, here as in all that prints."""
    with _written():
        sys.stdout.write(line + "\n")


def say_octets(octets: bytes) -> None:
    """Print them as they are."""
    with _written():
        sys.stdout.buffer.write(octets)


def flush() -> None:
    """Let what was printed be seen now."""
    with _written():
        sys.stdout.flush()


@contextmanager
def _written() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {reason(error)}") from error


def is_coloured() -> bool:
    """Whether colours may be printed: on a terminal that has them, unless NO_COLOR asks for none."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def warn(sentence: str) -> None:
    """Print an error, if there is a place for it, over the bar of `progress`, if there is one; the exit code tells as
    much.
    """
    over = "\r\x1b[K" if sys.stderr.isatty() else ""  # erase the line
    try:
        sys.stderr.write(f"{over}trio-smtp: {printable(sentence)}\n")
    except OSError:
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let what is still in its buffer, and all that follows, go nowhere: Python would exit with 120 otherwise."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(line: str) -> str:
    """A line in which some of the text may be escaped already: its backslashes stay, the rest is made safe."""
    return "".join(char if char.isprintable() else escape(char) for char in line)


def spaced(text: str) -> str:
    """Names and addresses, to be escaped still: every blank a space."""
    return text.translate(_SPACED)


def legible(text: str) -> str:
    """What people write, to be escaped still: every blank a space, and without what nobody sees.

    It is not for names and addresses, of which it would make two look alike.
    """
    return text.translate(_LEGIBLE)


def json_text(record: Mapping[str, object]) -> str:
    """A record as one line of JSON, without its end."""
    return json.dumps(record).replace("\x7f", r"\u007f")  # the one control character that JSON leaves as it is


def say_json(record: Mapping[str, object]) -> None:
    """Print a record as one line of JSON."""
    say(json_text(record))


def say_record(record: Record, *, as_json: bool) -> None:
    """Print one record, for people a line for each of its fields."""
    if as_json:
        say_json(record)
    else:
        for name, value in record.items():
            say(f"{_title(name) + ':':<13} {_cell(value)}".rstrip())


def say_table(records: Iterable[Record], columns: Sequence[str], *, as_json: bool, titles: bool = True) -> None:
    """Print records: whole as JSON, or these columns of them as a table.

    Args:
        titles: whether the table begins with the names of the columns.
    """
    if as_json:
        for record in records:
            say_json(record)
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
        say("  ".join([*padded, last]).rstrip())


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


def _width(cell: str) -> int:
    """In columns of a terminal: letters of East Asia have two, accents that stand for themselves none (UAX #11)."""
    if cell.isascii():
        return len(cell)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in cell)
