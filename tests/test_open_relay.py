"""Never an open relay: whatever form an address has, a message goes to the account that owns it, or to nobody."""

from __future__ import annotations

import base64
import re

import pytest

from trio_smtp.handler import HandlerFactory, Mail
from trio_smtp.mailbox import MemoryStore
from trio_smtp.mailbox.store import INBOX
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.protocol import Config
from trio_smtp.submission import SubmissionHandler
from trio_smtp.testing.client import ScriptedClient, open_session

LOGIN = "AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode()

# A path, and the account that owns it.
PATHS = [
    ("<ann@example.com>", "ann"),
    ("<ANN@EXAMPLE.COM>", "ann"),
    ("<ann+tag@example.com>", "ann"),
    ('<"ann"@example.com>', "ann"),
    ("<dörte@bücher.example>", "dörte"),
    ("<DÖRTE@BÜCHER.example>", "dörte"),
    ("<odd@[192.0.2.1]>", "odd"),
    # a source route is dropped (RFC 5321 §3.6.1): the hosts in it get nothing
    ("<@relay.example:ann@example.com>", "ann"),
    ("<@a.example,@b.example:ann@example.com>", "ann"),
    ("<@example.com:user@elsewhere.example>", None),
    ("<@example.com,@a.example:user@elsewhere.example>", None),
    ("<@[192.0.2.1]:user@elsewhere.example>", None),
    # what looks like a route in the local part is none
    ("<user%elsewhere.example@example.com>", None),
    ("<ann%example.com@elsewhere.example>", None),
    ("<user%elsewhere.example%b.example@example.com>", None),
    ("<ann%@example.com>", None),
    ("<elsewhere.example!user@example.com>", None),
    ("<a!b!elsewhere.example!user@example.com>", None),
    ("<example.com!ann@elsewhere.example>", None),
    ("<elsewhere.example!ann>", None),
    ('<"user@elsewhere.example"@example.com>', None),
    ('<"user@elsewhere.example">', None),
    ('<"ann@example.com"@elsewhere.example>', None),
    ('<"user%elsewhere.example"@example.com>', None),
    (r'<"user\@elsewhere.example"@example.com>', None),
    ('<"ann "@example.com>', None),
    ('<"<user@elsewhere.example>"@example.com>', None),
    ("<user@elsewhere.example@example.com>", None),
    ("<ann@example.com@elsewhere.example>", None),
    ("<user%elsewhere.example>", None),
    ("<ann+@elsewhere.example>", None),
    ("<ann+@elsewhere.example@example.com>", None),
    # other spellings of a domain, of ours or not
    ("<user@elsewhere.example>", None),
    ("<ann@example.com.elsewhere.example>", None),
    ("<ann@example.com.>", None),
    ("<ann@.example.com>", None),
    ("<ann@example..com>", None),
    ("<ann@example.com,user@elsewhere.example>", None),
    ("<ann@example.com;user@elsewhere.example>", None),
    ("<ann@example.com> <user@elsewhere.example>", None),
    ("<ann@example.com:25>", None),
    ("<ann@sub.example.com>", None),
    ("<ann@ｅxample.com>", None),
    ("<ann@xn--bcher-kva.example>", None),
    ("<ann>", None),
    ("<@example.com>", None),
    ("<>", None),
    ("<user@[127.0.0.1]>", None),
    ("<ann@[127.0.0.1]>", None),
    ("<ann@[192.0.2.1]>", None),
    ("<ann@127.0.0.1>", None),
    ("<user@[IPv6:::1]>", None),
    ("<user@[IPv6:2001:db8::1]>", None),
    ("<user%elsewhere.example@[127.0.0.1]>", None),
    ("<user@[elsewhere.example]>", None),
    ("<user@localhost>", None),
    ("<user@mail.example.com>", None),  # the host itself has no mailboxes
    # names that mean something elsewhere
    ('<"/etc/passwd"@example.com>', None),
    ('<"|/bin/sh"@example.com>', None),
    ('<":include:/etc/passwd"@example.com>', None),
    ("<ann\x00@example.com>", None),
    ("<аnn@example.com>", None),  # a Cyrillic letter
]


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com"])
    await store.create_account("dörte", addresses=["dörte@bücher.example"])
    await store.create_account("odd", addresses=["odd@[192.0.2.1]"])
    await store.create_account("eve", addresses=["eve@example.com"])
    return store


async def login(username: str, password: str) -> str | None:
    return username


async def offer(client: ScriptedClient, door: str, path: str) -> int:
    """Send a message to this path. Return the code of the first refusal, or of the last reply."""
    await client.expect("220")
    assert (await client.command("LHLO c" if door == "lmtp" else "EHLO c")).code == 250
    if door == "submission":
        assert (await client.command(LOGIN)).code == 235
    for line in ("MAIL FROM:<ann@example.com> SMTPUTF8", f"RCPT TO:{path}", "DATA"):
        reply = await client.command(line)
        if reply.code >= 400:
            return reply.code
    return (await client.command("Subject: hello\r\n\r\n.")).code


@pytest.mark.parametrize(("path", "owner"), PATHS)
async def test_only_the_owner_gets_it(store: MemoryStore, path: str, owner: str | None) -> None:
    for_anyone, with_login = MailboxHandler.factory(store), SubmissionHandler.factory(store)
    doors: list[tuple[str, HandlerFactory, set[int]]] = [
        ("smtp", for_anyone, {250} if owner else {501, 550}),
        ("lmtp", for_anyone, {250} if owner else {501, 550}),
        ("submission", with_login, {250} if owner else {501, 550}),
        ("submission without login", with_login, {530}),
    ]
    for door, handler, codes in doors:
        config = Config(hostname="mail.example.com", lmtp=door == "lmtp", auth_requires_tls=False)
        async with open_session(handler, config=config, authenticator=login) as client:
            code = await offer(client, door, path)
        assert code in codes, door
    counts = {name: await store.count_messages(name, INBOX) for name in ("ann", "dörte", "odd", "eve")}
    assert {name: count for name, count in counts.items() if count} == ({owner: 3} if owner else {})


@pytest.mark.parametrize(("path", "owner"), PATHS)
async def test_a_relay_gets_the_domains_of_others_only(store: MemoryStore, path: str, owner: str | None) -> None:
    """No form of an address makes the relay get mail for a domain of ours."""
    relayed: list[str] = []

    async def relay(mail: Mail) -> None:
        relayed.extend(f"<{recipient}>" for recipient in mail.recipients)

    config = Config(hostname="mail.example.com", auth_requires_tls=False)
    handler = SubmissionHandler.factory(store, relay=relay)
    async with open_session(handler, config=config, authenticator=login) as client:
        code = await offer(client, "submission", path)
    if owner or code != 250:
        assert relayed == []
    else:
        [recipient] = relayed
        without_route = re.sub("^<@[^:]*:", "<", path)
        assert recipient == without_route
        domain = recipient.rpartition("@")[2].removesuffix(">").lower()
        assert domain not in {"example.com", "bücher.example", "[192.0.2.1]"}
