"""No password, token or proof, and nothing that one can be guessed from, gets into a log, a reply or a representation.

This holds whatever the client does with its secret and whatever goes wrong. The tests search every record of every
logger, as it is written, with its arguments and the traceback of its exception and of the causes of that.
"""

from __future__ import annotations

import gc
import logging
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
import trio
from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types
from trio.testing import MockClock

from tests.server.tools import begin, take
from trio_smtp.handler import Refuse
from trio_smtp.mailbox import MemoryStore, StoreUnavailable
from trio_smtp.mailbox.operations import CreateAccount, KeepSecret, SetCredentials
from trio_smtp.mailbox.passwords import SCRAM_ITERATIONS, hash_password, scram_keys
from trio_smtp.mailbox.store import Account, Credentials
from trio_smtp.protocol import Auth, AuthResponse, Config, SMTPConnection
from trio_smtp.sasl import (
    CheckToken,
    FetchKeys,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    Scram,
    ScramKeys,
    Verify,
    XOAuth2,
)
from trio_smtp.server import Authenticator, StoreAuthenticator
from trio_smtp.server.login import LoginExchange
from trio_smtp.testing.client import ScriptedClient, open_session

PASSWORD = "hünter-two"
TOKEN = "dG9r.en-of-ann"
CREDENTIALS = hash_password(PASSWORD)
KEYS = scram_keys(CREDENTIALS)
assert KEYS is not None
CONFIG = Config(auth_requires_tls=False)


def b64(response: bytes) -> str:
    return b64encode(response).decode()


PLAIN = b64(f"\0ann\0{PASSWORD}".encode())
BEARER = b64(f"n,a=ann,\x01auth=Bearer {TOKEN}\x01\x01".encode())
X_BEARER = b64(f"user=ann\x01auth=Bearer {TOKEN}\x01\x01".encode())
WORD = b64(PASSWORD.encode())

SECRETS = [
    *(PASSWORD, ascii(PASSWORD).strip("'"), repr(PASSWORD.encode()).strip("b'"), TOKEN, PLAIN, BEARER, X_BEARER, WORD),
    *(CREDENTIALS.text, CREDENTIALS.text.split("$")[5], b64(KEYS.stored_key), repr(KEYS.stored_key).strip("b'")),
]

# What clients do with a secret: correct logins, malformed ones, and secrets in the wrong place.
DIALOGUES = {
    "PLAIN": [f"AUTH PLAIN {PLAIN}"],
    "PLAIN in two": ["AUTH PLAIN", PLAIN],
    "LOGIN": ["AUTH LOGIN", b64(b"ann"), WORD],
    "OAUTHBEARER": [f"AUTH OAUTHBEARER {BEARER}", "AQ=="],
    "XOAUTH2": [f"AUTH XOAUTH2 {X_BEARER}", ""],
    "no base64": ["AUTH PLAIN", PLAIN + "!", f"AUTH PLAIN {PLAIN}=", f"AUTH PLAIN {PLAIN} {PLAIN}"],
    "not in the mechanism's form": [f"AUTH PLAIN {WORD}", f"AUTH OAUTHBEARER {X_BEARER}"],
    "of a mechanism that is not there": [f"AUTH CRAM-MD5 {PLAIN}", PLAIN, WORD, PASSWORD],
    "as a command": [PASSWORD, f"AUTH {PASSWORD}", f"PASS {PASSWORD}", f"{PLAIN} x", f"MAIL FROM:<{PASSWORD}"],
    "too long": [f"AUTH PLAIN {PLAIN * 1000}", "AUTH LOGIN", PLAIN * 1000],
    "cancelled": ["AUTH LOGIN", b64(b"ann"), "*", WORD],
    "cut off": ["AUTH LOGIN", b64(b"ann")],
}


