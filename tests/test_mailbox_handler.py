"""`MailboxHandler`: which account gets a message, what is stored, byte for byte, and the replies if a store refuses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from tests.server.tools import CONTENT, DATA, TRANSACTION, begin, deliver
from trio_smtp.handler import HandlerFactory, Refuse
from trio_smtp.mailbox import MailStore, MemoryStore, errors
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX, Account, Delivered, Delivery, StoreError, StoreUnavailable, Target
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.protocol import Config, RcptTo, Reply
from trio_smtp.submission import SubmissionHandler
from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session

UNKNOWN = "550 5.1.1 No such user here"
EVERYTHING = bytes(range(256)) * 3


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com"])
    await store.create_account("bob", addresses=["bob@example.com", "robert@example.org"])
    await store.create_account("cid", addresses=["cid@example.net"], quota=2000)
    await store.create_mailbox("cid", "Old")
    await store.append_message("cid", "Old", b"x" * 1000)
    return store


async def inbox(store: MemoryStore, account: str) -> list[bytes]:
    """Return the messages, with the trace fields in front of them."""
    uids = [summary.uid for summary in await store.list_messages(account, INBOX)]
    return [(await store.get_message(account, INBOX, uid)).content for uid in uids]


async def bodies(store: MemoryStore, account: str) -> list[bytes]:
    return [
        re.sub(rb"\AReturn-Path: .*\r\nDelivered-To: .*\r\nReceived: .*\r\n(\t.*\r\n)+", b"", content)
        for content in await inbox(store, account)
    ]


async def counts(store: MailStore) -> list[int]:
    return [await store.count_messages(account.name, INBOX) for account in await store.list_accounts()]


async def lhlo(client: ScriptedClient) -> None:
    await client.expect("220")
    assert (await client.command("LHLO client.example")).code == 250


async def send(client: ScriptedClient, *recipients: str, content: bytes = CONTENT) -> ClientReply:
    return await client.send_mail("sender@example.com", recipients, content)


# --- recipients


@pytest.mark.parametrize(
    ("recipient", "account"),
    [
        ("ann@example.com", "ann"),
        ("ANN@Example.COM", "ann"),
        ("robert@example.org", "bob"),
        ("bob+tag@example.com", "bob"),
        ("bob+a+b@example.com", "bob"),
        ('"bob"@example.com', "bob"),
        ("@relay.example:ann@example.com", "ann"),
        ("postmaster", "ann"),
        ("Postmaster", "ann"),
        ("postmaster@example.com", "ann"),
        ("POSTMASTER@EXAMPLE.ORG", "ann"),
        ("eve@example.com", None),
        ("ann@example.org", None),
        ("ann@elsewhere.example", None),
        ("postmaster@elsewhere.example", None),
        ("ann+tag@example.org", None),
        ("+tag@example.com", None),
        ('"../../etc/passwd"@example.com', None),
        ('"|sh"@example.com', None),
    ],
)
async def test_recipients(store: MemoryStore, recipient: str, account: str | None) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        reply = await send(client, recipient)
        if account is None:
            assert str(reply) == UNKNOWN
        else:
            assert reply.code == 250
            assert await bodies(store, account) == [CONTENT]


async def test_unknown_recipients_do_not_spoil_the_others(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<eve@example.com>\r\nRCPT TO:<bob@example.com>\r\n")
        await client.send(b"RCPT TO:<eve@example.com>\r\n" + DATA)
        await client.expect("250", UNKNOWN, "250", UNKNOWN, "354", "250")
    assert await counts(store) == [0, 1, 0]


async def test_recipients_of_an_earlier_transaction_are_forgotten(store: MemoryStore) -> None:
    handler = MailboxHandler(store)
    async with open_session(HandlerFactory(lambda: handler)) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ann@example.com>\r\nRSET\r\n" + TRANSACTION + DATA)
        await client.expect("250", "250", "250", "250", "250", "354", "250")
    assert await counts(store) == [0, 1, 0]
    assert [str(recipient) for recipient in handler._accounts] == ["bob@example.com"]


@pytest.mark.parametrize("name", ["bob", "gone"])
async def test_the_postmaster_is_who_was_named(store: MemoryStore, name: str) -> None:
    """If that account is gone, another one gets the mail (RFC 5321 §4.5.1)."""
    async with open_session(MailboxHandler.factory(store, postmaster=name)) as client:
        await begin(client)
        assert (await send(client, "postmaster")).code == 250
        assert (await send(client, "postmaster@example.net")).code == 250
    assert await counts(store) == ([0, 2, 0] if name == "bob" else [2, 0, 0])


@pytest.mark.parametrize(
    ("recipient", "account"),
    [
        ("nobody@example.com", "bob"),
        ("nobody+tag@Example.ORG", "bob"),
        ("ann@example.com", "ann"),
        ("postmaster@example.com", "ann"),
        ("nobody@elsewhere.example", None),
    ],
)
async def test_one_account_for_unknown_users(store: MemoryStore, recipient: str, account: str | None) -> None:
    async with open_session(MailboxHandler.factory(store, catch_all="bob")) as client:
        await begin(client)
        reply = await send(client, recipient)
        assert str(reply).startswith("250" if account else UNKNOWN)
    assert [name for name in ("ann", "bob", "cid") if await store.count_messages(name, INBOX)] == [account][
        : bool(account)
    ]


async def test_the_account_for_unknown_users_is_gone(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store, catch_all="dan")) as client:
        await begin(client)
        assert str(await send(client, "nobody@example.com")) == UNKNOWN


async def test_the_postmaster_s_own_address_goes_first(store: MemoryStore) -> None:
    await store.create_account("dan", addresses=["postmaster@example.com"])
    async with open_session(MailboxHandler.factory(store, postmaster="bob")) as client:
        await begin(client)
        assert (await send(client, "postmaster@example.com")).code == 250
    assert await counts(store) == [0, 0, 0, 1]


@pytest.mark.parametrize("handler", [MailboxHandler, SubmissionHandler])
async def test_no_recipient_costs_a_look_at_all_accounts(handler: type[MailboxHandler], store: MemoryStore) -> None:
    """Otherwise any client could keep a server with many accounts busy."""
    listed = False

    class Watched(MemoryStore):
        async def list_accounts(self) -> list[Account]:
            nonlocal listed
            listed = True
            return await super().list_accounts()

    watched = Watched()
    for account in await store.list_accounts():
        await watched.create_account(account.name, addresses=account.addresses)
    config = Config(auth_requires_tls=False)
    async with open_session(handler.factory(watched), config=config, authenticator=anybody) as client:
        await begin(client)
        assert (await client.command("AUTH PLAIN AGFubgBh")).code == 235
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        for recipient in ("postmaster", "postmaster@example.com", "bob@example.com"):
            assert (await client.command(f"RCPT TO:<{recipient}>")).code == 250
        for recipient in ("postmaster@elsewhere.example", "eve@example.com", "eve@elsewhere.example"):
            assert (await client.command(f"RCPT TO:<{recipient}>")).code == 550
    assert not listed


async def anybody(username: str, password: str) -> str:
    return username


async def test_a_store_without_accounts() -> None:
    async with open_session(MailboxHandler.factory(MemoryStore())) as client:
        await begin(client)
        for recipient in ("postmaster", "ann@example.com", "postmaster@example.com"):
            assert str(await send(client, recipient)) == UNKNOWN
            assert (await client.command("RSET")).code == 250


@pytest.mark.parametrize("lmtp", [False, True])
async def test_nothing_but_rcpt_tells_who_there_is(store: MemoryStore, lmtp: bool) -> None:
    answers: list[list[str]] = []
    for name in ("ann", "nobody"):
        async with open_session(MailboxHandler.factory(store), lmtp=lmtp) as client:
            await (lhlo(client) if lmtp else begin(client))
            lines = [f"VRFY {name}", f"VRFY {name}@example.com", f"VRFY <{name}@example.com>", f"EXPN {name}"]
            lines += [f"HELP {name}", f"MAIL FROM:<{name}@example.com>"]
            answers.append([str(await client.command(line)) for line in lines])
    assert answers[0] == answers[1]
    assert [answer[:9] for answer in answers[0][:4]] == ["252 2.5.2"] * 3 + ["502 5.5.1"]


# --- what is stored


async def test_the_lines_in_front(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    when = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()
    monkeypatch.setattr("trio_smtp.mailbox_handler.time", SimpleNamespace(time=lambda: when))
    async with open_session(MailboxHandler.factory(store), config=Config(hostname="mx.example.com")) as client:
        await begin(client)
        assert (await send(client, "robert+x@example.org")).code == 250
    [content] = await inbox(store, "bob")
    assert re.sub(rb" id [0-9a-f]+", b" id ID", content) == (
        b"Return-Path: <sender@example.com>\r\n"
        b"Delivered-To: robert+x@example.org\r\n"
        b"Received: from client.example (local)\r\n"
        b"\tby mx.example.com (trio-smtp) with ESMTP id ID\r\n"
        b"\tfor <robert+x@example.org>;\r\n"
        b"\tTue, 03 Feb 2026 04:05:06 +0000\r\n" + CONTENT
    )


async def test_each_copy_names_its_own_recipient_only(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        assert (await send(client, "ann@example.com", "bob@example.com")).code == 250
    [for_ann], [for_bob] = await inbox(store, "ann"), await inbox(store, "bob")
    assert b"Delivered-To: ann@example.com\r\n" in for_ann
    assert b"bob@" not in for_ann
    assert b"Delivered-To: bob@example.com\r\n" in for_bob
    assert b"ann@" not in for_bob


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x\r\n",
        b".\r\n..\r\n",
        b"\r\n" * 100,
        b"Return-Path: <forged@example.com>\r\n\r\n",
        b"\x00\xff\r\n" * 1000,
    ],
)
async def test_the_rest_is_byte_exact(store: MemoryStore, content: bytes) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await deliver(client, content)
        size = len(EVERYTHING)
        await client.send(TRANSACTION + b"BDAT %d LAST\r\n" % size + EVERYTHING)
        await client.expect("250", "250", "250")
    assert await bodies(store, "bob") == [content, EVERYTHING]


@pytest.mark.parametrize("content", [b" id forged\r\n", b"\t;\r\nSubject: x\r\n\r\n"])
async def test_a_message_does_not_continue_our_fields(store: MemoryStore, content: bytes) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await deliver(client, content)
    [stored] = await inbox(store, "bob")
    fields, separator, body = stored.partition(b"\r\n\r\n")
    assert (separator, body) == (b"\r\n\r\n", content)
    assert fields.splitlines()[-1].endswith(b" +0000")


async def test_a_field_may_go_on_in_the_next_chunk(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 12\r\nSubject: x\r\nBDAT 7 LAST\r\n y\r\n\r\nz")
        await client.expect(*["250"] * 4)
    assert await bodies(store, "bob") == [b"Subject: x\r\n y\r\n\r\nz"]


async def test_a_large_message_is_written_in_pieces(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    deliver_to = store.deliver

    def deliver_slowly(targets: Sequence[Target], *, partial: bool = False) -> Delivery:
        delivery = deliver_to(targets, partial=partial)
        write = delivery.write

        async def note(chunk: bytes) -> None:
            pieces.append(len(chunk))
            await write(chunk)

        monkeypatch.setattr(delivery, "write", note)
        return delivery

    monkeypatch.setattr(store, "deliver", deliver_slowly)
    content = b"0123456789\r\n" * 100_000
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await deliver(client, content)
    assert await bodies(store, "bob") == [content]
    assert max(pieces) <= 64 * 1024 + 2


async def test_smtputf8(store: MemoryStore) -> None:
    await store.create_account("dörte", addresses=["dörte@example.com"])
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send("MAIL FROM:<grüße@example.com> SMTPUTF8\r\nRCPT TO:<dörte@example.com>\r\n".encode() + DATA)
        await client.expect("250", "250", "354", "250")
    [content] = await inbox(store, "dörte")
    assert content.startswith("Return-Path: <grüße@example.com>\r\nDelivered-To: dörte@example.com\r\n".encode())
    assert b"with UTF8SMTP id" in content


# --- several accounts: all or nothing


async def test_a_message_to_several_accounts(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        assert (await send(client, "ann@example.com", "bob@example.com")).code == 250
        assert (
            str(await send(client, "ann@example.com", "cid@example.net", content=b"x" * 1000))
            == "452 4.2.2 Mailbox full"
        )
    assert await counts(store) == [1, 1, 0]


# --- quotas


FULL, NEVER = "452 4.2.2 Mailbox full", "552 5.2.2 Mailbox full"


@pytest.mark.parametrize(
    ("quota", "size", "reply"),
    [
        (1001, "", "250"),
        (1000, "", FULL),
        (10, "", FULL),
        (0, "", NEVER),
        (2000, " SIZE=1000", "250"),
        (2000, " SIZE=1001", FULL),
        (2000, " SIZE=2000", FULL),
        (2000, " SIZE=2001", NEVER),
        (1001, " SIZE=0", "250"),
        (None, " SIZE=9999", "250"),
    ],
)
async def test_quota_at_rcpt(store: MemoryStore, quota: int | None, size: str, reply: str) -> None:
    """RFC 1870 §6.4. The other recipients are not refused with it."""
    await store.set_quota("cid", quota)
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(f"MAIL FROM:<>{size}\r\nRCPT TO:<cid@example.net>\r\nRCPT TO:<bob@example.com>\r\n".encode())
        await client.expect("250", reply, "250")


async def test_a_declared_size_counts_for_its_own_transaction(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<> SIZE=5000\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<cid@example.net>\r\n")
        await client.expect("250", "250", "250", "250")


@pytest.mark.parametrize(("size", "reply"), [(1000, FULL), (2000, NEVER)])
async def test_quota_at_the_end_of_data(store: MemoryStore, size: int, reply: str) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        assert str(await send(client, "cid@example.net", content=b"x" * size)) == reply
        assert (await send(client, "cid@example.net", content=b"x" * 500)).code == 250
    assert await counts(store) == [0, 0, 1]


async def test_one_mailbox_named_twice_gets_one_copy(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        recipients = ["bob@example.com", "robert@example.org", "bob+tag@example.com", "bob@example.com"]
        assert (await send(client, *recipients)).code == 250
    [content] = await inbox(store, "bob")
    assert b"Delivered-To: bob@example.com\r\n" in content


# --- LMTP: a reply for each


async def test_lmtp(store: MemoryStore) -> None:
    async with open_session(MailboxHandler.factory(store), lmtp=True) as client:
        await lhlo(client)
        recipients = ["ann@example.com", "cid@example.net", "bob@example.com", "robert@example.org"]
        assert (await send(client, *recipients, content=b"x" * 1000)).code == 250
        await client.expect("452 4.2.2 Mailbox full", "250 2.6.0", "250 2.6.0")
        assert (await client.command("NOOP")).code == 250
    assert await counts(store) == [1, 1, 0]


async def test_lmtp_everybody_refuses(store: MemoryStore) -> None:
    await store.set_read_only("ann", INBOX, True)
    async with open_session(MailboxHandler.factory(store), lmtp=True) as client:
        await lhlo(client)
        assert str(await send(client, "ann@example.com", "cid@example.net", content=b"x" * 1000)).startswith(
            "450 4.2.0"
        )
        await client.expect("452 4.2.2")
    assert await counts(store) == [0, 0, 0]


@pytest.fixture(params=["memory", "json"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MailStore]:
    async with MemoryStore() if request.param == "memory" else JSONFileStore(tmp_path) as store:
        yield store


async def test_lmtp_partial_failure(any_store: MailStore) -> None:
    """The replies come in the order of the recipients, two for a recipient that was named twice (RFC 2033 §4.2)."""
    store = any_store
    for name in ("ann", "full", "closed", "gone", "bob"):
        await store.create_account(name, addresses=[f"{name}@example.com"], quota=100 if name == "full" else None)
    async with open_session(MailboxHandler.factory(store), lmtp=True) as client:
        await lhlo(client)
        await client.send(b"MAIL FROM:<sender@example.com>\r\n")
        names = ["ann", "full", "closed", "nobody", "gone", "full", "bob", "ann", "ann+tag", "gone"]
        await client.send(b"".join(f"RCPT TO:<{name}@example.com>\r\n".encode() for name in names))
        await client.expect("250 2.1.0", *("550 5.1.1" if name == "nobody" else "250 2.1.5" for name in names))
        await client.send(b"DATA\r\n")
        await client.expect("354")
        await store.set_read_only("closed", INBOX, True)
        await store.delete_account("gone")
        await client.send(CONTENT * 3 + b".\r\n")
        full, closed, gone = "552 5.2.2", "450 4.2.0", "550 5.1.1"
        await client.expect("250", full, closed, gone, full, "250", "250", "250", gone)
        assert (await client.command("NOOP")).code == 250
    assert {
        account.name: await store.count_messages(account.name, INBOX) for account in await store.list_accounts()
    } == {
        "ann": 1,
        "full": 0,
        "closed": 0,
        "bob": 1,
    }


# --- refusals of the store


async def test_a_read_only_mailbox(store: MemoryStore) -> None:
    await store.set_read_only("bob", INBOX, True)
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        assert str(await send(client, "bob@example.com")) == "450 4.2.0 Mailbox temporarily unavailable"
        await store.set_read_only("bob", INBOX, False)
        await deliver(client)


@pytest.mark.parametrize("moment", ["DATA", "the end"])
async def test_an_account_that_goes_away_meanwhile(store: MemoryStore, moment: str) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect("250", "250")
        if moment == "DATA":
            await store.delete_account("bob")
        await client.send(b"DATA\r\n")
        await client.expect("354")
        if moment == "the end":
            await store.delete_account("bob")
        await client.send(CONTENT + b".\r\n")
        await client.expect(UNKNOWN)
        assert (await client.command("NOOP")).code == 250


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


class Broken(Delivery):
    """A delivery that fails at one of its steps."""

    def __init__(self, step: str, error: Exception) -> None:
        self._step = step
        self._error = error
        self.left = False

    async def __aexit__(self, *arguments: object) -> None:
        self.left = True

    async def write(self, chunk: bytes) -> None:
        if self._step == "write":
            raise self._error

    async def commit(self) -> list[Delivered | StoreError]:
        raise self._error


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("step", ["find", "write", "commit"])
async def test_a_store_that_is_down(
    store: MemoryStore, step: str, lmtp: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply 451 does not say why. The log does, in one escaped line without a traceback."""
    error = StoreUnavailable("cannot write /var/secret:\nno space")
    broken = Broken(step, error)
    if step == "find":
        monkeypatch.setattr(store, "find_account", failing(error))
    else:
        monkeypatch.setattr(store, "deliver", lambda targets, *, partial: broken)
    async with open_session(MailboxHandler.factory(store), lmtp=lmtp) as client:
        await (lhlo(client) if lmtp else begin(client))
        assert str(await send(client, "ann@example.com", "bob@example.com")) == "451 4.3.0 Local error, try again later"
        if lmtp and step != "find":
            await client.expect("451 4.3.0 Local error")
        assert (await client.command("NOOP")).code == 250
    assert broken.left == (step != "find")
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert not record.exc_info
    assert record.getMessage().endswith(r"cannot write /var/secret:\nno space")
    assert record.getMessage().isprintable()


