"""`matches`: how much of a message a search reads, text across chunk borders, and where the body begins."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trio_smtp.mailbox.headers import HEAD
from trio_smtp.mailbox.search import matches
from trio_smtp.mailbox.store import SEEN, MessageInfo, Search

# The contract tests, for every store, what a search finds.

DATE = datetime(2001, 2, 3, tzinfo=UTC)
CONTENT = b"Subject: hello\r\nTo: ann\r\n\r\nbody"


class Reader:
    """The content of a message; records the limit of each read."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.read: list[int | None] = []

    def __call__(self, limit: int | None) -> bytes:
        self.read.append(limit)
        return self.content[:limit]


def info(content: bytes = CONTENT, *flags: str) -> MessageInfo:
    return MessageInfo(1, frozenset(flags), len(content), DATE)


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252"])
def test_8_bit_text_whose_charset_is_not_declared(charset: str) -> None:
    content = "Subject: x\r\n\r\nGrüße".encode(charset)
    assert matches(Search(body="GRÜSSE"), info(content), Reader(content))


@pytest.mark.parametrize(
    ("search", "found", "read"),
    [
        (Search(), True, []),
        (Search(flags={SEEN}), False, []),
        (Search(larger=1, smaller=1000, since=DATE), True, []),
        (Search(before=DATE, subject="hello", text="body"), False, []),
        (Search(larger=1000) & Search(text="body"), False, []),
        (Search(smaller=1000) | Search(text="body"), True, []),
        (Search(text="body") & Search(larger=1000), False, [HEAD, None]),
        (~Search(larger=1000), True, []),
        (Search(subject="HELLO", recipient="ann"), True, [HEAD]),
        (Search(subject="hello") & ~Search(recipient="ann"), False, [HEAD]),
        (Search(uids={2}, text="body"), False, []),
        (Search(uids=range(1, 2)), True, []),
        (Search(body="body"), True, [None]),
        (Search(body="hello"), False, [None]),
        (Search(subject="other", body="body"), False, [HEAD]),
        (Search(text="hello"), True, [HEAD]),
        (Search(text="body"), True, [HEAD, None]),
        (Search(text="body") & Search(text="nowhere"), False, [HEAD, None]),
    ],
)
def test_no_more_is_read_than_needed(search: Search, found: bool, read: list[int | None]) -> None:
    reader = Reader()
    assert matches(search, info(), reader) is found
    assert reader.read == read


def test_dates_and_sizes_at_the_border() -> None:
    size = len(CONTENT)
    for search, found in (
        (Search(since=DATE), True),
        (Search(before=DATE), False),
        (Search(larger=size), False),
        (Search(larger=size - 1), True),
        (Search(smaller=size), False),
        (Search(smaller=size + 1), True),
    ):
        assert matches(search, info(), Reader()) is found, search


@pytest.mark.parametrize("needle", ["x", "needle", "straße", "\u20ac\U0001f4e7" * 20])
def test_text_across_the_pieces_in_which_it_is_read(needle: str) -> None:
    octets = needle.upper().encode()
    for start in (2**20 - len(octets) - 1, 2**20 - len(octets) // 2 - 1, 2**20 - 1, 2**20, 2**20 + 1):
        content = b"\r\n".ljust(start, b"-") + octets
        assert matches(Search(text=needle), info(content), Reader(content)), start
    assert not matches(Search(text=needle), info(), Reader(b"-" * (2**20 + 2)))


@pytest.mark.parametrize("end", ["\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n"])
def test_where_the_body_begins(end: str) -> None:
    content = b"Subject: hello" + end.encode() + b"body"
    assert not matches(Search(body="hello"), info(content), Reader(content))
    assert matches(Search(body="body"), info(content), Reader(content))


@pytest.mark.parametrize(
    ("content", "found"), [(b"", False), (b"Subject: hello", False), (b"hello", True), (b"\r\nhello", True)]
)
def test_a_body_without_a_header_and_the_other_way_round(content: bytes, found: bool) -> None:
    assert matches(Search(body="hello"), info(content), Reader(content)) is found


@pytest.mark.parametrize("search", [Search(body=""), Search(text="")])
def test_an_empty_text_is_in_every_message(search: Search) -> None:
    for content in (b"", b"Subject: hello\r\n\r\n"):
        assert matches(search, info(content), Reader(content))


def test_searches_are_values() -> None:
    made = Search(subject="a", flags={SEEN}) | ~Search(uids=range(5))
    same = Search(subject="a", flags=frozenset({SEEN})) | ~Search(uids=range(5))
    assert made == same
    assert len({made, same}) == 1
    assert Search(uids=[2, 1, 2]) == Search(uids=(1, 2)), "a set, for it is asked for each message"
    assert Search(uids=range(10**12)).uids == range(10**12)


def test_hostile_content() -> None:
    for content in (b"", b"\xff" * 5000, b"=?utf-8?b?A?=: x", b"(" * 5000, bytes(range(256))):
        assert not matches(Search(subject="x", text="x"), info(content), Reader(content))
        assert not matches(Search(body="nowhere"), info(content), Reader(content))
        assert not matches(Search(text="nowhere"), info(content), Reader(content))
