"""`Certificates`: the choice by SNI, files that cannot be used, and reading the files again."""

from __future__ import annotations

import logging
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.handshakes import NAME, Issuer, shake_hands
from tests.server.tools import begin, connected, deliver, take
from trio_smtp.sasl import tls_server_end_point
from trio_smtp.server import CertificateError, Certificates, open_server, server_context
from trio_smtp.server.channel_binding import end_point_of
from trio_smtp.testing.client import ScriptedClient, open_session

# --- SNI


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (None, NAME),
        (NAME, NAME),
        ("SMTP.Example.ORG", "smtp.example.org"),
        ("both.example", NAME),
        ("mail.example.org", "*.example.org"),
        ("smtp.example.org", "smtp.example.org"),
        ("x.wild.example", "*.wild.example"),
        ("exact.example", "smtp.example.org"),
        # names for which there is no certificate
        ("other.example", NAME),
        ("example.org", NAME),
        ("a.mail.example.org", NAME),
        ("org", NAME),
        ("sub.exact.example", NAME),
    ],
)
def test_which_certificate_is_shown(
    several: Certificates, client_tls: ssl.SSLContext, asked: str | None, shown: str
) -> None:
    client_tls.check_hostname = False
    assert shown in shake_hands(several.context, client_tls, asked).shown


async def test_the_channel_is_bound_to_the_certificate_that_was_shown(
    several: Certificates, issuer: Issuer, client_tls: ssl.SSLContext
) -> None:
    seen = set[bytes]()
    for _ in range(2):
        for name in (NAME, "mail.example.org", "smtp.example.org"):
            ends = shake_hands(several.context, client_tls, name)
            der = ends.client.getpeercert(binary_form=True)
            assert der is not None
            end_point = end_point_of(ends.server.context)
            assert end_point is not None
            assert end_point == tls_server_end_point(der)
            seen.add(end_point)
        issuer.write("first.pem", NAME)
        assert await several.reload()
    assert len(seen) == 4


def test_all_of_them_insist_on_the_same(several: Certificates, client_tls: ssl.SSLContext) -> None:
    for name in (NAME, "mail.example.org", "smtp.example.org"):
        chosen = shake_hands(several.context, client_tls, name).server.context
        assert chosen.minimum_version is ssl.TLSVersion.TLSv1_2
        assert chosen.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # from the ssl module
async def test_a_name_that_is_not_ascii_ends_the_handshake(
    several: Certificates, client_tls: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    to_server = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_tls.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname="name.example").do_handshake()
    hello = to_server.read()
    assert b"name.example" in hello
    async with open_session(take, ssl_context=several, implicit_tls=True) as client:
        await client.send(hello.replace(b"name.example", b"n\xe4m\xff.example"))
        assert (await client.stream.receive_some()).startswith(b"\x15\x03\x03")  # an alert
        await client.expect_close()
    [record] = log.records
    assert "TLS handshake failed: " in record.getMessage()
    assert record.getMessage().isprintable()


# --- files that cannot be used


def test_there_must_be_a_certificate() -> None:
    with pytest.raises(ValueError, match="at least one certificate"):
        Certificates([])


@pytest.mark.parametrize(
    "pairs",
    ["cert.pem", Path("cert.pem"), ["cert.pem", "key.pem"], [Path("cert.pem")], [("cert.pem",)], [("a", "b", "c")]],
)
def test_certificates_come_in_pairs(pairs: Any) -> None:
    with pytest.raises(TypeError, match=r"\[\(certificate, key\)\]"):
        Certificates(pairs)


