"""Client certificates: logging in with them, the authorities that vouch for them, and TLS session resumption."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trustme

from tests.server.handshakes import NAME, Issuer, shake_hands
from tests.server.tools import begin, deliver, take
from trio_smtp.protocol import Config
from trio_smtp.server import Authenticator, Certificates
from trio_smtp.testing.client import ScriptedClient, open_session

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Machines(Authenticator):
    """Accepts the name in any valid client certificate as the identity."""

    async def check_certificate(self, name: str, username: str | None) -> str | None:
        return name if username in (None, name) else None


async def log_in(client: ScriptedClient) -> str:
    """Read the greeting, say EHLO and log in by the certificate; return the code of the reply."""
    await begin(client)
    return str(await client.command("AUTH EXTERNAL =")).partition(" ")[0]


@pytest.fixture
def known(authority: trustme.CA, client_tls: ssl.SSLContext) -> ssl.SSLContext:
    """The context of a client with a certificate."""
    authority.issue_cert("client.example").configure_cert(client_tls)
    return client_tls


@pytest.fixture
def asking(issuer: Issuer, authority_file: Path) -> Certificates:
    files = {"mx.pem": NAME, "other.pem": "other.example"}
    return Certificates([(issuer.write(file, name), None) for file, name in files.items()], authority_file)


@pytest.mark.parametrize("name", [NAME, "other.example"])
async def test_a_client_logs_in_with_its_certificate(asking: Certificates, known: ssl.SSLContext, name: str) -> None:
    async with open_session(take, ssl_context=asking, implicit_tls=True, authenticator=Machines()) as client:
        await client.start_tls(known, name)
        assert await log_in(client) == "235"


async def test_a_client_without_a_certificate_is_served(asking: Certificates, client_tls: ssl.SSLContext) -> None:
    async with open_session(take, ssl_context=asking, implicit_tls=True, authenticator=Machines()) as client:
        await client.start_tls(client_tls, NAME)
        assert await log_in(client) == "502"
        await deliver(client)


async def test_a_client_whose_name_cannot_be_read_is_served_without_it(
    asking: Certificates, issuer: Issuer, client_tls: ssl.SSLContext
) -> None:
    client_tls.load_cert_chain(issuer.write_illegible("client.pem"))
    async with open_session(take, ssl_context=asking, implicit_tls=True, authenticator=Machines()) as client:
        await client.start_tls(client_tls, NAME)
        assert await log_in(client) == "502"
        await deliver(client)


async def test_no_client_is_asked_without_an_authority(several: Certificates, known: ssl.SSLContext) -> None:
    async with open_session(take, ssl_context=several, implicit_tls=True, authenticator=Machines()) as client:
        await client.start_tls(known, NAME)
        assert await log_in(client) == "502"


def certificates_of_strangers(authority: trustme.CA) -> dict[str, tuple[trustme.LeafCert, str]]:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    namesake = trustme.CA()
    return {
        "another authority": (namesake.issue_cert("client.example"), "unable to get local issuer certificate"),
        "expired": (authority.issue_cert("client.example", not_after=yesterday), "certificate has expired"),
    }


@pytest.mark.parametrize("who", ["another authority", "expired"])
async def test_a_certificate_that_is_not_good_ends_the_handshake(
    asking: Certificates,
    authority: trustme.CA,
    client_tls: ssl.SSLContext,
    who: str,
    log: pytest.LogCaptureFixture,
) -> None:
    certificate, reason = certificates_of_strangers(authority)[who]
    certificate.configure_cert(client_tls)
    async with open_session(take, ssl_context=asking, implicit_tls=True, authenticator=Machines()) as client:
        await client.start_tls(client_tls, NAME)  # in TLS 1.3 the client is done before the server checks it
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.expect("220")
    [record] = log.records
    assert record.levelname == "INFO"
    assert "TLS handshake failed: " in record.getMessage()
    assert reason in record.getMessage()


def test_whoever_is_in_the_file_vouches_for_clients(
    issuer: Issuer, authority_file: Path, client_tls: ssl.SSLContext
) -> None:
    """The file may name an intermediate authority alone, also before Python 3.13. Another intermediate of the same root
    is not trusted then.
    """
    root, child = issuer.authority, issuer.authority.create_child_ca()
    mx = issuer.write("mx.pem", NAME)
    child.issue_cert("client.example").configure_cert(client_tls)
    for trusted in (child, root):
        trusted.cert_pem.write_to_path(authority_file)
        asking = Certificates([(mx, None)], authority_file)
        assert asking.context.verify_flags & ssl.VERIFY_X509_STRICT
        assert shake_hands(asking.context, client_tls).server.getpeercert()
    root.create_child_ca().cert_pem.write_to_path(authority_file)
    sister = Certificates([(mx, None)], authority_file)
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(sister.context, client_tls)


async def test_an_authority_that_is_taken_away(
    asking: Certificates, authority_file: Path, known: ssl.SSLContext
) -> None:
    trustme.CA().cert_pem.write_to_path(authority_file)
    assert await asking.reload()
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(asking.context, known)


# --- resumption


@VERSIONS
async def test_a_session_is_resumed_where_it_began_or_nowhere(
    asking: Certificates, issuer: Issuer, authority_file: Path, known: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """A session resumed elsewhere, or after a reload, would carry over a verification of the client that another
    configuration made.
    """
    known.maximum_version = version
    elsewhere = Certificates([(issuer.folder / "mx.pem", None), (issuer.folder / "other.pem", None)], authority_file)
    first = shake_hands(asking.context, known)
    assert not first.server.session_reused
    session = first.client.session
    again = shake_hands(asking.context, known, session=session)
    assert again.server.session_reused
    assert again.server.getpeercert() == first.server.getpeercert() != {}
    assert not shake_hands(elsewhere.context, known, session=session).server.session_reused
    assert await asking.reload()
    assert not shake_hands(asking.context, known, session=session).server.session_reused


@VERSIONS
def test_a_session_that_began_without_a_certificate_has_none_later(
    asking: Certificates, several: Certificates, client_tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client_tls.maximum_version = version
    for certificates in (asking, several):
        session = shake_hands(certificates.context, client_tls).client.session
        again = shake_hands(certificates.context, client_tls, session=session)
        assert again.server.session_reused
        assert not again.server.getpeercert()


@VERSIONS
async def test_a_login_does_not_outlive_its_connection(
    asking: Certificates, known: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    known.maximum_version = version
    session: ssl.SSLSession | None = None
    for resumed in (False, True):
        async with open_session(
            take,
            ssl_context=asking,
            implicit_tls=True,
            authenticator=Machines(),
            config=Config(auth_required=True),
        ) as client:
            stream = trio.SSLStream(client.stream, known, server_hostname=NAME)
            if session is not None:
                stream.session = session
            await stream.do_handshake()
            client.stream = stream
            await begin(client)
            assert stream.session_reused == resumed
            assert (await client.command("MAIL FROM:<ann@example.com>")).code == 530
            assert (await client.command("AUTH EXTERNAL =")).code == 235
            await deliver(client)
            session = stream.session
