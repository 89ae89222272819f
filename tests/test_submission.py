"""Submission: who may send as whom and to whom, what is added to a message, and what a relay gets."""

from __future__ import annotations

import base64
import email
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.tools import ACCEPTED, CONTENT, INTERNAL_ERROR
from trio_smtp import submission
from trio_smtp.handler import HandlerFactory, Mail, Refuse
from trio_smtp.header_section import HeaderSection
from trio_smtp.mailbox import MemoryStore
from trio_smtp.mailbox.store import INBOX, MailStore, StoreUnavailable
from trio_smtp.protocol import Address, Config, RcptTo, Reply
from trio_smtp.submission import HEADER_LIMIT, SubmissionHandler, missing_fields
from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session

OPEN = Config(hostname="mail.example.com", auth_requires_tls=False)
REFUSED = "550 5.7.1 The sender is none of your addresses"
GONE = "550 5.7.1 Your account has been removed"
UNKNOWN = "550 5.1.1 No such user here"
NO_RELAY = "550 5.7.1 The recipient is not ours"
COMPLETE = b"Date: Tue, 3 Feb 2026 04:05:06 +0000\r\nMessage-ID: <1@client.example>\r\n" + CONTENT


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com", "Ann.Smith@example.org"])
    await store.create_account("bob", addresses=["bob@example.com"])
    await store.create_account("eve", addresses=["ann+eve@example.com"])
    return store


async def login(username: str, password: str) -> str | None:
    """Accept every login."""
    return username


@asynccontextmanager
async def logged_in(
    store: MemoryStore, handler: type[SubmissionHandler] = SubmissionHandler, identity: str = "ann", **options: Any
) -> AsyncIterator[ScriptedClient]:
    factory = handler.factory(store, **options)
    async with open_session(factory, config=OPEN, authenticator=login) as client:
        await client.expect("220")
        assert (await client.command("EHLO client.example")).code == 250
        response = base64.b64encode(f"\0{identity}\0secret".encode()).decode()
        assert (await client.command(f"AUTH PLAIN {response}")).code == 235
        yield client


async def send(client: ScriptedClient, *recipients: str, content: bytes = COMPLETE) -> ClientReply:
    return await client.send_mail("ann@example.com", recipients, content)


async def stored(store: MemoryStore, account: str) -> list[bytes]:
    """Return the messages, without the fields that every delivery puts in front."""
    lines = rb"\AReturn-Path: .*\r\nDelivered-To: .*\r\nReceived: .*\r\n(\t.*\r\n)+"
    uids = [summary.uid for summary in await store.list_messages(account, INBOX)]
    return [re.sub(lines, b"", (await store.get_message(account, INBOX, uid)).content) for uid in uids]


async def counts(store: MemoryStore) -> list[int]:
    return [await store.count_messages(account.name, INBOX) for account in await store.list_accounts()]


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fail(*arguments: object) -> None:
        raise error

    return fail


# --- senders


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        ("ann@example.com", "250"),
        ("ANN@Example.COM", "250"),
        ("ann.smith@example.org", "250"),
        ("ann+shop@example.com", "250"),
        ("@relay.example:ann@example.com", "250"),
        ('"ann"@example.com', "250"),
        ("", "250"),
        ("bob@example.com", REFUSED),
        ("ann@example.org", REFUSED),
        ("ann@elsewhere.example", REFUSED),
        ("ann+eve@example.com", REFUSED),
        ('"ann+x y"@example.com', REFUSED),
        ("ann%elsewhere.example@example.com", REFUSED),
        ('"ann@example.com"@elsewhere.example', REFUSED),
        ("ann@[127.0.0.1]", REFUSED),
        ("postmaster@example.com", REFUSED),
    ],
)
async def test_senders(store: MemoryStore, sender: str, answer: str) -> None:
    async with logged_in(store) as client:
        assert str(await client.command(f"MAIL FROM:<{sender}>")).startswith(answer)
    async with logged_in(store, any_sender=True) as client:
        assert (await client.command(f"MAIL FROM:<{sender}>")).code == 250