def broken_pairs(issuer: Issuer) -> dict[str, tuple[list[tuple[Path, Path | None]], str]]:
    folder = issuer.folder
    good = issuer.write("good.pem", NAME)
    issued = issuer.authority.issue_cert("another.example")
    issued.private_key_pem.write_to_path(folder / "another.key")
    issued.cert_chain_pems[0].write_to_path(folder / "another.crt")
    trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.write_to_path(folder / "rsa.key")
    key = issued.private_key_pem.bytes()
    (folder / "cut.pem").write_bytes(key + issued.cert_chain_pems[0].bytes()[:300])
    (folder / "text.pem").write_text("hello")
    (folder / "empty.pem").write_bytes(b"")
    issuer.write("same.pem", NAME)
    nameless = issuer.authority.issue_cert("192.0.2.1")
    nameless.private_key_and_cert_chain_pem.write_to_path(folder / "nameless.pem")
    no_certificate, no_key = "there is no certificate in PEM format", "there is no private key in PEM format"
    return {
        "missing": ([(folder / "none.pem", None)], "certificate .*none.pem: no such file"),
        "missing key": ([(good, folder / "none.key")], "good.pem with key .*none.key: no such file"),
        "folder": ([(folder, None)], "is a directory"),
        "text": ([(folder / "text.pem", None)], no_certificate),
        "empty": ([(folder / "empty.pem", None)], no_certificate),
        "cut off": ([(folder / "cut.pem", None)], "the certificate or the key is damaged"),
        "no key": ([(folder / "another.crt", None)], no_key),
        "no key in its file": ([(good, folder / "text.pem")], f"text.pem: {no_key}"),
        "no certificate": ([(folder / "another.key", None)], no_certificate),
        "another key": ([(good, folder / "another.key")], "the key does not belong to the certificate"),
        "another kind of key": ([(good, folder / "rsa.key")], "the key does not belong to the certificate"),
        "the second": ([(good, None), (folder / "text.pem", None)], f"text.pem: {no_certificate}"),
        "name that is taken": (
            [(good, None), (folder / "same.pem", None)],
            "same.pem would never be used: other certificates have all its names",
        ),
        "no name": (
            [(good, None), (folder / "nameless.pem", None)],
            "nameless.pem would never be used: other certificates have all its names",
        ),
    }


def test_files_that_cannot_be_used(issuer: Issuer) -> None:
    for what, (pairs, message) in broken_pairs(issuer).items():
        with pytest.raises(CertificateError, match=message):
            Certificates(pairs)
            raise AssertionError(what)


def test_the_file_that_is_missing_is_named(issuer: Issuer) -> None:
    good, none = issuer.write("good.pem", NAME), issuer.folder / "none.pem"
    for pair in ((none, good), (good, none)):
        with pytest.raises(FileNotFoundError, match=r"none\.pem"):
            server_context(*pair)


def test_the_first_certificate_needs_no_name(issuer: Issuer, client_tls: ssl.SSLContext) -> None:
    """It is shown to all clients that ask for no name, or for one that no certificate has."""
    nameless, good = issuer.write("nameless.pem", "192.0.2.1"), issuer.write("good.pem", NAME)
    client_tls.check_hostname = False
    for pairs, shown in (([nameless], "192.0.2.1"), ([nameless, good], NAME)):
        certificates = Certificates([(pair, None) for pair in pairs])
        assert shake_hands(certificates.context, client_tls).shown == {shown}


def test_a_name_that_cannot_be_read_is_no_name(issuer: Issuer, client_tls: ssl.SSLContext) -> None:
    """The ssl module raises UnicodeDecodeError, which must not end a server that reads its certificates again."""
    illegible, good = issuer.write_illegible("illegible.pem"), issuer.write("good.pem", NAME)
    assert shake_hands(Certificates([(illegible, None), (good, None)]).context, client_tls).shown == {NAME}


