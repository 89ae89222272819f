r"""mbox: a whole mailbox in one file, which every mail program can read.

A message begins with a line `From sender date` and ends before the next such line (RFC 4155). Inside a message, a line
that begins with `From `, after any number of `>`, is written with one more `>`, which reading removes again ("mboxrd").
Nothing else is changed, not even line ends. So far, other programs do the same. But a message need not end with a
newline, and programs disagree whether the empty line between messages belongs to one. To preserve every octet, we

- end each message with one LF, whatever precedes it: after a message that ends with a newline, as mail does, this is
  the usual empty line;
- write `trio-smtp` as the sender, by which we recognise our own files, and after the date the flags, which other
  readers of mbox ignore: `From trio-smtp Mon Nov 23 20:00:01 2026 \Seen $Junk`.

In files of other programs, an empty line at the end of a message is dropped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from trio_smtp.mailbox.names import check_flags
from trio_smtp.mailbox.store import InvalidFlag

__all__ = ["MboxMessage", "read_mbox", "to_mbox"]

_OURS = b"trio-smtp"
_TO_QUOTE = re.compile(rb"^(?=>*From )", re.MULTILINE)  # ^ matches at the start and after each LF
_QUOTED = re.compile(rb">+From ")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_FROM = re.compile(  # a time zone before or after the year is ignored
    rb"From (?P<sender>.*?)(?<= )[A-Z][a-z]{2} +(?P<month>[A-Z][a-z]{2}) +(?P<day>[0-9]{1,2})"
    rb" +(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    rb" +(?:[A-Z+-][A-Z0-9+-]* +)?(?P<year>[0-9]{1,4})\b(?P<flags>[^\r\n]*)"
)
_EMPTY_LINE = re.compile(rb"(?<=\n)\r?\n\Z|\A\r?\n\Z")


class MboxMessage(NamedTuple):
    """A message from an mbox; `date` is None if it cannot be read, `flags` is empty in files of other programs."""

    content: bytes
    date: datetime | None
    flags: frozenset[str]


def to_mbox(content: bytes, date: datetime, flags: Iterable[str]) -> bytes:
    """Return a message in the form that it has in an mbox.

    Args:
        date: when it arrived, with a time zone.
        flags: as a store returns them.
    """
    words = [time.asctime(date.astimezone(UTC).timetuple()), *sorted(flags)]
    return b"From %s %s\n%s\n" % (_OURS, " ".join(words).encode("ascii"), _TO_QUOTE.sub(b">", content))


def read_mbox(lines: Iterable[bytes]) -> Iterator[MboxMessage]:
    """Yield the messages of an mbox, each as soon as it is complete.

    Args:
        lines: each with the LF that ends it, as from a binary file.

    Raises:
        ValueError: if this is not an mbox; raised before the first message.
    """
    first: re.Match[bytes] | None = None
    body = bytearray()  # not a list, in which short lines would take many times their size
    for line in lines:
        begins = _FROM.match(line) if line.startswith(b"From ") else None
        if begins is not None:
            if first is not None:
                yield _message(first, body)
            first, body = begins, bytearray()
        elif first is not None:
            body += line[1:] if _QUOTED.match(line) else line
        elif line.strip():
            raise ValueError("it does not begin with a From line")
    if first is not None:
        yield _message(first, body)


def _message(first: re.Match[bytes], body: bytearray) -> MboxMessage:
    content = bytes(body)
    if first["sender"] != _OURS + b" ":
        return MboxMessage(_EMPTY_LINE.sub(b"", content), _date(first), frozenset())
    try:
        flags = check_flags(first["flags"].decode(errors="replace").split())
    except InvalidFlag:
        flags = frozenset()
    return MboxMessage(content.removesuffix(b"\n"), _date(first), flags)


def _date(first: re.Match[bytes]) -> datetime | None:
    try:
        month = _MONTHS.index(first["month"].decode()) + 1
        day, hour, minute, second = (int(first[part] or 0) for part in ("day", "hour", "minute", "second"))
        return datetime(int(first["year"]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