async def test_without_the_factory(store: MemoryStore) -> None:
    """An application that makes the handlers itself gets the same defaults."""

    class Own(SubmissionHandler):
        @classmethod
        def factory(cls, store: MailStore, **_: Any) -> HandlerFactory:
            return HandlerFactory(lambda: cls(store))

    async with logged_in(store, Own) as client:
        assert str(await client.command("MAIL FROM:<bob@example.com>")) == REFUSED
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        assert str(await client.command("RCPT TO:<carl@elsewhere.example>")).startswith(NO_RELAY)


@pytest.mark.parametrize("any_sender", [False, True])
async def test_an_account_that_has_been_removed_since_the_login(store: MemoryStore, any_sender: bool) -> None:
    async with logged_in(store, any_sender=any_sender) as client:
        assert str(await send(client, "bob@example.com")).startswith(ACCEPTED)
        await store.delete_account("ann")
        for sender in ("ann@example.com", "bob@example.com", ""):
            assert str(await client.command(f"MAIL FROM:<{sender}>")) == GONE
    assert await counts(store) == [1, 0]


@pytest.mark.parametrize("auth_required", [False, True])
async def test_nobody_sends_without_a_login(store: MemoryStore, auth_required: bool) -> None:
    config = Config(auth_required=auth_required)
    async with open_session(SubmissionHandler.factory(store, any_sender=True), config=config) as client:
        await client.expect("220")
        assert (await client.command("EHLO client.example")).code == 250
        for sender in ("ann@example.com", ""):
            assert str(await client.command(f"MAIL FROM:<{sender}>")) == "530 5.7.0 Authentication required"
        code = 530 if auth_required else 503
        assert (await client.command("RCPT TO:<bob@example.com>")).code == code


async def test_an_application_with_other_rules(store: MemoryStore) -> None:
    """Its identities need not be accounts of the store, for example."""

    class Staff(SubmissionHandler):
        async def _may_send(self, identity: str, sender: Address | None) -> bool:
            return identity == "robot" and sender is not None and sender.domain == "example.com"

    async with logged_in(store, Staff, identity="robot") as client:
        assert (await client.command("MAIL FROM:<noreply@example.com>")).code == 250
        assert (await client.command("RSET")).code == 250
        assert str(await client.command("MAIL FROM:<noreply@example.org>")) == REFUSED
    async with logged_in(store, identity="robot") as client:
        assert str(await client.command("MAIL FROM:<>")) == GONE


# --- recipients


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("bob@example.com", "250"),
        ("BOB+x@EXAMPLE.COM", "250"),
        ("postmaster", "250"),
        ("postmaster@Example.Org", "250"),
        ("nobody@example.com", UNKNOWN),
        ("nobody@EXAMPLE.org", UNKNOWN),
        ("bob@elsewhere.example", NO_RELAY),
        ("postmaster@elsewhere.example", NO_RELAY),
        ("bob@[127.0.0.1]", NO_RELAY),
        ("bob@sub.example.com", NO_RELAY),
        ("bob@com", NO_RELAY),
    ],
)
async def test_recipients(store: MemoryStore, recipient: str, answer: str) -> None:
    async with logged_in(store) as client:
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        assert str(await client.command(f"RCPT TO:<{recipient}>")).startswith(answer)


async def test_the_postmaster_of_a_store_without_accounts() -> None:
    class Anyone(SubmissionHandler):
        async def _may_send(self, identity: str, sender: Address | None) -> bool:
            return True

    async with logged_in(MemoryStore(), Anyone) as client:
        assert str(await send(client, "postmaster")) == UNKNOWN


