"""mbox files: writing and reading them, files from other programs, dates, flags, and hostile input."""

from __future__ import annotations

import mailbox
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mailbox.mbox import MboxMessage, read_mbox, to_mbox
from trio_smtp.testing.store_contract.tools import CONTENTS

DATE = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
FROM = b"From someone@example.com Tue Nov  3 04:05:06 2026\n"

# Pieces that could be taken for the structure of an mbox file, in any order, and any octets.
PIECES = st.sampled_from([b"From ", b">", b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"x", FROM, to_mbox(b"", DATE, [])])
ANY_CONTENT = st.lists(PIECES | st.binary(max_size=5), max_size=12).map(b"".join)
FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\Draft", "$Junk", "2026", "a.b"]))
DATES = st.datetimes(timezones=st.just(UTC)).map(lambda date: date.replace(microsecond=0))


def read(octets: bytes) -> list[MboxMessage]:
    return list(read_mbox(BytesIO(octets)))


@given(st.lists(st.builds(MboxMessage, ANY_CONTENT, DATES, FLAGS), max_size=4))
def test_everything_comes_back(messages: list[MboxMessage]) -> None:
    assert read(b"".join(to_mbox(content, date or DATE, flags) for content, date, flags in messages)) == messages


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_what_stores_are_tested_with_comes_back(content: bytes) -> None:
    assert [message.content for message in read(to_mbox(content, DATE, []) * 2)] == [content] * 2


@given(st.lists(ANY_CONTENT, min_size=1, max_size=3))
def test_what_we_write_makes_as_many_messages_for_others(contents: list[bytes]) -> None:
    """Other programs take every line that begins with "From " for the start of a message."""
    written = b"".join(to_mbox(content, DATE, []) for content in contents)
    assert sum(line.startswith(b"From ") for line in BytesIO(written)) == len(contents)


def test_the_standard_library_reads_what_we_write(tmp_path: Path) -> None:
    contents = [b"Subject: one\r\n\r\nFrom here\r\n", b"", b"Subject: two\n\nno end", b"Subject: three\r\n\r\n\r\n"]
    path = tmp_path / "mbox"
    path.write_bytes(b"".join(to_mbox(content, DATE, ["\\Seen"]) for content in contents))
    box = mailbox.mbox(path, create=False)
    try:
        one, _, _, three = keys = list(box.iterkeys())
        assert [box[key]["subject"] for key in keys] == ["one", None, "two", "three"]
        assert box.get_bytes(one) == contents[0].replace(b"From", b">From")
        assert box.get_bytes(three) == contents[3]
        assert box.get_message(one).get_from() == "trio-smtp Tue Nov  3 04:05:06 2026 \\Seen"
    finally:
        box.close()


def test_the_line_in_front() -> None:
    in_zone = DATE.astimezone(timezone(timedelta(hours=5)))
    written = to_mbox(b"x\r\n", in_zone, {"b", "\\Seen"})
    assert written == b"From trio-smtp Tue Nov  3 04:05:06 2026 \\Seen b\nx\r\n\n"


@pytest.mark.parametrize(
    ("octets", "contents"),
    [
        (b"", []),
        (b"\n\r\n", []),
        (FROM, [b""]),
        (FROM + b"\n", [b""]),
        (FROM + b"x", [b"x"]),
        (FROM + b"x\n", [b"x\n"]),
        (FROM + b"x\n\n", [b"x\n"]),
        (FROM + b"x\r\n\r\n", [b"x\r\n"]),
        (FROM + b"x\n\n\n", [b"x\n\n"]),
        (b"\n" + FROM + b"x\n" + FROM + b"y\n\n" + FROM, [b"x\n", b"y\n", b""]),
        (FROM + b"From here on\n>From x\n>>From y\n>Fro\n\n", [b"From here on\nFrom x\n>From y\n>Fro\n"]),
    ],
)
def test_the_files_of_others(octets: bytes, contents: list[bytes]) -> None:
    assert read(octets) == [MboxMessage(content, DATE, frozenset()) for content in contents]


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From x Tue Nov  3 04:05:06 2026", DATE),
        (b"From x Tue Nov 03 04:05:06 2026\r", DATE),
        (b"From x Tue Nov 3 04:05 2026", DATE.replace(second=0)),
        (b"From x Tue Nov  3 04:05:06 CET 2026", DATE),
        (b"From x Tue Nov  3 04:05:06 2026 +0100", DATE),
        (b"From x y z Tue Nov  3 04:05:06 2026 remote from host", DATE),
        (b"From - Tue Nov  3 04:05:06 2026", DATE),
        (b"From Tue Nov  3 04:05:06 2026", DATE),
        (b"From x Tue Nox  3 04:05:06 2026", None),
        (b"From x Tue Feb 30 04:05:06 2026", None),
        (b"From x Tue Nov  3 44:05:06 2026", None),
        (b"From x Tue Nov  3 04:05:06 0", None),
    ],
)
def test_dates(line: bytes, date: datetime | None) -> None:
    assert read(line + b"\nx\n") == [MboxMessage(b"x\n", date, frozenset())]


def test_flags_that_are_none() -> None:
    [message] = read(b"From trio-smtp Tue Nov  3 04:05:06 2026 \\Seen a(b \xff\nx\n")
    assert message == MboxMessage(b"x", DATE, frozenset())


@pytest.mark.parametrize("octets", [b"x\n", b"Subject: x\n\n" + FROM, b">" + FROM, b"From nowhere\n"])
def test_no_mbox(octets: bytes) -> None:
    with pytest.raises(ValueError, match="From line"):
        read(octets)


def test_long_lines_that_are_almost_from_lines() -> None:
    """If a regular expression backtracks, the timeout of the test run ends this test."""
    for line in (b" ", b"Abc ", b"A ", b"Abc Nov "):
        [message] = read(FROM + b"From " + line * 200_000 + b"\n")
        assert len(message.content) > 200_000


def test_short_lines_take_no_more_memory_than_long_ones() -> None:
    octets = FROM + b"a\n" * 20_000
    tracemalloc.start()
    try:
        [message] = read(octets)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(octets)
    finally:
        tracemalloc.stop()
    assert len(message.content) == 40_000


def test_a_message_is_read_when_it_is_asked_for() -> None:
    lines = iter([FROM, b"x\n", FROM, b"y\n"])
    messages = read_mbox(lines)
    assert next(messages).content == b"x\n"
    assert list(lines) == [b"y\n"]