def test_a_key_with_a_passphrase_is_not_asked_for(issuer: Issuer, tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase at the terminal, which would block the whole server."""
    from cryptography.hazmat.primitives import serialization

    issued = issuer.authority.issue_cert(NAME)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    old_form = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n"
    for pem in (locked, old_form):
        (tmp_path / "locked.pem").write_bytes(pem + issued.cert_chain_pems[0].bytes())
        with pytest.raises(CertificateError, match="the key has a passphrase"):
            Certificates([(tmp_path / "locked.pem", None)])


def test_a_certificate_that_no_client_would_take(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    def write(curve: ec.EllipticCurve, purpose: x509.ObjectIdentifier) -> Path:
        key = ec.generate_private_key(curve)
        subject = x509.Name([])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = tmp_path / "strange.pem"
        path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
        return path

    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    Certificates([(write(ec.SECP256R1(), server), None)])
    with pytest.raises(CertificateError, match="clients would reject it: unsuitable certificate purpose"):
        Certificates([(write(ec.SECP256R1(), client), None)])
    with pytest.raises(CertificateError, match="no shared cipher"):
        Certificates([(write(ec.SECP256K1(), server), None)])


def test_an_authority_that_cannot_be_used(issuer: Issuer, tmp_path: Path) -> None:
    pairs = [(issuer.write("mx.pem", NAME), None)]
    nobody = tmp_path / "nobody.pem"
    with pytest.raises(CertificateError, match=r"cannot use the authority .*nobody\.pem: no such file"):
        Certificates(pairs, nobody)
    for content in (b"", b"hello", issuer.authority.cert_pem.bytes()[:300]):
        nobody.write_bytes(content)
        with pytest.raises(CertificateError, match=r"nobody\.pem: it contains no certificate in PEM format"):
            Certificates(pairs, nobody)


def test_one_that_has_expired_is_shown_all_the_same(issuer: Issuer, tmp_path: Path, client_tls: ssl.SSLContext) -> None:
    """Most sending mail servers do not check the date, so an expired certificate is better than none."""
    issued = issuer.authority.issue_cert(NAME, not_after=datetime.now(UTC) - timedelta(days=1))
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "old.pem")
    client_tls.check_hostname = False
    client_tls.verify_mode = ssl.CERT_NONE
    context = Certificates([(tmp_path / "old.pem", None)]).context
    assert shake_hands(context, client_tls).client.getpeercert(binary_form=True)


# --- reading the files again


async def test_a_new_certificate_is_for_new_connections(
    issuer: Issuer, client_tls: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates([(issuer.write("mx.pem", NAME, "old.example"), None)])
    async with open_session(take, ssl_context=certificates, implicit_tls=True) as old:
        await old.start_tls(client_tls, NAME)
        await begin(old)
        async with open_session(take, ssl_context=certificates) as between:
            await begin(between)
            issuer.write("mx.pem", NAME, "new.example")
            assert await certificates.reload()
            assert log.messages == [f"certificates read again: {issuer.folder / 'mx.pem'}"]
            await deliver(old)
            assert (await between.command("STARTTLS")).code == 220
            await between.start_tls(client_tls, "new.example")
            assert (await between.command("EHLO client.example")).code == 250
            await deliver(between)
        await deliver(old)


async def test_files_that_do_not_fit_together_yet(
    issuer: Issuer, tmp_path: Path, client_tls: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "mx.crt", tmp_path / "mx.key"

    def issue(*names: str) -> trustme.LeafCert:
        issued = issuer.authority.issue_cert(*names)
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return issued

    issue(NAME, "old.example").private_key_pem.write_to_path(key)
    certificates = Certificates([(certificate, key)])
    issued = issue(NAME, "new.example")
    for _ in range(3):
        assert not await certificates.reload()
        assert "old.example" in shake_hands(certificates.context, client_tls).shown
    key.unlink()
    assert not await certificates.reload()
    issued.private_key_pem.write_to_path(key)
    assert await certificates.reload()
    assert "new.example" in shake_hands(certificates.context, client_tls).shown
    files = f"cannot use the certificate {certificate} with key {key}"
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("ERROR", f"{files}: the key does not belong to the certificate; what was read before is served on"),
        ("ERROR", f"{files}: no such file or directory; what was read before is served on"),
        ("INFO", f"certificates read again: {certificate}"),
    ]


async def test_one_bad_pair_of_several_changes_nothing(
    several: Certificates, issuer: Issuer, client_tls: ssl.SSLContext
) -> None:
    issuer.write("first.pem", NAME, "new.example")
    (issuer.folder / "exact.pem").write_bytes(b"")
    assert not await several.reload()
    assert "localhost" in shake_hands(several.context, client_tls).shown
    issuer.write("exact.pem", "added.example")
    assert await several.reload()
    assert "new.example" in shake_hands(several.context, client_tls).shown
    assert "added.example" in shake_hands(several.context, client_tls, "added.example").shown


async def next_look(clock: MockClock) -> None:
    """Let `Certificates.watch` check the files once more, and wait until its threads are done."""
    clock.jump(10)
    await wait_all_tasks_blocked()
    while trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        await wait_all_tasks_blocked()


async def test_they_are_watched(
    issuer: Issuer,
    authority_file: Path,
    client_tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
    mock_clock: MockClock,
) -> None:
    mx, other = issuer.write("mx.pem", NAME), issuer.write("other.pem", "other.example")
    certificates = Certificates([(mx, None), (other, None)], authority_file)
    first = certificates.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await wait_all_tasks_blocked()
        for _ in range(2):
            await next_look(mock_clock)
            assert certificates.context is first

        other.write_bytes(b"")
        for _ in range(3):
            await next_look(mock_clock)
            assert certificates.context is first
        other.unlink()
        await next_look(mock_clock)
        issuer.write("other.pem", "renewed.example")
        await next_look(mock_clock)
        assert "renewed.example" in shake_hands(certificates.context, client_tls, "renewed.example").shown
        second = certificates.context
        await next_look(mock_clock)
        assert certificates.context is second

        authority_file.write_bytes(authority_file.read_bytes() + trustme.CA().cert_pem.bytes())
        await next_look(mock_clock)
        assert certificates.context is not second
        nursery.cancel_scope.cancel()
    read_again = f"certificates read again: {mx}, {other}"
    assert [record.levelname for record in log.records] == ["ERROR", "ERROR", "INFO", "INFO"]
    assert log.messages[2:] == [read_again] * 2


async def test_a_want_of_threads_or_memory_leaves_them_as_they_are(
    issuer: Issuer, log: pytest.LogCaptureFixture, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error ends neither the watch task, which would end the server, nor a reload that the application calls."""

    async def no_thread(*_: object, **__: object) -> None:
        raise failures.pop(0)

    certificates = Certificates([(issuer.write("mx.pem", NAME), None)])
    first = certificates.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await wait_all_tasks_blocked()
        failures = [RuntimeError("can't start new thread"), MemoryError(), RuntimeError("nor here")]
        with monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", no_thread)
            for _ in range(2):
                await next_look(mock_clock)
            assert not await certificates.reload()
        assert certificates.context is first
        assert await certificates.reload()
        failures = [MemoryError("nor here")]
        with monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", no_thread)
            assert not await certificates.reload()
        nursery.cancel_scope.cancel()
    assert log.messages[:3] == [
        f"cannot read the certificates again: {reason}; what was read before is served on"
        for reason in ("can't start new thread", "out of memory", "nor here")
    ]
    assert log.messages[4:] == log.messages[2:3]  # logged again, because a reload succeeded in between


@pytest.mark.parametrize(("step", "job"), [("_marks", "watch"), ("_read", "reload")])
async def test_files_that_are_out_of_reach_keep_nobody_from_stopping(
    step: str, job: str, issuer: Issuer, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as those of a network file system whose server does not answer."""
    certificates = Certificates([(issuer.write("mx.pem", NAME), None)])
    reached, answered, ended = trio.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        trio.from_thread.run_sync(reached.set)
        answered.wait(10)
        ended.set()

    monkeypatch.setattr(certificates, step, hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(getattr(certificates, job))
        await wait_all_tasks_blocked()
        mock_clock.jump(10)
        await reached.wait()
        nursery.cancel_scope.cancel()
    assert not ended.is_set()
    answered.set()


async def test_they_are_read_by_one_task_at_a_time(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what was read first could be what is served last."""
    certificates = Certificates([(issuer.write("mx.pem", NAME), None)])
    served, go = certificates._served, threading.Event()

    def read() -> object:
        go.wait(10)
        return served

    monkeypatch.setattr(certificates, "_read", read)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(certificates.reload)
        await wait_all_tasks_blocked()
        threads = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        go.set()
    assert threads == 1


async def test_a_link_that_points_elsewhere_is_a_change(issuer: Issuer, mock_clock: MockClock) -> None:
    link = issuer.folder / "live.pem"
    link.symlink_to(issuer.write("1.pem", NAME))
    certificates = Certificates([(link, None)])
    first = certificates.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await wait_all_tasks_blocked()
        link.unlink()
        link.symlink_to(issuer.write("2.pem", NAME))
        await next_look(mock_clock)
        nursery.cancel_scope.cancel()
    assert certificates.context is not first


async def test_a_fault_that_was_undone_is_logged_again_when_it_comes_back(
    issuer: Issuer, log: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    link, bad = issuer.folder / "live.pem", issuer.folder / "bad.pem"
    good = issuer.write("good.pem", NAME)
    bad.write_bytes(b"")
    link.symlink_to(good)
    certificates = Certificates([(link, None)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await wait_all_tasks_blocked()
        for target in (bad, bad, good, bad):
            link.unlink()
            link.symlink_to(target)
            await next_look(mock_clock)
        nursery.cancel_scope.cancel()
    assert [record.levelname for record in log.records] == ["ERROR"] * 2


async def test_a_log_that_fails_does_not_end_the_watch(
    issuer: Issuer, client_tls: ssl.SSLContext, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch ends the server with it, which no connection does whose line cannot be logged."""

    def fail(*_: object) -> None:
        raise OSError("the disk of the log is full")

    path = issuer.write("mx.pem", NAME)
    certificates = Certificates([(path, None)])
    monkeypatch.setattr(logging.getLogger("trio_smtp"), "handle", fail)
    monkeypatch.setattr(logging.getLogger("trio_smtp"), "level", logging.INFO)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch)
        await wait_all_tasks_blocked()
        path.write_bytes(b"")
        await next_look(mock_clock)
        issuer.write("mx.pem", "renewed.example")
        await next_look(mock_clock)
        assert "renewed.example" in shake_hands(certificates.context, client_tls, "renewed.example").shown
        nursery.cancel_scope.cancel()


async def test_reading_them_again_under_load_fails_nobody(issuer: Issuer, client_tls: ssl.SSLContext) -> None:
    certificates = Certificates([(issuer.write("mx.pem", NAME), None), (issuer.write("b.pem", "b.example"), None)])
    shaken, another = 0, trio.Event()
    busy = trio.CancelScope()

    async def keep_connecting(port: int, name: str) -> None:
        nonlocal shaken
        while not busy.cancel_called:
            async with ScriptedClient(await trio.open_tcp_stream("127.0.0.1", port)) as client:
                await client.start_tls(client_tls, name)
                await client.expect("220")
                shaken += 1
                another.set()

    async with open_server(take, ssl_context=certificates, implicit_tls=True) as server:
        async with connected(server) as old, trio.open_nursery() as nursery:
            await old.start_tls(client_tls, NAME)
            await begin(old)
            for name in (NAME, "b.example", NAME, "b.example"):
                nursery.start_soon(keep_connecting, server.port, name)
            for turn in range(20):
                issuer.write("mx.pem", NAME)
                issuer.write("b.pem", "b.example") if turn % 3 else (issuer.folder / "b.pem").write_bytes(b"half")
                assert await certificates.reload() == bool(turn % 3)
                another = trio.Event()
                await another.wait()
            busy.cancel()
            await deliver(old)
        assert server.stats.connections == shaken + 1
    assert shaken >= 20
