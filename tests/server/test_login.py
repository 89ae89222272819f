"""Logins over SMTP: which SASL mechanisms are offered, and the dialogue of each, in clear and inside TLS."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import trio
import trio.testing
import trustme
from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types

from tests.server.tools import session_over, take
from trio_smtp.handler import Handler, Refuse
from trio_smtp.policy import Rate, RateLimits
from trio_smtp.protocol import Config, MailFrom
from trio_smtp.sasl import Challenge, ScramKeys, derive_keys, keys_of_nobody
from trio_smtp.server import AnyAuthenticator, Authenticator, SessionOptions, server_context
from trio_smtp.server.login import LoginExchange, offered_mechanisms, resolve_authenticator
from trio_smtp.testing.client import ScriptedClient, open_session

IN_CLEAR = Config(auth_requires_tls=False)
KEYS = derive_keys(b"secret", b"sixteen octets..", 4096)


async def check(username: str, password: str) -> str | None:
    return "Ann" if (username, password) == ("ann", "secret") else None


class Everything(Authenticator):
    """Ann can log in by every mechanism."""

    async def check_password(self, username: str, password: str) -> str | None:
        return await check(username, password)

    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        return ("Ann", KEYS) if username == "ann" else (None, keys_of_nobody(b"key", username, KEYS.iterations))

    async def check_token(self, token: str, username: str | None) -> str | None:
        return "Ann" if token == "good" and username in (None, "ann") else None

    async def check_certificate(self, name: str, username: str | None) -> str | None:
        return "Ann" if name == "ann@example.com" and username in (None, "ann") else None


class OnlyCertificates(Authenticator):
    async def check_certificate(self, name: str, username: str | None) -> str | None:
        return name


class Identity(Handler):
    """Refuses MAIL with a reply that names the identity."""

    async def mail(self, event: MailFrom) -> None:
        raise Refuse(550, f"You are {self.session.identity}")


async def login(client: ScriptedClient, mechanism: str, *responses: bytes, initial: bool = True) -> list[str]:
    """Send AUTH and the responses; return the code of each reply or, decoded from base64, its challenge."""
    lines = [b64encode(response).decode() or "=" for response in responses]
    lines = [f"AUTH {mechanism} {lines[0]}", *lines[1:]] if initial else [f"AUTH {mechanism}", *lines]
    replies = []
    for number, line in enumerate(lines):
        reply = await client.command("" if number and line == "=" else line)
        replies.append(b64decode(reply.lines[0]).decode() if reply.code == 334 else str(reply.code))
    return replies


async def scram(client: ScriptedClient, mechanism: str, username: str, password: str, **options: Any) -> str:
    """Do a SCRAM exchange; return the code of the last reply."""
    mine = ScramClient([mechanism], username, password, **options)
    (challenge,) = await login(client, mechanism, mine.get_client_first().encode())
    mine.set_server_first(challenge)
    reply = await client.command(b64encode(mine.get_client_final().encode()).decode())
    if reply.code == 334:
        mine.set_server_final(b64decode(reply.lines[0]).decode())
        reply = await client.command("")
    return str(reply.code)


async def offer(client: ScriptedClient) -> list[str]:
    reply = await client.command("EHLO client.example")
    return next((line.split()[1:] for line in reply.lines if line.startswith("AUTH")), [])


@asynccontextmanager
async def greeted(authenticator: AnyAuthenticator, config: Config = IN_CLEAR) -> AsyncIterator[ScriptedClient]:
    async with open_session(Identity, authenticator=authenticator, config=config) as client:
        await client.expect("220")
        await offer(client)
        yield client


# What is offered


@pytest.mark.parametrize(
    ("authenticator", "client_name", "end_point", "offered"),
    [
        (None, "x", b"x", ""),
        (check, "x", b"x", "PLAIN LOGIN"),
        (OnlyCertificates(), None, b"x", ""),
        (OnlyCertificates(), "x", b"x", "EXTERNAL"),
        (Everything(), None, None, "SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN"),
        (Everything(), "x", b"x", "SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 EXTERNAL PLAIN LOGIN"),
        (Authenticator(), "x", b"x", ""),
    ],
)
def test_offered(
    authenticator: AnyAuthenticator | None, client_name: str | None, end_point: bytes | None, offered: str
) -> None:
    assert offered_mechanisms(resolve_authenticator(authenticator), client_name, end_point) == tuple(offered.split())


@pytest.mark.parametrize("wrong", [Everything, "secret", 7])
def test_not_an_authenticator(wrong: Any) -> None:
    with pytest.raises(TypeError, match="authenticator"):
        resolve_authenticator(wrong)


class Nothing(Authenticator):
    pass


def test_a_misspelt_hook_is_noticed_at_once() -> None:
    with pytest.raises(TypeError, match=r"Misspelt\.check_pasword is not a hook of Authenticator \(check_password, "):

        class Misspelt(Authenticator):
            async def check_pasword(self, username: str, password: str) -> str | None:
                return username

    with pytest.raises(TypeError, match=r"Short\.check_token must take \(self, token, username\)"):

        class Short(Authenticator):
            async def check_token(self, token: str) -> str | None:  # type: ignore[override]  # that is the test
                return token


async def of_one(username: str) -> str:
    return username


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (
            Nothing(),
            r"^Nothing must override at least one hook of Authenticator \(check_password, .*, check_certificate\)$",
        ),
        (lambda username, password: username, "an async function of a user name and a password"),
        (of_one, "must take two arguments, the user name and the password, and <function of_one"),
    ],
)
def test_an_authenticator_that_could_not_be_asked(wrong: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        resolve_authenticator(wrong)


async def test_nothing_in_clear() -> None:
    async with open_session(take, authenticator=Everything()) as client:
        await client.expect("220")
        assert await offer(client) == []
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "EXTERNAL"):
            assert (await client.command(f"AUTH {mechanism} =")).code == 538


# In memory, without TLS

DIALOGUES = [
    ("PLAIN", [b"\0ann\0secret"], ["235"]),
    ("PLAIN", [b"\0ann\0Secret"], ["535"]),
    ("LOGIN", [b"ann", b"secret"], ["Password:", "235"]),
    ("LOGIN", [b"bob", b"secret"], ["Password:", "535"]),
    ("OAUTHBEARER", [b"n,,\x01auth=Bearer good\x01\x01"], ["235"]),
    ("OAUTHBEARER", [b"n,a=ann,\x01auth=Bearer bad\x01\x01", b"\x01"], ['{"status":"invalid_token"}', "535"]),
    ("OAUTHBEARER", [b"n,a=bob,\x01auth=Bearer good\x01\x01", b"\x01"], ['{"status":"invalid_token"}', "535"]),
    ("XOAUTH2", [b"user=ann\x01auth=Bearer good\x01\x01"], ["235"]),
    ("XOAUTH2", [b"user=ann\x01auth=Bearer bad\x01\x01", b""], ['{"status":"401","schemes":"bearer"}', "535"]),
    ("SCRAM-SHA-256", [b"n,,n=ann"], ["535"]),
    ("SCRAM-SHA-256-PLUS", [b""], ["504"]),
    ("EXTERNAL", [b""], ["504"]),
]


@pytest.mark.parametrize(("mechanism", "responses", "replies"), DIALOGUES)
async def test_dialogue(mechanism: str, responses: list[bytes], replies: list[str]) -> None:
    async with greeted(Everything()) as client:
        assert await login(client, mechanism, *responses) == replies
        identity = "Ann" if replies[-1] == "235" else "None"
        assert str(await client.command("MAIL FROM:<>")).endswith(f"You are {identity}")


@pytest.mark.parametrize(("mechanism", "responses", "replies"), [row for row in DIALOGUES if row[2] != ["504"]])
async def test_dialogue_without_initial_response(mechanism: str, responses: list[bytes], replies: list[str]) -> None:
    async with greeted(Everything()) as client:
        prompt = "Username:" if mechanism == "LOGIN" else ""
        assert await login(client, mechanism, *responses, initial=False) == [prompt, *replies]


async def test_scram() -> None:
    async with greeted(Everything()) as client:
        assert await scram(client, "SCRAM-SHA-256", "ann", "Secret") == "535"
        assert await scram(client, "SCRAM-SHA-256", "bob", "secret") == "535"
        assert await scram(client, "SCRAM-SHA-256", "ann", "secret") == "235"
        assert str(await client.command("MAIL FROM:<>")).endswith("You are Ann")
        assert (await client.command("AUTH PLAIN =")).code == 503


@pytest.mark.parametrize(
    ("mechanism", "header"), [("SCRAM-SHA-256", b"n,,"), ("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,")]
)
async def test_every_exchange_has_a_nonce_of_its_own(mechanism: str, header: bytes) -> None:
    """Otherwise an eavesdropper could replay what a client has sent (RFC 5802 §9)."""

    async def before_check(username: str) -> None:
        assert username == "ann"

    nonces = set()
    for _ in range(2):
        exchange = LoginExchange(mechanism, Everything(), None, b"x", before_check=before_check)
        challenge = await exchange.step(header + b"n=ann,r=x")
        assert isinstance(challenge, Challenge)
        nonces.add(challenge.data.partition(b",")[0])
    assert [len(nonce) for nonce in nonces] == [len("r=x") + 24] * 2  # base64 of 18 octets


async def test_scram_exchanges_that_wait_do_not_exceed_the_rate_of_failures() -> None:
    """Otherwise a thousand exchanges could begin before the first of them fails."""
    policy = RateLimits(account_login_failures=Rate(2, 3600, everyone=True))
    options: SessionOptions = {"authenticator": Everything(), "config": IN_CLEAR, "policy": policy}
    async with open_session(Identity, **options) as first, open_session(Identity, **options) as second:
        for client in (first, second):
            await client.expect("220")
            await offer(client)
        mine = ScramClient(["SCRAM-SHA-256"], "ann", "secret")
        (challenge,) = await login(second, "SCRAM-SHA-256", mine.get_client_first().encode())
        mine.set_server_first(challenge)
        for _ in range(2):
            assert await scram(first, "SCRAM-SHA-256", "ann", "Secret") == "535"
        assert (await second.command(b64encode(mine.get_client_final().encode()).decode())).code == 454


async def test_a_failed_exchange_leaves_nothing_behind() -> None:
    """Another mechanism may follow, from its beginning."""
    async with greeted(Everything()) as client:
        assert await login(client, "LOGIN", b"bob") == ["Password:"]
        assert (await client.command("*")).code == 501
        assert await login(client, "SCRAM-SHA-256", b"n,,n=ann,r=x", b"c=biws") != ["235"]
        assert await login(client, "PLAIN", b"\0ann\0secret") == ["235"]


async def test_three_failures_end_the_session() -> None:
    """In whichever mechanisms."""
    async with greeted(Everything()) as client:
        assert await scram(client, "SCRAM-SHA-256", "ann", "Secret") == "535"
        assert await login(client, "PLAIN", b"\0ann\0Secret") == ["535"]
        await client.send(b"AUTH OAUTHBEARER " + b64encode(b"n,,\x01auth=Bearer bad\x01\x01") + b"\r\nAQ==\r\n")
        await client.expect_close("334", "421")


async def test_faults_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets 454; the log has the traceback, and no secret."""

    class Broken(Everything):
        async def check_token(self, token: str, username: str | None) -> str | None:
            raise OSError("the token service is away")

        async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
            raise Refuse(454, "Not now", "4.7.0")

    async with greeted(Broken()) as client:
        assert await login(client, "XOAUTH2", b"user=ann\x01auth=Bearer hush-hush\x01\x01") == ["454"]
        assert await login(client, "SCRAM-SHA-256", b"n,,n=ann,r=x") == ["454"]
        assert await login(client, "PLAIN", b"\0ann\0tell-nobody") == ["535"]
    assert "the token service is away" in caplog.text
    assert "hush-hush" not in caplog.text
    assert "tell-nobody" not in caplog.text


