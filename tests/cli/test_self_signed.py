"""The certificate that ``--tls self-signed`` makes: what is in it, when it is used again, when it is made anew."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from trio_smtp.cli import self_signed as module
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.self_signed import self_signed
from trio_smtp.cli.settings import StoreURL
from trio_smtp.server import Certificates

HOST = "mx.example.com"


@pytest.fixture
def store(folder: Path) -> StoreURL:
    (folder / "mail").mkdir()
    return StoreURL("json", folder / "mail")


def made(store: StoreURL, hostname: str = HOST) -> str:
    """Return the fingerprint of the certificate that is made or used again. It must be fit for a server."""
    with self_signed(store, hostname) as (path, fingerprint):
        Certificates([(path, None)])
    return fingerprint


def certificate(store: StoreURL) -> x509.Certificate:
    return x509.load_pem_x509_certificate((store.path / "self-signed.pem").read_bytes())


def test_it_is_kept_with_the_mail_for_the_owner_alone(store: StoreURL) -> None:
    with self_signed(store, HOST) as (path, fingerprint):
        assert path == store.path / "self-signed.pem"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in store.path.iterdir()] == ["self-signed.pem"]
    kept = certificate(store)
    assert fingerprint.replace(":", "") == kept.fingerprint(hashes.SHA256()).hex().upper()
    assert len(fingerprint) == 95
    today = datetime.now(UTC)
    assert kept.not_valid_before_utc < today < kept.not_valid_after_utc < today + timedelta(days=825)


@pytest.mark.parametrize(
    ("hostname", "names", "addresses"),
    [
        (HOST, [HOST, "localhost"], ["127.0.0.1", "::1"]),
        ("localhost", ["localhost"], ["127.0.0.1", "::1"]),
        ("[192.0.2.1]", ["localhost"], ["127.0.0.1", "::1", "192.0.2.1"]),
        ("[IPv6:2001:db8::1]", ["localhost"], ["127.0.0.1", "::1", "2001:db8::1"]),
        ("127.0.0.1", ["localhost"], ["127.0.0.1", "::1"]),
        (f"{'x' * 63}.example.com", [f"{'x' * 63}.example.com", "localhost"], ["127.0.0.1", "::1"]),
    ],
)
def test_its_names(store: StoreURL, hostname: str, names: list[str], addresses: list[str]) -> None:
    made(store, hostname)
    alternatives = certificate(store).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == names
    assert [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)] == addresses
    assert made(store, hostname) == made(store, hostname)


def test_a_client_that_is_given_it_trusts_it(store: StoreURL) -> None:
    made(store)
    file = store.path / "self-signed.pem"
    server, client = Certificates([(file, None)]).context, ssl.create_default_context(cafile=file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HOST)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (ours, theirs):
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
    ours.do_handshake()
    assert ours.getpeercert()


def expire(store: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a certificate that expires in 29 days."""
    monkeypatch.setattr(module, "_LIFE", timedelta(days=29))
    made(store)


def spoil(content: bytes) -> Callable[[StoreURL, pytest.MonkeyPatch], None]:
    def write(store: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
        (store.path / "self-signed.pem").write_bytes(content)

    return write


def take_the_key_of_another(store: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store.path / "self-signed.pem"
    made(store)
    begin = b"-----BEGIN CERTIFICATE"
    certificate = begin + file.read_bytes().partition(begin)[2]
    file.unlink()
    made(store)
    file.write_bytes(file.read_bytes().partition(begin)[0] + certificate)


@pytest.mark.parametrize(
    "spoilt", [expire, spoil(b""), spoil(b"hello"), take_the_key_of_another], ids=["old", "empty", "text", "key"]
)
def test_what_is_of_no_use_is_made_anew(
    store: StoreURL, spoilt: Callable[[StoreURL, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        spoilt(store, patch)
    before = (store.path / "self-signed.pem").read_bytes()
    fingerprint = made(store)
    assert (store.path / "self-signed.pem").read_bytes() != before
    assert made(store) == fingerprint


def test_servers_that_start_at_the_same_moment_share_one(store: StoreURL) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(made, [store] * 4))) == 1


def test_another_name_makes_another_certificate(store: StoreURL) -> None:
    assert made(store, "a.example") != made(store, "b.example")


@pytest.mark.parametrize("kind", ["memory", "null"])
def test_a_store_that_keeps_nothing_keeps_no_certificate(folder: Path, kind: str) -> None:
    store = StoreURL(kind)  # type: ignore[arg-type]  # one of its kinds
    with self_signed(store, HOST) as (path, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert folder not in path.parents
    assert not path.parent.exists()
    assert not list(folder.iterdir())


def test_nowhere_to_keep_it(folder: Path) -> None:
    store = StoreURL("json", folder / "nowhere")
    with pytest.raises(CommandError, match=r"cannot save the self-signed certificate in json:.*nowhere: no such file"):
        made(store)


def test_a_folder_in_its_place(store: StoreURL) -> None:
    (store.path / "self-signed.pem").mkdir()
    with pytest.raises(CommandError, match=r"cannot save the self-signed certificate .*: is a directory"):
        made(store)