@pytest.mark.parametrize("method", ["get_account", "find_account", "has_domain"])
async def test_a_store_that_is_down(store: MemoryStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with logged_in(store) as client:
        monkeypatch.setattr(store, method, failing(StoreUnavailable("no space")))
        reply = await send(client, "bob@elsewhere.example")
        assert str(reply) == "451 4.3.0 Local error, try again later"


# --- Date and Message-ID

BOTH = {"Date", "Message-ID"}
HEADERS = [
    ("both are there", COMPLETE, set()),
    ("neither", CONTENT, BOTH),
    ("no Date", b"Message-ID: <1@x>\r\n\r\nbody\r\n", {"Date"}),
    ("no Message-ID", b"Date: today\r\n\r\nbody\r\n", {"Message-ID"}),
    ("in any case", b"DATE: today\r\nmessage-iD: <1@x>\r\n\r\n", set()),
    ("blanks before the colon", b"Date \t: today\r\nMessage-ID : <1@x>\r\n\r\n", set()),
    ("empty values", b"Date:\r\nMessage-ID:\r\n\r\n", set()),
    ("folded", b"Subject: a\r\n Date: b\r\n\tMessage-ID: c\r\n\r\n", BOTH),
    ("after folded lines", b"Subject: a\r\n b\r\n \r\nDate:\r\n today\r\nMessage-ID:\r\n <1@x>\r\n\r\n", set()),
    ("in the body", b"Subject: a\r\n\r\nDate: today\r\nMessage-ID: <1@x>\r\n", BOTH),
    ("similar names", b"Resent-Date: today\r\nDate-: x\r\nX-Message-ID: <1@x>\r\nMessage-IDs: x\r\n\r\n", BOTH),
    ("an empty line first", b"\r\nDate: today\r\nMessage-ID: <1@x>\r\n", BOTH),
    ("no body", b"Subject: a\r\nDate: today\r\n", {"Message-ID"}),
    ("no last line end", b"Message-ID: <1@x>\r\nDate: today", set()),
    ("cut off in a name", b"Message-ID: <1@x>\r\nDat", {"Date"}),
    ("nothing", b"", BOTH),
    ("an empty line", b"\r\n", BOTH),
    ("no header", b"Hello, how are you?\r\nDate: today\r\n\r\n", BOTH),
    ("no separator", b"Date: today\r\nHello there\r\nMessage-ID: <1@x>\r\n", {"Message-ID"}),
    ("a line of an mbox file", b"From ann Tue Feb  3\r\nDate: today\r\n>From x\r\nMessage-ID: <1@x>\r\n\r\n", set()),
    ("a folded line first", b" x\r\nDate: today\r\nMessage-ID: <1@x>\r\n\r\n", BOTH),
    ("lone LF", b"Subject: a\nDate: today\nMessage-ID: <1@x>\n\nbody", set()),
    ("lone LF and a body", b"Subject: a\n\nDate: today\nMessage-ID: <1@x>\n", BOTH),
    ("other octets", b"Subject: \xff\x00\r\nDate: \x80\r\n\xe4: x\r\nMessage-ID: <1@x>\r\n", {"Message-ID"}),
    ("a header to the limit", b"X: %b\r\nDate:\r\n\r\nbody" % (b"x" * (HEADER_LIMIT - 14)), {"Message-ID"}),
    ("a header over the limit", b"X: %b\r\nDate:\r\n\r\nbody" % (b"x" * (HEADER_LIMIT - 12)), set()),
    ("a line over the limit", b"Subject: a\r\nX: " + b"x" * HEADER_LIMIT, set()),
]
IDS = [name for name, _, _ in HEADERS]
TABLE = pytest.mark.parametrize(("content", "added"), [case[1:] for case in HEADERS], ids=IDS)


@TABLE
async def test_what_is_added(store: MemoryStore, content: bytes, added: set[str]) -> None:
    async with logged_in(store) as client:
        await client.send(b"MAIL FROM:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\n")
        head, rest = content[:7], content[7:]
        await client.send(b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(head), head, len(rest), rest))
        await client.expect("250", "250", "250", "250")
    [message] = await stored(store, "bob")
    assert message.endswith(content)
    fields = message.removesuffix(content)
    if content.startswith(b" "):  # or it would continue the last of these fields
        assert fields.endswith(b"\r\n\r\n")
        fields = fields.removesuffix(b"\r\n")
    assert {line.partition(":")[0] for line in fields.decode().splitlines()} == added
    assert fields.count(b"\r\n") == len(added)


