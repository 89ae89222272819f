"""Rules for messages: content, UIDs, flags, copies, listings, searches."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest
import trio

from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    FlagMode,
    InvalidFlag,
    MailStore,
    Message,
    MessageInfo,
    NoSuchMessage,
    Search,
)
from trio_smtp.testing.store_contract.tools import CONTENTS, add, contents, info, mailbox_of, uids

GREETING = (
    b"Received: from x by y\r\n"
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\n"
    b"To: Ann <ann@example.com>,\r\n bob@example.com\r\n"
    b"Cc: carl@example.com\r\n"
    b"Bcc: dora@example.com\r\n"
    b"X-Tag: one\r\n"
    b"x-tag: two\r\n"
    b"Subject: =?iso-8859-1?b?R3L832U=?= to\r\n all\r\n"
    b"\r\n"
    b"The body says h\xc3\xa9llo.\r\n"
)
OTHER = b"From: bob@example.com\r\nTo: ann@example.com\r\nSubject: report\r\n\r\n" + b"long " * 1000

BAD_FLAGS = (
    "",
    "\\Recent",
    "\\Custom",
    "two words",
    "a(b",
    "a)",
    "{",
    "%",
    "*",
    '"',
    "a\\b",
    "]",
    "\0",
    "ü",
    "x" * 101,
)


class MessageContract:
    """Tests of messages."""

    # --- content

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    async def test_content(self, store: MailStore, content: bytes) -> None:
        """Content is returned byte for byte, and the size of a message is its length."""
        uid = await add(store, content)
        message = await store.get_message("ann", INBOX, uid)
        assert message.content == content
        assert message.info.size == len(content)

    async def test_append(self, store: MailStore) -> None:
        """A message is stored where the result says, with its flags, and with its date in UTC to the second."""
        await store.create_mailbox("ann", "Sent")
        date = datetime(2001, 2, 3, 4, 5, 6, 999_999, tzinfo=timezone(timedelta(hours=-7)))
        flags = [r"\SEEN", "Mine"]
        delivered = await store.append_message("ann", "Sent", b"abc", flags=flags, internal_date=date)
        sent = await mailbox_of(store, name="Sent")
        assert (delivered.account, delivered.mailbox) == ("ann", "Sent")
        assert delivered.uid_validity == sent.uid_validity
        in_utc = datetime(2001, 2, 3, 11, 5, 6, tzinfo=UTC)
        stored = MessageInfo(delivered.uid, frozenset({SEEN, "Mine"}), 3, in_utc)
        assert await store.get_message("ann", "Sent", delivered.uid) == Message(stored, b"abc")
        assert (await info(store, delivered.uid, "Sent")).internal_date.tzinfo is UTC

    async def test_date(self, store: MailStore) -> None:
        """Without a date a message gets the current time. Any date that can be converted to UTC is kept."""
        before = datetime.now(UTC).replace(microsecond=0)
        uid = await add(store)
        assert before <= (await info(store, uid)).internal_date <= datetime.now(UTC)
        for date in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)):
            delivered = await store.append_message("ann", INBOX, b"", internal_date=date)
            assert (await info(store, delivered.uid)).internal_date == date
        before_all = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
        with pytest.raises(ValueError, match="year"):
            await store.append_message("ann", INBOX, b"", internal_date=before_all)
        naive = datetime(2001, 2, 3)  # noqa: DTZ001 - the missing time zone is tested here
        with pytest.raises(ValueError, match="time zone"):
            await store.append_message("ann", INBOX, b"", internal_date=naive)

    async def test_uids_grow(self, store: MailStore) -> None:
        """UIDs are positive and grow, and the UID of a deleted message is not assigned again."""
        first, second = await add(store), await add(store)
        assert 0 < first < second < (await mailbox_of(store)).uid_next
        await store.delete_message("ann", INBOX, second)
        third = await add(store)
        assert third > second
        assert await uids(store) == [first, third]

    async def test_no_such_message(self, store: MailStore) -> None:
        """Every method raises NoSuchMessage for a UID without a message."""
        await store.create_mailbox("ann", "Sent")
        kept, gone = await add(store), await add(store)
        await store.delete_message("ann", INBOX, gone)
        for uid in (gone, gone + 1, 0, -1, 2**32, 2**64, 2**70):
            attempts: list[Awaitable[object]] = [
                store.get_message("ann", INBOX, uid),
                store.set_flags("ann", INBOX, uid, ()),
                store.copy_message("ann", INBOX, uid, "Sent"),
                store.move_message("ann", INBOX, uid, "Sent"),
                store.delete_message("ann", INBOX, uid),
            ]
            for attempt in attempts:
                with pytest.raises(NoSuchMessage):
                    await attempt
        assert await uids(store) == [kept]
        assert await uids(store, mailbox="Sent") == []

    async def test_counts(self, store: MailStore) -> None:
        """The counts of messages and of unseen messages in a mailbox are right after every change."""
        await store.create_mailbox("ann", "Sent")

        async def counts(name: str = INBOX) -> tuple[int, int]:
            mailbox = await mailbox_of(store, name=name)
            assert mailbox.messages == await store.count_messages("ann", name)
            return mailbox.messages, mailbox.unseen

        seen, unseen = await add(store, flags=[SEEN]), await add(store, flags=[r"\Flagged"])
        assert await counts() == (2, 1)
        await store.set_flags("ann", INBOX, seen, [r"\Answered"])
        assert await counts() == (2, 2)
        await store.set_flags("ann", INBOX, seen, [r"\seen"], "add")
        assert await counts() == (2, 1)
        await store.copy_message("ann", INBOX, seen, "Sent")
        await store.move_message("ann", INBOX, unseen, "Sent")
        assert (await counts(), await counts("Sent")) == ((1, 0), (2, 1))
        await store.delete_message("ann", INBOX, seen)
        assert await counts() == (0, 0)

    # --- flags

    @pytest.mark.parametrize(
        ("mode", "before", "flags", "after"),
        [
            ("replace", f"a {SEEN}", r"b \Draft", r"b \Draft"),
            ("replace", "a", "", ""),
            ("add", "a", "b A", "a b"),
            ("add", SEEN, r"\seen \DELETED", rf"{SEEN} \Deleted"),
            ("add", "a", "", "a"),
            ("remove", f"a b {SEEN}", r"A \SEEN c", "b"),
            ("remove", "a", "", "a"),
        ],
    )
    async def test_set_flags(self, store: MailStore, mode: FlagMode, before: str, flags: str, after: str) -> None:
        """Flags are replaced, added or removed without regard to case, and existing flags keep their spelling."""
        uid = await add(store, flags=before.split())
        other = await add(store, flags=["other"])
        changed = await store.set_flags("ann", INBOX, uid, flags.split(), mode)
        assert changed.flags == set(after.split())
        assert changed == await info(store, uid)
        assert (await info(store, other)).flags == {"other"}

    async def test_system_flags_and_keywords(self, store: MailStore) -> None:
        """System flags get their usual spelling, keywords keep the one they were given with. Each is kept once."""
        system = [r"\sEEN", r"\ANSWERED", r"\flagged", r"\deleted", r"\DRAFT"]
        uid = await add(store, flags=[*system, "$Forwarded", "a.b-c", "A.B-C", "x" * 100])
        assert (await info(store, uid)).flags == {
            SEEN, r"\Answered", r"\Flagged", r"\Deleted", r"\Draft", "$Forwarded", "a.b-c", "x" * 100
        }  # fmt: skip

    @pytest.mark.parametrize("flag", BAD_FLAGS, ids=ascii)
    async def test_bad_flag(self, store: MailStore, flag: str) -> None:
        """An invalid flag is refused, and nothing is changed."""
        uid = await add(store, flags=["a"])
        with pytest.raises(InvalidFlag):
            await store.append_message("ann", INBOX, b"", flags=[flag])
        for mode in ("replace", "add", "remove"):
            with pytest.raises(InvalidFlag):
                await store.set_flags("ann", INBOX, uid, ["b", flag], mode)
        assert (await info(store, uid)).flags == {"a"}
        assert await uids(store) == [uid]

    async def test_one_flag_is_no_list(self, store: MailStore) -> None:
        """A str instead of a list of flags is an error of the caller, and is not read as a list of letters."""
        uid = await add(store)
        with pytest.raises(TypeError, match="Mine"):
            await store.append_message("ann", INBOX, b"", flags="Mine")
        with pytest.raises(TypeError, match="Mine"):
            await store.set_flags("ann", INBOX, uid, "Mine", "add")
        with pytest.raises(TypeError, match="Mine"):
            Search(flags="Mine")  # type: ignore[arg-type]  # the error that is tested
        assert (await info(store, uid)).flags == frozenset()
        assert await uids(store) == [uid]

    async def test_number_of_flags(self, store: MailStore) -> None:
        """A message has at most 100 flags, including those that `set_flags` adds."""
        uid = await add(store, flags=[f"k{number}" for number in range(100)])
        with pytest.raises(InvalidFlag):
            await store.set_flags("ann", INBOX, uid, ["one-more"], "add")
        assert len((await info(store, uid)).flags) == 100

    async def test_unknown_mode(self, store: MailStore) -> None:
        """An unknown mode raises ValueError."""
        uid = await add(store)
        with pytest.raises(ValueError, match="mode"):
            await store.set_flags("ann", INBOX, uid, ["a"], "ad")  # type: ignore[arg-type]  # the error that is tested

    # --- copy, move, delete

    async def test_copy(self, store: MailStore) -> None:
        """A copy has the same content, flags and date, its own UID, and is independent of the original."""
        await store.create_mailbox("ann", "Sent")
        date = datetime(2001, 2, 3, tzinfo=UTC)
        source = await store.append_message("ann", INBOX, GREETING, flags=["a"], internal_date=date)
        copy = await store.copy_message("ann", INBOX, source.uid, "Sent")
        assert (copy.account, copy.mailbox) == ("ann", "Sent")
        assert copy.uid_validity == (await mailbox_of(store, name="Sent")).uid_validity
        again = await store.copy_message("ann", INBOX, source.uid, "inbox")
        assert await uids(store) == [source.uid, again.uid]
        await store.set_flags("ann", INBOX, source.uid, ["b"])
        await store.delete_message("ann", INBOX, source.uid)
        stored = MessageInfo(copy.uid, frozenset({"a"}), len(GREETING), date)
        assert await store.get_message("ann", "Sent", copy.uid) == Message(stored, GREETING)

    async def test_move(self, store: MailStore) -> None:
        """A moved message gets a new UID and is otherwise unchanged. It can be moved to its own mailbox."""
        await store.create_mailbox("ann", "Sent")
        kept = await add(store, b"kept")
        date = datetime(2001, 2, 3, tzinfo=UTC)
        source = await store.append_message("ann", INBOX, GREETING, flags=["a"], internal_date=date)
        last = await add(store, b"last")
        moved = await store.move_message("ann", INBOX, source.uid, "Sent")
        assert await uids(store) == [kept, last]
        stored = MessageInfo(moved.uid, frozenset({"a"}), len(GREETING), date)
        assert await store.get_message("ann", "Sent", moved.uid) == Message(stored, GREETING)
        again = await store.move_message("ann", INBOX, kept, INBOX)
        assert again.uid > last
        assert await contents(store) == [b"last", b"kept"]

    async def test_delete(self, store: MailStore) -> None:
        """Deleting removes the message and no other."""
        numbered = [await add(store, str(number).encode()) for number in range(5)]
        for uid in (numbered[2], numbered[0], numbered[4]):
            await store.delete_message("ann", INBOX, uid)
        assert await contents(store) == [b"1", b"3"]
        assert await uids(store) == [numbered[1], numbered[3]]

    # --- many tasks, and cancellation

    async def test_flags_of_many_at_once(self, store: MailStore) -> None:
        """Flags that many tasks add at the same time are all kept."""
        uid = await add(store)
        flags = [f"k{number}" for number in range(50)]
        async with trio.open_nursery() as nursery:
            for flag in flags:
                nursery.start_soon(store.set_flags, "ann", INBOX, uid, [flag], "add")
        assert (await info(store, uid)).flags == set(flags)

    async def test_moved_by_many_at_once(self, store: MailStore) -> None:
        """Only one of many tasks can move a message; the others find it gone."""
        await store.create_mailbox("ann", "Sent")
        uid = await add(store)
        moved: list[int] = []

        async def move() -> None:
            with suppress(NoSuchMessage):
                moved.append((await store.move_message("ann", INBOX, uid, "Sent")).uid)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(move)
        assert await uids(store, mailbox="Sent") == moved
        assert len(moved) == 1
        assert await uids(store) == []

    async def test_cancelled_change(self, store: MailStore) -> None:
        """A change that is cancelled either returns all the same, or has not happened."""
        uid = await add(store)
        for change in (
            partial(store.set_flags, "ann", INBOX, uid, ["a"]),
            partial(store.append_message, "ann", INBOX, b"y"),
            partial(store.create_mailbox, "ann", "Sent"),
        ):
            before = await mailbox_of(store), await info(store, uid), await store.list_mailboxes("ann")
            with trio.CancelScope() as scope:
                scope.cancel()
                await change()
            after = await mailbox_of(store), await info(store, uid), await store.list_mailboxes("ann")
            assert (after == before) == scope.cancelled_caught

    # --- listings and searches

    async def test_list(self, store: MailStore) -> None:
        """A listing is sorted by UID, begins after the UID `after` and has at most `limit` messages."""
        a, b, c, d = [await add(store) for _ in range(4)]
        await store.delete_message("ann", INBOX, b)
        for after, limit, expected in (
            (0, None, [a, c, d]),
            (a, None, [c, d]),
            (b, None, [c, d]),
            (b, 1, [c]),
            (0, 2, [a, c]),
            (0, 0, []),
            (0, 99, [a, c, d]),
            (d, None, []),
            (-5, 1, [a]),
            (2**70, 1, []),
        ):
            for listing in (
                await store.list_messages("ann", INBOX, after=after, limit=limit),
                await store.find_messages("ann", INBOX, Search(), after=after, limit=limit),
            ):
                assert [each.uid for each in listing] == expected, (after, limit)

    async def test_summary(self, store: MailStore) -> None:
        """A listing has the decoded subject, sender and recipients of each message, "" for missing ones."""
        await add(store, GREETING, flags=["a"])
        await add(store, b"no header at all")
        greeting, nothing = await store.list_messages("ann", INBOX)
        assert greeting.subject == "Grüße to all"
        assert greeting.sender == "Jürgen <j@example.com>"
        assert greeting.recipients == "Ann <ann@example.com>, bob@example.com, carl@example.com"
        stored = await info(store, greeting.uid)
        assert (greeting.uid, greeting.flags, greeting.size, greeting.internal_date) == (
            stored.uid, stored.flags, stored.size, stored.internal_date
        )  # fmt: skip
        assert (nothing.subject, nothing.sender, nothing.recipients) == ("", "", "")
        assert await store.find_messages("ann", INBOX, Search()) == [greeting, nothing]

    async def test_limited_search(self, store: MailStore) -> None:
        """The limit of a search counts the messages that are found, not those that are looked at."""
        found = [await add(store, flags=["wanted"] if number % 3 == 2 else []) for number in range(9)][2::3]
        wanted = Search(flags={"wanted"})
        for after, limit, expected in ((0, 1, found[:1]), (0, 2, found[:2]), (found[0], 1, found[1:2]), (0, 0, [])):
            listing = await store.find_messages("ann", INBOX, wanted, after=after, limit=limit)
            assert [each.uid for each in listing] == expected, (after, limit)

    @pytest.mark.parametrize(
        ("search", "expected"),
        [
            (Search(subject="GRÜSSE TO ALL"), "greeting"),
            (Search(sender="jürgen"), "greeting"),
            (Search(recipient="CARL"), "greeting"),
            (Search(recipient="dora"), "greeting"),
            (Search(recipient="ann@"), "greeting other"),
            (Search(header=("X-TAG", "two")), "greeting"),
            (Search(header=("received", "")), "greeting"),
            (Search(header=("X-Other", "")), ""),
            (Search(header=("ü", "")), ""),
            (Search(text="HÉLLO"), "greeting"),
            (Search(text="grüße"), "greeting"),
            (Search(text="example.com"), "greeting other"),
            (Search(body="HÉLLO"), "greeting"),
            (Search(body="example.com"), ""),
            (Search(body="subject"), ""),
            (Search(body="long") | Search(body="says"), "greeting other"),
            (Search(body=""), "greeting other"),
            (Search(uids=()), ""),
            (Search(uids=range(2**70)), "greeting other"),
            (~Search(uids={0, 2**70}), "greeting other"),
            (Search(flags={r"\SEEN"}), "greeting"),
            (Search(flags={SEEN, "TAG"}), "greeting"),
            (Search(flags={SEEN, "more"}), ""),
            (~Search(flags={SEEN}), "other"),
            (Search(larger=1000), "other"),
            (Search(smaller=1000), "greeting"),
            (Search(larger=len(OTHER)), ""),
            (Search(smaller=len(OTHER)), "greeting"),
            (Search(since=datetime(2001, 1, 1, tzinfo=UTC)), "other"),
            (Search(before=datetime(2001, 1, 1, tzinfo=UTC)), "greeting"),
            (Search(sender="bob", subject="report"), "other"),
            (Search(sender="bob") & Search(flags={SEEN}), ""),
            (Search(sender="bob") | Search(flags={SEEN}), "greeting other"),
            (~(Search(sender="bob") | Search(flags={SEEN})), ""),
            (~Search(text="nowhere"), "greeting other"),
        ],
        ids=lambda value: "" if isinstance(value, str) else None,
    )
    async def test_search(self, store: MailStore, search: Search, expected: str) -> None:
        """A search finds the messages that match, and returns the same summaries as a listing."""
        await store.append_message(
            "ann", INBOX, GREETING, flags=[SEEN, "Tag"], internal_date=datetime(2000, 12, 31, tzinfo=UTC)
        )
        await store.append_message("ann", INBOX, OTHER, internal_date=datetime(2001, 1, 1, tzinfo=UTC))
        listing = await store.list_messages("ann", INBOX)
        names = ("greeting", "other")
        wanted = [each for name, each in zip(names, listing, strict=True) if name in expected.split()]
        assert await store.find_messages("ann", INBOX, search) == wanted

    @pytest.mark.parametrize("search", [Search(body="NAÏVE"), Search(text="naïve r"), ~~Search(body="Naïve")])
    async def test_search_in_what_is_encoded(self, store: MailStore, search: Search) -> None:
        """A search looks at the decoded text, whatever its charset and transfer encoding, and at every part."""
        text = "a naïve reader"
        latin = text.encode("latin-1")
        encoded = [
            (b'text/plain; charset="iso-8859-1"', b"8bit", latin),
            (b"text/plain; charset=iso-8859-1", b"quoted-printable", latin.replace(b"\xef", b"=\r\n=EF")),
            (b"text/plain; charset=utf-8", b"base64", base64.encodebytes(text.encode())),
            (b"text/html; charset=us-ascii", b"7bit", b"<p>a na&iuml;ve reader</p>"),
        ]
        parts = [
            b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n" % each
            for each in [*encoded, (b"text/plain", b"7bit", b"nothing of the kind")]
        ]
        mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        parts.append(mixed + b"".join(b"--b\r\n" + part for part in [parts[-1], parts[2]]) + b"--b--\r\n")
        uids = [await add(store, b"Subject: hello\r\nMIME-Version: 1.0\r\n" + part) for part in parts]
        found = await store.find_messages("ann", INBOX, search)
        assert [each.uid for each in found] == [*uids[:4], uids[5]]
