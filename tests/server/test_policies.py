"""Policies in a session: when they are asked, what their refusals do, and what is counted."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from tests.server.tools import (
    CONTENT,
    DATA,
    HELLO,
    MAIL,
    RCPT,
    TRANSACTION,
    Marking,
    Recorder,
    begin,
    deliver,
    handler_with,
    serving,
    take,
)
from trio_smtp.handler import Body, Handler, Mail, Peer, Refuse, Session
from trio_smtp.policy import Content, HeaderLimits, Policy
from trio_smtp.policy.base import HOOKS
from trio_smtp.protocol import Config, Envelope, Hello, Limits, MailFrom, RcptTo, Reply
from trio_smtp.server import Authenticator, open_server
from trio_smtp.server.policies import PolicyHooks, resolve_policies
from trio_smtp.testing.client import open_session

PLAIN = b"AUTH PLAIN " + b64encode(b"\0ann\0secret") + b"\r\n"


class Noting(Policy):
    """Records each call, and refuses in the hook given."""

    def __init__(self, refuse: str = "", reply: tuple[int, str] = (450, "No")) -> None:
        self.calls: list[str] = []
        self._refuse = refuse
        self._reply = reply

    def _note(self, hook: str, what: object = "") -> None:
        self.calls.append(f"{hook} {what}".rstrip())
        if hook == self._refuse:
            raise Refuse(*self._reply)

    async def connect(self, session: Session) -> None:
        self._note("connect", session.peer.host)

    async def hello(self, session: Session, event: Hello) -> None:
        self._note("hello", event.domain)

    async def login(self, session: Session, username: str) -> None:
        self._note("login", username)

    async def login_failed(self, session: Session, username: str) -> None:
        self._note("login_failed", username)

    async def mail(self, session: Session, event: MailFrom) -> None:
        self._note("mail", event.sender)

    async def rcpt(self, session: Session, event: RcptTo) -> None:
        self._note("rcpt", event.recipient)

    async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
        self._note("header", header)

    async def content(self, session: Session, envelope: Envelope, content: Content) -> None:
        self._note("content", await content.read())

    async def fault(self, session: Session, errors: float, junk: float) -> None:
        self._note("fault", f"{errors:.2f} {junk:.2f}")


async def who_knows(username: str, password: str) -> str | None:
    return username if password == "known" else None


async def test_policies_are_asked_before_the_handler_in_their_order() -> None:
    calls: list[str] = []

    class Asked(Noting):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def _note(self, hook: str, what: object = "") -> None:
            calls.append(f"{self._name} {hook}")

    class Told(Recorder):
        async def rcpt(self, event: RcptTo) -> None:
            calls.append("handler rcpt")

        async def connect(self) -> None:
            calls.append("handler connect")

    async with serving(Told().factory, Asked("first"), Asked("second")) as (_, client):
        await begin(client)
        await client.send(b"NOOP\r\n")
        await client.expect("250")
        await deliver(client)
    assert [call for call in calls if call.startswith(("first", "second"))] == [
        "first connect",
        "second connect",
        "first hello",
        "second hello",
        "first fault",
        "second fault",
        "first mail",
        "second mail",
        "first rcpt",
        "second rcpt",
        "first header",
        "second header",
        "first content",
        "second content",
    ]
    assert calls.index("handler connect") > calls.index("second connect")
    assert calls.index("handler rcpt") > calls.index("second rcpt")


async def test_what_a_policy_is_told() -> None:
    policy = Noting()
    options = {"authenticator": who_knows, "config": Config(auth_requires_tls=False)}
    async with serving(take, policy, **options) as (_, client):
        await begin(client)
        await client.send(PLAIN)
        await client.expect("535")
        await client.send(b"AUTH LOGIN\r\n" + b64encode(b"ann") + b"\r\n" + b64encode(b"known") + b"\r\n")
        await client.expect("334", "334", "235")
        await deliver(client, CONTENT)
    assert policy.calls == [
        "connect 127.0.0.1",
        "hello client.example",
        "login ann",
        "login_failed ann",
        "fault 0.05 0.00",
        "login ann",
        "mail ann@example.com",
        "rcpt bob@example.com",
        "header b'Subject: hello\\r\\n'",
        f"content {CONTENT!r}",
    ]


@pytest.mark.parametrize("answer", [b"AQ==\r\n", b"*\r\n", b""], ids=["answered", "cancelled", "hung-up"])
async def test_a_bearer_token_that_is_refused_is_a_failed_login_whatever_the_client_makes_of_it(answer: bytes) -> None:
    class NoToken(Authenticator):
        async def check_token(self, token: str, username: str | None) -> None:
            pass

    policy = Noting()
    options = {"authenticator": NoToken(), "config": Config(auth_requires_tls=False)}
    async with serving(take, policy, **options) as (server, client):
        await begin(client)
        await client.send(b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer guess\x01\x01") + b"\r\n" + answer)
        await client.expect("334")
        if answer:
            await client.read_reply()
        assert policy.calls.count("login_failed ann") == 1
        assert server.stats.login_failures == 1


@pytest.mark.parametrize("answer", [b"AQ==", b"*", b"?"], ids=["answered", "cancelled", "not base64"])
async def test_so_many_refused_bearer_tokens_end_the_connection_whatever_the_client_makes_of_them(
    answer: bytes,
) -> None:
    class NoToken(Authenticator):
        checked = 0

        async def check_token(self, token: str, username: str | None) -> None:
            self.checked += 1

    authenticator = NoToken()
    config = Config(auth_requires_tls=False, limits=Limits(auth_failures=3))
    async with serving(take, Policy(), authenticator=authenticator, config=config) as (server, client):
        await begin(client)
        attempt = b"AUTH XOAUTH2 " + b64encode(b"user=ann\x01auth=Bearer guess\x01\x01") + b"\r\n" + answer + b"\r\n"
        await client.send(attempt * 4 + b"QUIT\r\n")
        assert [reply.code for reply in await client.rest()][-1] == 421
    assert authenticator.checked == 3
    assert server.stats.rules == {"login-failures": 1}


async def test_a_failed_login_counts_whatever_reply_a_policy_gives_it() -> None:
    config = Config(auth_requires_tls=False, limits=Limits(auth_failures=3))
    async with serving(take, Noting("login_failed"), authenticator=who_knows, config=config) as (server, client):
        await begin(client)
        await client.send(PLAIN * 4 + b"QUIT\r\n")
        assert [reply.code for reply in await client.rest()] == [450, 450, 450, 421]
    assert server.stats.login_failures == 3


@pytest.mark.parametrize(
    ("hook", "sent", "answers"),
    [
        ("connect", b"", ["450"]),
        ("hello", HELLO, ["220", "450"]),
        ("login", HELLO + PLAIN, ["220", "250", "450"]),
        ("login_failed", HELLO + PLAIN, ["220", "250", "450"]),
        ("mail", HELLO + MAIL, ["220", "250", "450"]),
        ("rcpt", HELLO + TRANSACTION, ["220", "250", "250", "450"]),
        ("header", HELLO + TRANSACTION + DATA, ["220", "250", "250", "250", "354", "450"]),
        ("content", HELLO + TRANSACTION + DATA, ["220", "250", "250", "250", "354", "450"]),
    ],
)
async def test_a_refusal_is_the_answer_and_is_counted(hook: str, sent: bytes, answers: list[str]) -> None:
    handler = Recorder()
    options = {"authenticator": who_knows, "config": Config(auth_requires_tls=False)}
    async with serving(handler.factory, Noting(hook), early_talkers="allow", **options) as (server, client):
        await client.send(sent)
        await client.expect(*answers)
        if hook != "connect":
            await client.send(b"QUIT\r\n")
            await client.expect_close("221")
    assert server.stats.rules == {"Noting": 1}
    assert server.stats.messages_accepted == 0
    assert not any(call.startswith("read") for call in handler.calls)


@pytest.mark.parametrize("answer", [Reply(550, "No"), Refuse(550, "No"), False], ids=["reply", "refusal", "false"])
@pytest.mark.parametrize(
    ("hook", "sent", "last"),
    [
        ("connect", b"", "451"),
        ("hello", HELLO, "451"),
        ("login", HELLO + PLAIN, "454"),
        ("login_failed", HELLO + PLAIN, "454"),
        ("mail", HELLO + MAIL, "451"),
        ("rcpt", HELLO + TRANSACTION, "451"),
        ("header", HELLO + TRANSACTION + DATA, "451"),
        ("content", HELLO + TRANSACTION + DATA, "451"),
    ],
)
async def test_a_refusal_that_is_returned_is_no_consent(
    hook: str, sent: bytes, last: str, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def returning(*_: object) -> object:
        return answer

    policy = type("Returning", (Policy,), {hook: returning})()
    options = {"authenticator": who_knows, "config": Config(auth_requires_tls=False)}
    async with serving(take, policy, early_talkers="allow", **options) as (server, client):
        if sent:
            await client.send(sent + b"QUIT\r\n")
            assert int(last) in [reply.code for reply in await client.rest()]
        else:
            await client.expect(last)
    assert "TypeError" in caplog.text
    assert server.stats.messages_accepted == 0


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("hook", ["header", "content"])
async def test_after_a_refused_message_the_next_one_is_taken(hook: str, chunking: bool) -> None:
    """The rest of the refused message, which is still arriving, is read and dropped."""
    content = CONTENT + b"x" * 100_000 + b"\r\n"
    taken: list[bytes] = []

    async def on_mail(mail: Mail) -> None:
        taken.append(mail.content)

    class Once(Noting):
        def _note(self, hook: str, what: object = "") -> None:
            if hook == self._refuse:
                self._refuse = ""
                raise Refuse(550, "Spam", "5.7.1", rule="spam")

    async with serving(on_mail, Once(hook)) as (server, client):
        await begin(client)
        for answer in ("550 5.7.1 Spam", "250 2.6.0"):
            if chunking:
                await client.send(TRANSACTION + b"BDAT %d LAST\r\n" % len(content) + content)
                await client.expect("250", "250", answer)
            else:
                await client.send(TRANSACTION + b"DATA\r\n" + content + b".\r\n")
                await client.expect("250", "250", "354", answer)
    assert taken == [content]
    assert server.stats.rules == {"spam": 1}


@pytest.mark.parametrize("hook", ["header", "content"])
async def test_in_lmtp_every_recipient_hears_of_the_refusal(hook: str) -> None:
    async with serving(take, Noting(hook), lmtp=True) as (_, client):
        await client.send(b"LHLO client.example\r\n" + TRANSACTION + RCPT + DATA)
        await client.expect("220", "250", "250", "250", "250", "354", "450", "450")


@pytest.mark.parametrize("hook", ["header", "content"])
async def test_a_handler_cannot_answer_in_the_place_of_a_policy(hook: str) -> None:
    class Deaf(Handler):
        async def message(self, envelope: Envelope, body: Body) -> Reply | None:
            for _ in range(2):
                with pytest.raises(Refuse):
                    await body.read()
            return Reply(250, "Fine", "2.0.0")

    async with serving(Deaf, policy := Noting(hook)) as (server, client):
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect("250", "250", "354", "450")
    assert server.stats.rules == {"Noting": 1}
    assert policy.calls[-1].startswith(hook)


class Slow(Noting):
    """Takes a minute."""

    async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
        await trio.sleep(60)
        await super().header(session, envelope, header)

    async def content(self, session: Session, envelope: Envelope, content: Content) -> None:
        await trio.sleep(60)
        await super().content(session, envelope, content)


@pytest.mark.parametrize("refuse", ["", "header", "content"])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("chunking", [False, True])
async def test_a_handler_that_waits_for_no_policy_does_not_get_past_it(
    autojump_clock: trio.testing.MockClock, refuse: str, goes_on: bool, chunking: bool
) -> None:
    """A handler's own timeout may end a read while a policy works. The policy is asked again when the handler reads on,
    and no octet is lost.
    """
    received: list[bytes] = []

    async def message(envelope: Envelope, body: Body) -> None:
        for seconds in (30, 90):  # the first ends in the header hook, the second in the content hook
            with trio.move_on_after(seconds):
                await body.read()
        if goes_on:
            received.append(await body.read())

    policy = Slow(refuse)
    async with open_session(handler_with(message=message), policy=[Marking(("X-Seen", "once")), policy]) as client:
        await begin(client)
        sent = f"BDAT {len(CONTENT)} LAST\r\n".encode() + CONTENT if chunking else DATA
        await client.send(TRANSACTION + sent)
        answer = "450" if refuse and (goes_on or refuse == "header") else "250 2.6.0" if goes_on else "451 4.3.0"
        await client.expect("250", "250", *["354"][chunking:], answer)
    if goes_on and not refuse:
        assert received == [b"X-Seen: once\r\n" + CONTENT]
        assert [call.split()[0] for call in policy.calls[-2:]] == ["header", "content"]


@pytest.mark.parametrize(("refuse", "goes_on", "answer"), [(False, False, "451 4.3.0"), (True, True, "450")])
async def test_nor_past_one_that_looks_at_the_last_octet(
    autojump_clock: trio.testing.MockClock, refuse: bool, goes_on: bool, answer: str
) -> None:
    """In a message without a body the header is complete only at its last octet."""

    class SlowLook(Policy):
        async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
            await trio.sleep(60)
            if refuse:
                raise Refuse(450, "No")

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(30):
            async for _ in body:
                pass
        if goes_on:
            async for _ in body:
                pass

    async with open_session(handler_with(message=message), policy=SlowLook()) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\nSubject: hello\r\n.\r\n")
        await client.expect("250", "250", "354", answer)


@pytest.mark.parametrize(
    ("hook", "sent", "answers"),
    [("rcpt", MAIL + RCPT, ["250", "450"]), ("header", TRANSACTION + DATA, ["250", "250", "354", "450"])],
)
async def test_a_refusal_out_of_a_nursery_is_one(hook: str, sent: bytes, answers: list[str]) -> None:
    """Such as from a policy that asks several block lists at the same time."""

    async def refuse() -> None:
        raise Refuse(450, "On a list")

    async def look(*_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            nursery.start_soon(trio.sleep_forever)

    async def message(envelope: Envelope, body: Body) -> None:
        with pytest.raises(Refuse):
            await body.read()

    listed = type("Listed", (Policy,), {hook: look})
    async with serving(handler_with(message=message), listed()) as (server, client):
        await begin(client)
        await client.send(sent)
        await client.expect(*answers)
    assert server.stats.rules["Listed"] == 1
    assert server.stats.hook_errors == 0


@pytest.mark.parametrize(
    ("hook", "answers"),
    [("mail", []), ("rcpt", ["250"]), ("header", ["250", "250", "354"]), ("content", ["250", "250", "354"])],
)
async def test_a_fault_of_a_policy_is_the_servers(
    hook: str, answers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    broken = type("Broken", (Policy,), {hook: fail})
    async with serving(take, broken()) as (server, client):
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect(*answers, "451 4.3.0 Internal error, reference ")
    assert server.stats.hook_errors == 1
    assert not server.stats.rules
    assert caplog.text.rstrip().endswith("RuntimeError: secret")


async def test_a_policy_may_close_the_connection() -> None:
    async with serving(take, Noting("mail", (421, "Go away"))) as (_, client):
        await begin(client)
        await client.send(MAIL)
        await client.expect_close("421")


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"", b""),
        (b"\r\nbody\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b\r\n\r\n", b"A: b\r\n"),
        (b"A: b\r\nC: d\r\n\r\nbody\r\n\r\n", b"A: b\r\nC: d\r\n"),
        (b"A: " + b"x" * (2 << 20) + b"\r\n", b"A: " + b"x" * ((1 << 20) - 3)),
        (b"no header\r\n" + b"x" * 300_000 + b"\r\n", b""),
    ],
)
async def test_the_header_is_seen_whole_however_it_is_cut_up(content: bytes, header: bytes) -> None:
    step = 1 if len(content) < 100 else 100_000
    for size in (len(content) or 1, step):
        seen: list[bytes] = []

        class Looking(Policy):
            async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
                seen.append(header)  # noqa: B023 - called within this turn of the loop

        async with serving(take, Looking()) as (_, client):
            await begin(client)
            await client.send(TRANSACTION)
            for start in range(0, len(content), size):
                piece = content[start : start + size]
                await client.send(b"BDAT %d\r\n" % len(piece) + piece)
            await client.send(b"BDAT 0 LAST\r\n")
            await client.expect("250", "250", *["250 2.0.0"] * -(-len(content) // size), "250 2.6.0")
        assert seen == [header]


async def test_as_much_of_the_header_is_held_as_the_policies_want() -> None:
    seen: list[bytes] = []

    class Looking(Policy):
        def __init__(self, bound: int) -> None:
            self.header_bound = bound

        async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
            seen.append(header)

    async with open_session(take, policy=[Looking(5), Looking(9)]) as client:
        await begin(client)
        await deliver(client)
    assert seen == [CONTENT[:9]] * 2
    session = Session("id", Peer("192.0.2.1", 1), "mx.example.com")
    for policies, bound in (
        (None, 128 * 1024 + 1),
        (HeaderLimits(size=None), 1 << 20),
        ([HeaderLimits(size=1 << 20), Looking(2 << 20)], 1 << 20),
        ((), 0),
    ):
        assert resolve_policies(policies).hooks_for(session).header_bound == bound


async def test_the_fault_hook_delays_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    class Delaying(Policy):
        async def fault(self, session: Session, errors: float, junk: float) -> None:
            await trio.sleep(10)

    async with open_session(take, policy=Delaying(), config=Config(limits=Limits(errors=5))) as client:
        await client.expect("220")
        before = trio.current_time()
        await client.send(b"WHAT\r\n")
        await client.expect("500")
        assert trio.current_time() - before == pytest.approx(10)
        await client.send(b"EHLO client.example\r\n" + TRANSACTION)
        await client.expect("250", "250", "250")
        before = trio.current_time()
        await client.send(DATA)
        await client.expect("354", "250")
        assert trio.current_time() == before


def test_every_hook_has_its_place() -> None:
    session = Session("id", Peer("192.0.2.1", 1), "mx.example.com")
    hooks = resolve_policies([Noting(), Policy()]).hooks_for(session)
    assert {name for name in HOOKS if getattr(hooks, name)} == {*HOOKS}
    assert all(len(getattr(hooks, name)) == 1 for name in HOOKS)
    assert resolve_policies(()).hooks_for(session) == PolicyHooks()
    assert resolve_policies(None).hooks_for(session).header


def test_a_policy_with_entries_is_one_policy() -> None:
    class Blocklist(Policy):
        def __iter__(self) -> Iterator[str]:
            return iter(["192.0.2.1"])

        async def connect(self, session: Session) -> None: ...

    session = Session("id", Peer("192.0.2.1", 1), "mx.example.com")
    assert len(resolve_policies(Blocklist()).hooks_for(session).connect) == 1


@pytest.mark.parametrize("hook", ["header", "content"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_policy_that_runs_out_of_something_does_not_end_the_message(hook: str, at_once: bool) -> None:
    """A StopAsyncIteration from a policy would end the handler's loop, which would take a cut-off message for whole."""
    taken: list[bytes] = []

    async def empty(*arguments: object) -> None:
        raise StopAsyncIteration

    async def message(envelope: Envelope, body: Body) -> None:
        taken.append(await body.read() if at_once else b"".join([chunk async for chunk in body]))

    policy = type("Empty", (Policy,), {hook: empty})()
    async with open_session(handler_with(message=message), policy=policy) as client:
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect("250", "250", "354", "451 4.3.0 Internal error")
    assert taken == []