async def test_the_fields(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Clock:
            return cls(2026, 2, 3, 4, 5, 6, tzinfo=UTC)

    monkeypatch.setattr(submission, "datetime", Clock)
    async with logged_in(store) as client:
        for _ in range(2):
            assert (await send(client, "bob@example.com", content=b"")).code == 250
    form = rb"Date: Tue, 03 Feb 2026 04:05:06 \+0000\r\nMessage-ID: <([0-9a-f]{32})@mail\.example\.com>\r\n"
    first, second = [re.fullmatch(form, message) for message in await stored(store, "bob")]
    assert first is not None
    assert second is not None
    assert first[1] != second[1]


async def test_a_large_message_arrives_whole(store: MemoryStore) -> None:
    content = b"Subject: a\r\n\r\n" + b"0123456789\r\n" * 100_000
    async with logged_in(store) as client:
        assert (await send(client, "bob@example.com", content=content)).code == 250
    [message] = await stored(store, "bob")
    is_stored = message.endswith(b">\r\n" + content)  # pytest takes minutes to show a difference in 1 MB
    assert is_stored


def test_a_field_behind_a_byte_order_mark_is_not_missing() -> None:
    assert missing_fields(b"\xef\xbb\xbfDate: x\r\nSubject: y\r\n") == {b"message-id"}


LINES = st.sampled_from(
    [b"Date: x", b"date: x", b"Message-ID: <a@b>", b"MESSAGE-ID:", b"Subject: x", b" Date: x", b"\tx", b"", b"x"]
)


@given(st.lists(LINES), st.lists(st.integers(0, 200)))
def test_the_parser_of_the_standard_library_agrees(lines: list[bytes], cuts: list[int]) -> None:
    """It finds one Date and one Message-ID in every message that we have completed, or as many as there were before."""
    content = b"".join(line + b"\r\n" for line in lines)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    section = HeaderSection(HEADER_LIMIT)
    pieces = [*(content[start:end] for start, end in pairwise(places) if end > start), b""]
    header = next(header for piece in pieces if (header := section.feed(piece)) is not None)
    names = [name.decode() for name in missing_fields(header)]
    before = email.message_from_bytes(content)
    after = email.message_from_bytes(b"".join(f"{name}: x\r\n".encode() for name in names) + content)
    for name in BOTH:
        assert len(after.get_all(name, [])) == max(1, len(before.get_all(name, [])))


# --- relaying


class Queue:
    """The relay of a test."""

    def __init__(self, error: Exception | None = None) -> None:
        self.mails: list[Mail] = []
        self._error = error

    async def __call__(self, mail: Mail) -> None:
        if self._error is not None:
            raise self._error
        self.mails.append(mail)


def not_async(mail: Mail) -> None: ...


async def without_a_mail() -> None: ...


@pytest.mark.parametrize(
    ("relay", "message"),
    [
        (
            not_async,
            "a relay must be an async function of one Mail, not <function not_async at .*>; make it an async def",
        ),
        ("smarthost.example", "a relay must be an async function of one Mail, not 'smarthost.example'"),
        (without_a_mail, "a relay must take one argument, the Mail, and <function without_a_mail at .*> does not"),
    ],
)
def test_what_is_no_relay_is_noticed_before_mail_comes(relay: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        SubmissionHandler.factory(MemoryStore(), relay=relay)


async def test_a_relay_gets_what_is_for_others(store: MemoryStore) -> None:
    queue = Queue()
    async with logged_in(store, relay=queue) as client:
        recipients = ["a@elsewhere.example", "bob@example.com", "b@[127.0.0.1]"]
        assert (await send(client, *recipients, content=CONTENT)).code == 250
    [mail] = queue.mails
    assert str(mail.sender) == "ann@example.com"
    assert [str(recipient) for recipient in mail.recipients] == ["a@elsewhere.example", "b@[127.0.0.1]"]
    assert mail.session.identity == "ann"
    received = rb"Received: from client\.example .*\r\n(\t.*\r\n)+"
    content = re.sub(received, b"", mail.content)
    assert re.fullmatch(rb"Date: .*\r\nMessage-ID: .*\r\n" + re.escape(CONTENT), content)
    assert b"bob@" not in mail.content
    assert await stored(store, "bob") == [content]  # the Message-ID included
    assert b"elsewhere" not in content


async def test_mail_for_others_only(store: MemoryStore) -> None:
    queue = Queue()
    async with logged_in(store, relay=queue) as client:
        assert (await send(client, "a@elsewhere.example")).code == 250
        assert (await send(client, "bob@example.com")).code == 250
    [mail] = queue.mails
    assert mail.content.startswith(b"Received: ")
    assert b"\r\n\tfor <a@elsewhere.example>;\r\n" in mail.content
    assert mail.content.endswith(b"\r\n" + COMPLETE)
    assert await counts(store) == [0, 1, 0]


async def test_a_relay_gets_nothing_for_domains_of_ours(store: MemoryStore) -> None:
    queue = Queue()
    async with logged_in(store, relay=queue) as client:
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        for local_part in ("nobody", "user%elsewhere.example", '"u@elsewhere.example"', "elsewhere.example!u"):
            assert str(await client.command(f"RCPT TO:<{local_part}@Example.com>")) == UNKNOWN
    assert queue.mails == []


async def test_who_is_ours_is_asked_anew_for_each_message(store: MemoryStore) -> None:
    queue = Queue()
    await store.create_account("dan", addresses=["dan@example.net"])
    async with logged_in(store, relay=queue) as client:
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        assert (await client.command("RCPT TO:<dan@example.net>")).code == 250
        assert (await client.command("RSET")).code == 250
        await store.delete_account("dan")
        assert (await send(client, "dan@example.net")).code == 250
    assert len(queue.mails) == 1


@pytest.mark.parametrize(
    ("error", "answer"),
    [(Refuse(452, "The queue is full", "4.3.1"), "452 4.3.1 The queue is full"), (KeyError("x"), INTERNAL_ERROR)],
)
async def test_a_relay_that_refuses_refuses_for_all(store: MemoryStore, error: Exception, answer: str) -> None:
    async with logged_in(store, relay=Queue(error)) as client:
        for recipients in (["a@elsewhere.example", "bob@example.com"], ["a@elsewhere.example"]):
            assert str(await send(client, *recipients)).startswith(answer)
        assert (await send(client, "bob@example.com")).code == 250
    assert await counts(store) == [0, 1, 0]


@pytest.mark.parametrize("answer", [Reply(550, "No"), Refuse(550, "No"), False], ids=["reply", "refusal", "false"])
async def test_a_refusal_that_a_relay_returns_loses_no_mail(store: MemoryStore, answer: object) -> None:
    async def relay(mail: Mail) -> None:
        return answer  # type: ignore[return-value]  # that is the test

    async with logged_in(store, relay=relay) as client:
        reply = await client.send_mail("ann@example.com", ["zoe@other.example"], b"Subject: hi\r\n\r\n")
    assert reply.code == 451


async def test_a_store_that_refuses_after_the_relay(store: MemoryStore) -> None:
    await store.set_read_only("bob", INBOX, True)
    async with logged_in(store, relay=Queue()) as client:
        assert str(await send(client, "a@elsewhere.example", "bob@example.com")).startswith("450 4.2.0")


@pytest.mark.parametrize("recipients", [["a@elsewhere.example"], ["a@elsewhere.example", "bob@example.com"]])
async def test_what_is_broken_off_is_not_relayed(store: MemoryStore, recipients: list[str]) -> None:
    queue = Queue()
    async with logged_in(store, relay=queue) as client:
        await client.send(b"MAIL FROM:<ann@example.com>\r\n")
        await client.send(b"".join(f"RCPT TO:<{recipient}>\r\n".encode() for recipient in recipients))
        await client.send(b"DATA\r\n" + CONTENT)
        await client.send_eof()
        await client.rest()
    assert queue.mails == []
    assert await counts(store) == [0, 0, 0]


async def test_a_relay_for_some(store: MemoryStore) -> None:
    class Friends(SubmissionHandler):
        async def rcpt(self, event: RcptTo) -> Reply | None:
            reply = await super().rcpt(event)
            if event.recipient.domain == "enemy.example":
                raise Refuse(550, "Not to them", "5.7.1")
            return reply

    queue = Queue()
    async with logged_in(store, Friends, relay=queue) as client:
        assert (await send(client, "a@friend.example")).code == 250
        assert str(await send(client, "a@enemy.example")) == "550 5.7.1 Not to them"
    assert len(queue.mails) == 1
