"""AUTH (RFC 4954): the dialogue, the authenticator's answers and faults, a store's accounts, and no secrets in logs."""

from __future__ import annotations

import logging
import re
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.server.tools import begin, connected, deliver, take
from trio_smtp.handler import Body, Handler, Refuse, Session
from trio_smtp.mailbox import MemoryStore
from trio_smtp.mailbox.passwords import decoy, hash_password
from trio_smtp.mailbox.store import StoreUnavailable
from trio_smtp.policy import Policy
from trio_smtp.protocol import Config, Envelope
from trio_smtp.server import SessionOptions, StoreAuthenticator, authentication, open_server
from trio_smtp.testing.client import open_session

IN_CLEAR = Config(auth_requires_tls=False)
SECRET = "correct horse"
NAME = "mx.example.com"


async def check(username: str, password: str) -> str | None:
    return f"user {username}" if password == SECRET else None


def b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(username: str, password: str) -> str:
    return f"AUTH PLAIN {b64(f'{chr(0)}{username}{chr(0)}{password}')}"


# --- the dialogue


@pytest.mark.parametrize(
    ("commands", "codes"),
    [
        ([plain("ann", SECRET)], [235]),
        (["AUTH PLAIN", b64(f"\0ann\0{SECRET}")], [334, 235]),
        ([f"AUTH PLAIN {b64(f'ann{chr(0)}ann{chr(0)}{SECRET}')}"], [235]),
        (["AUTH LOGIN", b64("ann"), b64(SECRET)], [334, 334, 235]),
        ([f"AUTH LOGIN {b64('ann')}", b64(SECRET)], [334, 235]),
        (["auth plain", b64(f"\0ann\0{SECRET}")], [334, 235]),
        ([plain("ann", "wrong")], [535]),
        (["AUTH LOGIN", b64("ann"), b64("wrong")], [334, 334, 535]),
        ([f"AUTH PLAIN {b64(f'eve{chr(0)}ann{chr(0)}{SECRET}')}"], [535]),
        ([f"AUTH PLAIN {b64('no nul')}"], [535]),
        ([f"AUTH PLAIN {b64(chr(0) * 4)}"], [535]),
        (["AUTH PLAIN ="], [535]),
        ([f"AUTH PLAIN {b64(bytes([0, 255, 0, 255]))}"], [535]),
        (["AUTH PLAIN", "*"], [334, 501]),
        (["AUTH PLAIN", "!!!!"], [334, 501]),
        (["AUTH LOGIN", "*"], [334, 501]),
        (["AUTH CRAM-MD5"], [504]),
        (["AUTH"], [501]),
        ([plain("ann", "wrong"), plain("ann", SECRET)], [535, 235]),  # the second exchange starts from its beginning
        ([f"AUTH LOGIN {b64('ann')}", "*", "AUTH LOGIN", b64("ann"), b64(SECRET)], [334, 501, 334, 334, 235]),
        ([plain("ann", SECRET), plain("ann", SECRET)], [235, 503]),
        ([plain("ann", "wrong")] * 3, [535, 535, 421]),
    ],
)
async def test_dialogue(commands: list[str], codes: list[int]) -> None:
    async with open_session(take, config=IN_CLEAR, authenticator=check) as client:
        await begin(client)
        assert [(await client.command(command)).code for command in commands] == codes
        if codes[-1] == 421:
            await client.send_eof()
            await client.expect_close()


async def test_the_challenges() -> None:
    async with open_session(take, config=IN_CLEAR, authenticator=check) as client:
        await begin(client)
        await client.send(b"AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n\r\n*\r\n")
        await client.expect("334 ", "501", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "501")