@pytest.mark.parametrize("answer", [True, False, 7])
async def test_what_is_no_identity(answer: Any) -> None:
    """False above all must not be taken for an identity."""

    class Careless(Everything):
        async def check_token(self, token: str, username: str | None) -> str | None:
            return cast("str", answer)

    async with greeted(Careless()) as client:
        assert await login(client, "XOAUTH2", b"user=ann\x01auth=Bearer t\x01\x01") == ["454"]


# Inside TLS


class Certificates(NamedTuple):
    server: ssl.SSLContext
    client: ssl.SSLContext
    known_client: ssl.SSLContext
    der: bytes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("mx.example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(str(Path(folder, "both.pem")))
    server = server_context(Path(folder, "both.pem"), channel_binding=True)
    server.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(server)
    clients = ssl.create_default_context(), ssl.create_default_context()
    for client in clients:
        authority.configure_trust(client)
    authority.issue_cert("ann@example.com").configure_cert(clients[1])
    return Certificates(server, *clients, ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode()))


@asynccontextmanager
async def secured(
    certificates: Certificates, context: ssl.SSLContext, authenticator: AnyAuthenticator, *, implicit: bool = False
) -> AsyncIterator[ScriptedClient]:
    async with session_over(
        trio.testing.memory_stream_pair(),
        Identity,
        authenticator=authenticator,
        ssl_context=certificates.server,
        implicit_tls=implicit,
    ) as client:
        if not implicit:
            await client.expect("220")
            assert await offer(client) == []
            assert (await client.command("STARTTLS")).code == 220
        await client.start_tls(context, "mx.example.com")
        if implicit:
            await client.expect("220")
        yield client