@pytest.mark.parametrize(
    ("kind", "reply"),
    [(errors.NoSuchAccount, "550 5.1.1"), (errors.QuotaExceeded, "452 4.2.2"), (errors.MessageTooBig, "552 5.2.2")],
)
async def test_a_store_may_have_errors_of_its_own(
    store: MemoryStore, kind: type[StoreError], reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = type("Own", (kind,), {})("not now")
    monkeypatch.setattr(store, "deliver", lambda targets, *, partial: Broken("commit", error))
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        assert str(await send(client, "ann@example.com")).startswith(reply)


async def test_a_fault_of_the_store_is_451_too(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "find_account", failing(KeyError("secret")))
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        reply = await send(client, "ann@example.com")
        assert reply.code == 451
        assert "secret" not in str(reply)


@pytest.mark.parametrize("end", [b"RSET\r\n", b"QUIT\r\n", b""])
async def test_a_message_that_is_broken_off_leaves_nothing(store: MemoryStore, end: bytes) -> None:
    async with open_session(MailboxHandler.factory(store)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 3\r\nabc" + end)
        await client.send_eof()
        await client.rest()
    assert await counts(store) == [0, 0, 0]


# --- a handler built on it


async def test_a_subclass_may_refuse_what_it_would_take(store: MemoryStore) -> None:
    class Picky(MailboxHandler):
        async def rcpt(self, event: RcptTo) -> Reply | None:
            reply = await super().rcpt(event)
            if event.recipient.local_part == "ann":
                raise Refuse(550, "Not for Ann", "5.7.1")
            return reply

    async with open_session(Picky.factory(store)) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\n" + DATA)
        await client.expect("250", "550 5.7.1", "250", "354", "250")
    assert await counts(store) == [0, 1, 0]


async def test_the_clients_of_one_store_do_not_mix(store: MemoryStore) -> None:
    """Ten sessions, their commands interleaved."""
    async with trio.open_nursery() as nursery:

        async def client(number: int) -> None:
            async with open_session(MailboxHandler.factory(store)) as client:
                await begin(client)
                for _ in range(10):
                    recipient = ("ann@example.com", "bob@example.com")[number % 2]
                    assert (await send(client, recipient, content=b"%d\r\n" % number)).code == 250

        for number in range(10):
            nursery.start_soon(client, number)
    assert sorted(await bodies(store, "ann")) == sorted(
        b"%d\r\n" % number for number in (0, 2, 4, 6, 8) for _ in range(10)
    )
    assert await counts(store) == [50, 50, 0]