async def test_inside_tls_only(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """AUTH is neither offered nor accepted in clear (RFC 4954 §4). After a login the hooks see the identity."""
    identities: list[str | None] = []

    class Noting(Handler):
        async def message(self, envelope: Envelope, body: Body) -> None:
            await body.read()
            identities.append(self.session.identity)

    async with open_session(Noting, ssl_context=server_tls, authenticator=check) as client:
        await client.expect("220")
        assert "AUTH PLAIN LOGIN" not in (await client.command("EHLO client.example")).lines
        assert str(await client.command(plain("ann", SECRET))).startswith("538 5.7.11")
        assert (await client.command("STARTTLS")).code == 220
        await client.start_tls(client_tls, NAME)
        assert "AUTH PLAIN LOGIN" in (await client.command("EHLO client.example")).lines
        await deliver(client)
        assert str(await client.command(plain("ann", SECRET))).startswith("235 2.7.0")
        await deliver(client)
    assert identities == [None, "user ann"]


async def test_a_login_before_tls_is_forgotten(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with open_session(take, config=IN_CLEAR, ssl_context=server_tls, authenticator=check) as client:
        await begin(client)
        assert (await client.command(plain("ann", SECRET))).code == 235
        assert (await client.command("STARTTLS")).code == 220
        await client.start_tls(client_tls, NAME)
        assert (await client.command("EHLO client.example")).code == 250
        assert (await client.command(plain("ann", SECRET))).code == 235


@pytest.mark.parametrize("authenticator", [None, check])
async def test_offered_where_there_is_an_authenticator(
    authenticator: Callable[[str, str], Awaitable[str | None]] | None,
) -> None:
    async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
        await client.expect("220")
        offered = "AUTH PLAIN LOGIN" in (await client.command("EHLO client.example")).lines
        assert offered == (authenticator is not None)
        assert (await client.command(plain("ann", SECRET))).code == (235 if offered else 502)


async def test_required() -> None:
    config = Config(auth_requires_tls=False, auth_required=True)
    async with open_session(take, config=config, authenticator=check) as client:
        await begin(client)
        assert str(await client.command("MAIL FROM:<ann@example.com>")).startswith("530 5.7.0")
        assert (await client.command(plain("ann", SECRET))).code == 235
        await deliver(client)


async def test_required_and_inside_tls_only(server_tls: ssl.SSLContext) -> None:
    config = Config(auth_required=True)
    async with open_session(take, config=config, ssl_context=server_tls, authenticator=check) as client:
        await begin(client)
        assert str(await client.command("MAIL FROM:<ann@example.com>")) == "530 5.7.0 Issue STARTTLS first"


async def test_never_inside_a_transaction() -> None:
    async with open_session(take, config=IN_CLEAR, authenticator=check) as client:
        await begin(client)
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        assert (await client.command(plain("ann", SECRET))).code == 503


# --- the authenticator's answers


@pytest.mark.parametrize("in_a_nursery", [False, True])
async def test_a_refusal_is_the_answer(in_a_nursery: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse() -> None:
        raise Refuse(454, "Come back tomorrow", "4.7.0")

    async def authenticator(username: str, password: str) -> str | None:
        if not in_a_nursery:
            await refuse()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            await trio.sleep_forever()
        raise AssertionError

    async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
        await begin(client)
        assert str(await client.command(plain("ann", SECRET))) == "454 4.7.0 Come back tomorrow"
        assert (await client.command("NOOP")).code == 250
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "fault",
    [ValueError("no way"), RuntimeError("can't start new thread"), MemoryError(), ExceptionGroup("x", [OSError()])],
)
async def test_a_fault_is_454(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def authenticator(username: str, password: str) -> str | None:
        raise fault

    async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
        await begin(client)
        for _ in range(5):  # does not count as a failed login
            assert str(await client.command(plain("ann", SECRET))).startswith("454 4.7.0 Authentication not available")
        await deliver(client)
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 5
    assert SECRET not in caplog.text


class NotNow(Policy):
    """A login limit. The client may not be the cause: another one may be guessing the password of the same user."""

    async def login(self, session: Session, username: str) -> None:
        raise Refuse(454, "Not now", "4.7.0")


@pytest.mark.parametrize(
    ("raised", "policy", "ends", "failures"),
    [
        (Refuse(454, "Too many", "4.7.0"), (), ["refused login peer=local reply=454 4.7.0 Too many"], 0),
        (None, NotNow(), ["refused login peer=local reply=454 4.7.0 Not now"], 0),
        (
            ValueError(),
            (),
            ["internal error", "refused login peer=local reply=454 4.7.0 Authentication not available now"],
            0,
        ),
        (Refuse(535, "Locked", "5.7.8"), (), ["login failed peer=local"], 1),
        (None, (), ["login failed peer=local"], 1),
    ],
    ids=["busy", "limit", "fault", "refusal", "wrong"],
)
async def test_a_login_that_nobody_has_checked_has_not_failed(
    raised: Exception | None,
    policy: Policy | tuple[()],
    ends: list[str],
    failures: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only a wrong password is logged as "login failed": tools ban those clients (docs/operating.md)."""

    async def authenticator(username: str, password: str) -> str | None:
        if raised is not None:
            raise raised
        return None

    caplog.set_level(logging.INFO)
    options = SessionOptions(config=IN_CLEAR, authenticator=authenticator, policy=policy)
    async with open_server(take, **options) as server, connected(server) as client:
        await begin(client)
        assert (await client.command(plain("ann", SECRET))).code in (454, 535)
        assert server.stats.login_failures == failures
    assert [re.sub(r"127.0.0.1:\d+", "local", message[17:]) for message in caplog.messages] == ends


@pytest.mark.parametrize("answer", [True, False, 0, b"ann", ""])
async def test_an_answer_that_is_no_name_lets_nobody_in(answer: object) -> None:
    """False above all: an authenticator may return it by mistake, as the answer to a yes-or-no question."""

    async def authenticator(username: str, password: str) -> object:
        return answer

    identities: list[object] = []

    class Noting(Handler):
        async def close(self) -> None:
            identities.append(self.session.identity)

    async with open_session(Noting, config=IN_CLEAR, authenticator=authenticator) as client:  # type: ignore[arg-type]  # that is the test
        await begin(client)
        assert (await client.command(plain("ann", SECRET))).code == 454
    assert identities == [None]


async def test_faults_come_out_for_tests() -> None:
    async def authenticator(username: str, password: str) -> str | None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        async with open_session(take, config=IN_CLEAR, authenticator=authenticator, on_error="raise") as client:
            await begin(client)
            assert (await client.command(plain("ann", SECRET))).code == 421


# --- the accounts of a store


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com"], password=CREDENTIALS)
    await store.create_account("list", addresses=["list@example.com"])
    return store


CREDENTIALS = hash_password(SECRET)  # made once, because hashing is slow


@pytest.mark.parametrize(
    ("username", "password", "identity"),
    [
        ("ann", SECRET, "ann"),
        ("ann@example.com", SECRET, "ann"),
        ("Ann@EXAMPLE.com", SECRET, "ann"),
        ("ann", "wrong", None),
        ("ann", "", None),
        ("eve", SECRET, None),
        ("list", SECRET, None),  # has no password
        ("", SECRET, None),
        ("a" * 1000, SECRET, None),
        ("\udcff", SECRET, None),
        ("ann", "x" * 100_000, None),
    ],
)
async def test_store_authenticator(store: MemoryStore, username: str, password: str, identity: str | None) -> None:
    assert await StoreAuthenticator(store).check_password(username, password) == identity


async def test_unknown_users_cost_a_hash_too(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(authentication, "verify_password", lambda *arguments: calls.append(arguments))
    authenticator = StoreAuthenticator(store)
    for username in ("ann", "eve", "list"):
        assert await authenticator.check_password(username, "x") is None
    assert calls == [(CREDENTIALS, "x"), (decoy(CREDENTIALS), "x"), (decoy(CREDENTIALS), "x")]


async def test_the_keys_of_unknown_users_are_read_too(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    monkeypatch.setattr(authentication, "scram_keys", read.append)
    authenticator = StoreAuthenticator(store)
    for username in ("ann", "eve", "list"):
        assert (await authenticator.scram_keys(username))[0] is None
    assert read == [CREDENTIALS, decoy(CREDENTIALS), decoy(CREDENTIALS)]


async def test_who_exists_cannot_be_told_from_the_replies(store: MemoryStore) -> None:
    async with open_session(take, config=IN_CLEAR, authenticator=StoreAuthenticator(store)) as client:
        await begin(client)
        assert await client.command(plain("ann", "wrong")) == await client.command(plain("eve", "wrong"))


class Hashing:
    """A stand-in for the hash that takes as long as the test wants."""

    def __init__(self) -> None:
        self.both = threading.Event()
        self.go_on = threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: object) -> bool:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            if self.at_once == 2:
                self.both.set()
        self.go_on.wait()
        with self._lock:
            self.at_once -= 1
        return True


async def test_hashes_run_in_threads_few_at_a_time(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queue is full, a login is refused at once with 454."""
    hashing = Hashing()
    monkeypatch.setattr(authentication, "verify_password", hashing)
    authenticator = StoreAuthenticator(store, at_once=2, waiting=3)
    identities: list[str | None] = []

    async def login() -> None:
        identities.append(await authenticator.check_password("ann", SECRET))

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(login)
            await wait_all_tasks_blocked()
            assert await trio.to_thread.run_sync(hashing.both.wait, 10)
            async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
                await begin(client)
                for _ in range(4):  # does not count as a failure
                    reply = await client.command(plain("ann", SECRET))
                    assert str(reply) == "454 4.7.0 Too many logins at once, try again later"
                hashing.go_on.set()
    finally:
        hashing.go_on.set()
    assert identities == ["ann"] * 5
    assert hashing.most == 2


async def test_logins_do_not_wait_behind_others_who_use_threads(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the store, whose commits may take all threads of trio's default limiter."""
    monkeypatch.setattr(trio.to_thread.current_default_thread_limiter(), "total_tokens", 1)
    done = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, lambda: done.wait())  # noqa: PLW0108 - mypy wants it
        await wait_all_tasks_blocked()
        identity = await StoreAuthenticator(store).check_password("ann", SECRET)
        done.set()
    assert identity == "ann"


async def test_a_store_that_is_down(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_account(name: str) -> None:
        raise StoreUnavailable("the disk /dev/secret is full")

    monkeypatch.setattr(store, "get_account", get_account)
    async with open_session(take, config=IN_CLEAR, authenticator=StoreAuthenticator(store)) as client:
        await begin(client)
        assert str(await client.command(plain("ann", SECRET))).startswith("454 4.7.0 Authentication not available")


# --- secrets


@pytest.mark.parametrize(
    ("username", "end"),
    [
        ("ann@example.com", "peer=local login=<ann@example.com>"),
        ("jörg@bücher.example", "peer=local login=<jörg@bücher.example>"),
        ("ann", "peer=local"),  # may be a password, like those below
        ("hunter2@home", "peer=local"),
        ("correct horse@battery.staple", "peer=local"),
        ("x" * 300 + "@example.com", "peer=local"),
    ],
)
async def test_a_failed_login_is_logged_with_the_address(
    caplog: pytest.LogCaptureFixture, username: str, end: str
) -> None:
    caplog.set_level(logging.INFO)
    async with open_session(take, config=IN_CLEAR, authenticator=check) as client:
        await begin(client)
        for command in ("AUTH LOGIN", b64(username), b64("x")):
            await client.command(command)
    [line] = [record.getMessage() for record in caplog.records if "login failed" in record.getMessage()]
    assert line.partition(" login failed ")[2] == end


async def test_passwords_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def authenticator(username: str, password: str) -> str | None:
        if username == "fault":
            raise ValueError
        return await check(username, password)

    async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
        await begin(client)
        for username, password in (("fault", "hunter2"), ("ann", "hunter2"), ("ann", SECRET)):
            await client.command(plain(username, password))
        await client.command(f"AUTH LOGIN {b64('ann')}")
    async with open_session(take, config=IN_CLEAR, authenticator=authenticator) as client:
        await begin(client)
        for command in ("AUTH LOGIN", b64("ann"), b64("hunter2")):
            await client.command(command)
        await client.command(f"AUTH PLAIN {b64('hunter2')}!")
    assert "login failed" in caplog.text
    for secret in (SECRET, "hunter2", b64("hunter2"), b64(SECRET), b64(f"\0ann\0{SECRET}")):
        assert secret not in caplog.text


async def test_stats() -> None:
    async with (
        open_server(take, config=IN_CLEAR, authenticator=check) as server,
        connected(server) as client,
    ):
        await begin(client)
        assert (await client.command(plain("ann", "wrong"))).code == 535
        assert (await client.command(plain("ann", SECRET))).code == 235
        assert (server.stats.logins, server.stats.login_failures) == (1, 1)


async def test_hooks_that_need_the_identity() -> None:
    seen: list[str] = []

    class Submission(Handler):
        async def mail(self, event: object) -> None:
            if self.session.identity is None:
                raise Refuse(530, "Log in first", "5.7.0")
            seen.append(self.session.identity)

    async with open_session(Submission, config=IN_CLEAR, authenticator=check) as client:
        await begin(client)
        assert (await client.command("MAIL FROM:<a@b.example>")).code == 530
        assert (await client.command(plain("ann", SECRET))).code == 235
        assert (await client.command("MAIL FROM:<a@b.example>")).code == 250
    assert seen == ["user ann"]