@pytest.mark.parametrize("implicit", [True, False])
async def test_scram_with_channel_binding(certificates: Certificates, implicit: bool) -> None:
    async with secured(certificates, certificates.client, Everything(), implicit=implicit) as client:
        assert "SCRAM-SHA-256-PLUS" in await offer(client)
        assert isinstance(client.stream, trio.SSLStream)
        shown = client.stream.getpeercert(binary_form=True)
        assert shown == certificates.der
        binding = ("tls-server-end-point", hashlib.sha256(shown).digest())
        other = ("tls-server-end-point", bytes(32))
        assert await scram(client, "SCRAM-SHA-256-PLUS", "ann", "secret", channel_binding=other) == "535"
        assert (await login(client, "SCRAM-SHA-256", b"y,,n=ann,r=x")) == ["535"]
        assert await scram(client, "SCRAM-SHA-256-PLUS", "ann", "secret", channel_binding=binding) == "235"


async def test_scram_is_not_bound_to_the_channel_unless_this_is_wanted(
    certificate: Path, certificates: Certificates, client_tls: ssl.SSLContext
) -> None:
    """GNU SASL's clients choose PLUS wherever it is offered, and most cannot bind as we do."""
    plain = certificates._replace(server=server_context(certificate))
    async with secured(plain, client_tls, Everything()) as client:
        offered = await offer(client)
        assert "SCRAM-SHA-256" in offered
        assert "SCRAM-SHA-256-PLUS" not in offered