def test_what_does_not_apply_has_no_hooks() -> None:
    class Strict(Policy):
        def applies_to(self, session: Session) -> bool:
            return session.peer.host != "192.0.2.1"

        async def mail(self, session: Session, event: MailFrom) -> None: ...

    policies = resolve_policies([Strict(), Noting()])
    ours, others = (policies.hooks_for(Session("id", Peer(host, 1), "mx")) for host in ("192.0.2.1", "192.0.2.2"))
    assert (len(ours.mail), len(others.mail)) == (1, 2)
    assert policies.hooks_for(Session("other", Peer("192.0.2.9", 1), "mx")) is others


def test_policies_that_are_equal_are_two_all_the_same() -> None:
    """Policies need not be hashable; a dataclass with `eq` is not."""

    @dataclass
    class Listed(Policy):
        hosts: list[str]
        only: str = field(compare=False)

        def applies_to(self, session: Session) -> bool:
            return session.peer.host == self.only

        async def connect(self, session: Session) -> None: ...

    listed = [Listed([], "192.0.2.1"), Listed([], "192.0.2.2")]
    policies = resolve_policies(listed)
    for policy in listed:
        [hook] = policies.hooks_for(Session("id", Peer(policy.only, 1), "mx")).connect
        assert getattr(hook, "__self__", None) is policy


@pytest.mark.parametrize("policy", [[object()], [Policy], 5])
async def test_what_is_no_policy(policy: Any) -> None:
    with pytest.raises(TypeError):
        async with open_server(take, policy=policy):
            raise AssertionError