class Faulty(Authenticator):
    """Fails in every hook."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def check_password(self, username: str, password: str) -> str | None:
        return await self._fail()

    async def check_token(self, token: str, username: str | None) -> str | None:
        return await self._fail()

    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        await self._fail()
        assert KEYS is not None
        return None, KEYS

    async def _fail(self) -> str | None:
        if self._error is not None:
            raise self._error from KeyError("something")
        return None


class Careless(Authenticator):
    """Returns the record of a user in place of the identity."""

    async def check_password(self, username: str, password: str) -> str | None:
        return {"name": username, "password": password, "hash": CREDENTIALS.text}  # type: ignore[return-value]

    async def check_token(self, token: str, username: str | None) -> str | None:
        return (username, token)  # type: ignore[return-value]


class Down(MemoryStore):
    """Finds the account, but cannot read its credentials."""

    async def get_account(self, name: str) -> Account:
        return Account("ann")

    async def get_credentials(self, name: str) -> Credentials | None:
        raise StoreUnavailable("the disk is full")


class Damaged(Down):
    """Has credentials in an unknown form."""

    async def get_credentials(self, name: str) -> Credentials | None:
        return Credentials(f"$broken{CREDENTIALS.text}")


AUTHENTICATORS = {
    "nobody is let in": Faulty(None),
    "a fault": Faulty(ValueError("of the application")),
    "a refusal": Faulty(Refuse(454, "Not now", "4.7.0")),
    "no memory": Faulty(MemoryError()),
    "a wrong answer": Careless(),
    "the store is down": StoreAuthenticator(Down()),
    "the store is damaged": StoreAuthenticator(Damaged()),
}


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    """The records of all loggers, which are searched for secrets when the test is over."""
    records: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.Logger, "isEnabledFor", lambda *_: True)
    monkeypatch.setattr(logging.Logger, "handle", lambda _, record: records.append(record))
    yield records
    text = "".join(map(written, records))
    assert not [secret for secret in SECRETS if secret in text]


def written(record: logging.LogRecord) -> str:
    """Return a record with everything that a formatter may show of it."""
    parts = [record.getMessage(), repr(record.args), repr(vars(record))]
    if record.exc_info is not None:
        parts += traceback.format_exception(record.exc_info[1])
    return "\n".join(parts)


async def talk(client: ScriptedClient, lines: list[str]) -> None:
    """Send the lines, whatever the replies are. No reply may contain a secret."""
    await begin(client)
    for line in lines:
        await client.send(line.encode() + b"\r\n")
        reply = str(await client.read_reply())
        assert not [secret for secret in SECRETS if secret in reply]


@pytest.mark.parametrize("authenticator", AUTHENTICATORS.values(), ids=AUTHENTICATORS)
@pytest.mark.parametrize("lines", DIALOGUES.values(), ids=DIALOGUES)
async def test_logs_and_replies(
    lines: list[str], authenticator: Authenticator, records: list[logging.LogRecord]
) -> None:
    async with open_session(take, config=CONFIG, authenticator=authenticator) as client:
        await talk(client, lines)
    assert records or lines not in (DIALOGUES["PLAIN"], DIALOGUES["LOGIN"])  # at least these failures must be logged


async def test_scram(records: list[logging.LogRecord]) -> None:
    """The log has neither the proof, from which a password can be guessed, nor the keys that it is checked against."""
    store = MemoryStore()
    fewer = Credentials(CREDENTIALS.text.replace(f"${SCRAM_ITERATIONS}:", "$4096:"))  # the login must fail anyway
    await store.create_account("ann", password=fewer)
    async with open_session(take, config=CONFIG, authenticator=StoreAuthenticator(store)) as client:
        await begin(client)
        mine = ScramClient(["SCRAM-SHA-256"], "ann", PASSWORD + "!")
        challenge = await client.command(f"AUTH SCRAM-SHA-256 {b64(mine.get_client_first().encode())}")
        mine.set_server_first(b64decode(challenge.lines[0]).decode())
        final = mine.get_client_final()
        assert (await client.command(b64(final.encode()))).code == 535
    assert records
    text = "".join(map(written, records))
    assert final.rpartition("p=")[2] not in text
    assert b64(final.encode()) not in text


SLOW = b"\0slow\0password"


class Watched(LoginExchange):
    """Knows which exchanges are still in memory, with the secrets in them."""

    kept: ClassVar[WeakSet[LoginExchange]] = WeakSet()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kept.add(self)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([f"AUTH PLAIN {PLAIN}"], 235),
        ([f"AUTH PLAIN {WORD}"], 535),
        ([f"AUTH PLAIN {b64(SLOW)}"], 454),
        (["AUTH LOGIN", b64(b"ann"), "*"], 501),
    ],
    ids=["a login", "a refusal", "a hook that takes too long", "a cancellation"],
)
async def test_no_login_is_kept_when_it_is_over(
    lines: list[str], code: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(username: str, password: str) -> str:
        if username == "slow":
            await trio.sleep_forever()
        return username

    monkeypatch.setattr("trio_smtp.server.session.LoginExchange", Watched)
    async with open_session(take, config=CONFIG, authenticator=check) as client:
        await begin(client)
        reply = [await client.command(line) for line in lines][-1]
        assert reply.code == code
        gc.collect()
        assert not list(Watched.kept)


def mechanisms() -> Iterator[object]:
    """Yield each mechanism after it has received the secret, and the step that it returned then."""
    steps: list[tuple[Mechanism, list[bytes]]] = [
        (Plain(), [f"\0ann\0{PASSWORD}".encode()]),
        (Login(), [b"ann", PASSWORD.encode()]),
        (OAuthBearer(), [b64decode(BEARER)]),
        (XOAuth2(), [b64decode(X_BEARER)]),
        (Scram("nonce"), [b"n,,n=ann,r=x"]),
    ]
    for mechanism, responses in steps:
        last = [mechanism.step(response) for response in responses][-1]
        assert isinstance(last, Verify | CheckToken | FetchKeys)
        yield last
        if isinstance(last, FetchKeys):
            assert KEYS is not None
            yield last.resume(KEYS)
        yield mechanism


def waiting(line: bytes) -> SMTPConnection:
    """Return a connection that waits for the verdict on an event with a secret."""
    connection = SMTPConnection(CONFIG, auth_mechanisms=("PLAIN",))
    connection.greet()
    connection.receive_data(b"EHLO client.example\r\n")
    connection.next_event()
    connection.accept()
    connection.receive_data(line)
    connection.next_event()
    assert connection.waiting is not None
    return connection


def test_representations() -> None:
    values: list[object] = [
        *mechanisms(),
        Auth("PLAIN", b64decode(PLAIN)),
        AuthResponse(b64decode(PLAIN)),
        connection := waiting(f"AUTH PLAIN {PLAIN}\r\n".encode()),
        connection.waiting,
        CREDENTIALS,
        KEYS,
        CreateAccount("ann", "", (), CREDENTIALS.text, None, 1),
        SetCredentials("ann", CREDENTIALS.text),
        KeepSecret(PASSWORD),
        StoreAuthenticator(MemoryStore()),
    ]
    for value in values:
        text = f"{value!r} {value} {[value]}"
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    "password", [PASSWORD + "\0", PASSWORD * 200, PASSWORD + "\udcff"], ids=["NUL", "long", "surrogate"]
)
def test_refused_passwords(password: str) -> None:
    with pytest.raises(ValueError, match="octets") as refusal:
        hash_password(password)
    text = "".join(traceback.format_exception(refusal.value))
    assert not [secret for secret in SECRETS if secret in text]