async def test_external(certificates: Certificates) -> None:
    async with secured(certificates, certificates.known_client, Everything()) as client:
        assert "EXTERNAL" in await offer(client)
        assert await login(client, "EXTERNAL", b"bob") == ["535"]
        assert await login(client, "EXTERNAL", b"", initial=False) == ["", "235"]
        assert str(await client.command("MAIL FROM:<>")).endswith("You are Ann")


async def test_other_mechanisms_with_a_certificate(certificates: Certificates) -> None:
    """The certificate does not matter to them."""
    async with secured(certificates, certificates.known_client, Everything()) as client:
        assert "EXTERNAL" in await offer(client)
        assert await login(client, "PLAIN", b"\0ann\0Secret") == ["535"]
        binding = ("tls-server-end-point", hashlib.sha256(certificates.der).digest())
        assert await scram(client, "SCRAM-SHA-256-PLUS", "ann", "secret", channel_binding=binding) == "235"


async def test_external_without_a_certificate(certificates: Certificates) -> None:
    async with secured(certificates, certificates.client, Everything()) as client:
        assert "EXTERNAL" not in await offer(client)
        assert await login(client, "EXTERNAL", b"") == ["504"]
    async with secured(certificates, certificates.client, OnlyCertificates()) as client:
        assert await offer(client) == []
        assert await login(client, "EXTERNAL", b"") == ["502"]
