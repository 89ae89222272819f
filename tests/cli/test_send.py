"""``trio-smtp send``: test messages and files, TLS and logins, refusals and faulty servers."""

from __future__ import annotations

import email
import email.policy
import getpass
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.cli.tools import Result, Serving
from trio_smtp.mailbox.json_file import JSONFileStore

Run = Callable[..., Result]

DEMO = ("--to", "demo@example.com")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    accounts = ("--account", "demo=demo@example.com", "--account", "ann=änn@example.com")
    with Serving(
        "--listen", "smtp://127.0.0.1:0", "--store", f"json:{folder}/mail", *accounts, folder=folder
    ) as server:
        yield server


def raw(run: Run, serving: Serving, account: str) -> bytes:
    """Return the newest message of an account, without the fields that the server has added."""
    store = ("--store", f"json:{serving.folder}/mail")
    newest = run("mail", "list", account, "--json", *store).records[-1]
    content = run("mail", "show", account, str(newest["uid"]), "--raw", *store).out
    header, _, rest = content.partition(b"Received: ")
    assert header.startswith(b"Return-Path: ")
    while True:
        _, _, rest = rest.partition(b"\r\n")
        if not rest.startswith((b" ", b"\t")):
            return rest


def test_test_message(run: Run, serving: Serving) -> None:
    result = run("send", *DEMO, "--server", serving.address)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{serving.address} replied: 250 2.6.0 ".encode())
    message = email.message_from_bytes(raw(run, serving, "demo"), policy=email.policy.default)
    assert message.keys()[:5] == ["Date", "Message-ID", "From", "To", "Subject"]
    assert message["To"] == "demo@example.com"
    assert message["From"] == "trio-smtp@localhost"


def test_test_message_in_other_letters(run: Run, serving: Serving) -> None:
    argv = ("--to", "änn@example.com", *DEMO, "--from", "jörg@example.com", "--subject", "Grüße \\o/")
    assert run("send", *argv, "--server", serving.address).code == 0
    for account in ("demo", "ann"):
        message = email.message_from_bytes(raw(run, serving, account), policy=email.policy.default)
        assert message["To"] == "änn@example.com, demo@example.com"
        assert message["From"] == "jörg@example.com"
        assert message["Subject"] == "Grüße \\o/"


def test_subject_in_other_letters(run: Run, serving: Serving) -> None:
    """A header that is not ASCII needs SMTPUTF8, which only addresses ask for, so the subject is encoded."""
    assert run("send", *DEMO, "--subject", "Grüße", "--server", serving.address).code == 0
    content = raw(run, serving, "demo")
    assert content.isascii()
    assert email.message_from_bytes(content, policy=email.policy.default)["Subject"] == "Grüße"


FILES = [
    ("line feeds", b"Subject: x\n\n.\n..\nend", b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n"),
    ("as on the wire", b"Subject: x\r\n\r\nend\r\n", b"Subject: x\r\n\r\nend\r\n"),
    ("8-bit", "Subject: x\n\nGrüße\xff\n".encode("latin-1"), "Subject: x\r\n\r\nGrüße\xff\r\n".encode("latin-1")),
]


@pytest.mark.parametrize(("content", "stored"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
@pytest.mark.parametrize("file", ["mail.eml", "-"])
def test_file(run: Run, serving: Serving, file: str, content: bytes, stored: bytes, folder: Path) -> None:
    (folder / "mail.eml").write_bytes(content)
    assert run("send", *DEMO, "--server", serving.address, file, stdin=content).code == 0
    assert raw(run, serving, "demo") == stored


def test_file_with_the_name_of_standard_input(run: Run, serving: Serving, folder: Path) -> None:
    (folder / "-").write_bytes(b"Subject: x\r\n\r\n")
    assert run("send", *DEMO, "--server", serving.address, "./-", stdin=b"Subject: y\r\n\r\n").code == 0
    assert raw(run, serving, "demo") == b"Subject: x\r\n\r\n"


def test_file_that_cannot_be_read(run: Run) -> None:
    run("send", *DEMO, "nothing.eml").fails(1, "nothing.eml", "no such file")
    run("send", *DEMO, "").fails(2, "FILE: the path is empty")


def test_refused_recipient(run: Run, serving: Serving) -> None:
    result = run("send", *DEMO, "--to", "nobody@example.com", "--server", serving.address)
    result.fails(1, serving.address, "550 5.1.1")


def test_refused_message(run: Run, serving: Serving) -> None:
    result = run("send", *DEMO, "--server", serving.address, "-", stdin=b"Subject: x\r\n\r\na lone \r\n\rCR\r\n")
    result.fails(1, "550 5.6.0")


def test_nobody_listens(run: Run) -> None:
    with socket.socket() as sock:  # bound, so that nobody else takes the port, and not listening
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        run("send", *DEMO, "--server", f"127.0.0.1:{port}").fails(1, f"127.0.0.1:{port}", "connection refused", "serve")


@contextmanager
def scripted(answers: Sequence[bytes], heard: list[bytes] | None = None) -> Iterator[str]:
    """Run a server that sends these answers, one before each line, and hangs up. Yield its address.

    Args:
        heard: a list to which each line is appended.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    said = [] if heard is None else heard

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            for answer in answers:
                connection.sendall(answer)
                said.append(lines.readline())

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    thread.join()


def test_server_without_goodbye(run: Run) -> None:
    """A server that has accepted the message may reply to QUIT what it likes."""
    ok = b"250 ok\r\n"
    with scripted([*HELLO, ok, ok, b"354 go\r\n", b"", b"250 queued\r\n", b"421 away\r\n"]) as address:
        result = run("send", *DEMO, "--server", address, "-", stdin=b"x")
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    ("extension", "content", "parameter"),
    [(b"8BITMIME", "é", b" BODY=8BITMIME"), (b"8BITMIME", "e", b""), (b"HELP", "é", b"")],
)
def test_content_that_is_not_ascii_is_announced(run: Run, extension: bytes, content: str, parameter: bytes) -> None:
    """To a server that takes the parameter (RFC 6152 §2)."""
    heard: list[bytes] = []
    with scripted([HELLO[0], b"250-hello\r\n250 " + extension + b"\r\n", b"550 no\r\n"], heard) as address:
        run("send", *DEMO, "--server", address, "-", stdin=content.encode()).fails(1, "550 no")
    assert heard[1].lower() == b"mail from:<trio-smtp@localhost>" + parameter.lower() + b"\r\n"


# --- TLS and logins


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with three listeners: without logins, with logins after STARTTLS, with logins in implicit TLS."""
    folder = tmp_path_factory.mktemp("secure")

    async def make_account() -> None:
        async with JSONFileStore(folder / "mail") as store:
            await store.create_account("jörg", addresses=["demo@example.com"], password="geheimß")

    trio.run(make_account)
    listen = [f"--listen={scheme}://127.0.0.1:0" for scheme in ("smtp", "submission", "submissions")]
    with Serving(*listen, "--tls=self-signed", folder=folder) as server:
        yield server


def at(server: Serving, listener: int) -> tuple[str, ...]:
    return (*DEMO, "--from", "demo@example.com", "--server", "{}:{}".format(*server.endpoints[listener]))


LOGIN = ("--user", "jörg", "--password-stdin")


@pytest.mark.parametrize(
    ("listener", "flags"),
    [(0, ("--starttls",)), (1, ("--starttls", *LOGIN)), (2, ("--tls", *LOGIN))],
    ids=["starttls", "login after starttls", "login in tls"],
)
def test_tls(run: Run, secure: Serving, listener: int, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ("send", *at(secure, listener), *flags)
    run(*argv, stdin="geheimß\n".encode()).fails(1, "the certificate of 127.0.0.1:", "self-signed", "--insecure")
    assert run(*argv, "--insecure", stdin="geheimß\n".encode()).out.endswith(b" replied: 250 2.6.0 Message accepted\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.folder / "mail" / "self-signed.pem"))
    assert run(*argv, stdin="geheimß\n".encode()).code == 0


def test_the_password_is_asked_for(run: Run, secure: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "geheimß")
    argv = ("send", *at(secure, 2), "--tls", "--insecure", "--user", "jörg")
    assert run(*argv, terminal=True).code == 0
    run(*argv).fails(2, "no terminal", "--password-stdin")


REFUSED = [
    ("a wrong password", 2, ("--tls", "--insecure", *LOGIN), 1, "535 5.7.8"),
    ("no login", 2, ("--tls", "--insecure"), 1, "530 5.7.0"),
    ("no login in clear", 1, LOGIN, 1, "538 5.7.11"),
    ("no TLS there", 0, ("--tls",), 1, "the TLS handshake with 127.0.0.1:"),
    ("nobody else's server", 0, ("--server", "192.0.2.1:25", *LOGIN), 2, "without encryption; add --starttls or --tls"),
    (
        "a name like an address",
        0,
        ("--server", "127.0.0.1.example:25", *LOGIN),
        2,
        "without encryption; add --starttls or --tls",
    ),
    ("insecure anyway", 0, ("--insecure",), 2, "--insecure has no effect without"),
    ("nobody's password", 0, ("--password-stdin",), 2, "--password-stdin has no effect without"),
    ("two in one pipe", 0, (*LOGIN, "-"), 2, "both read standard input"),
]


@pytest.mark.parametrize(
    ("listener", "flags", "code", "fragment"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused_tls_and_logins(
    run: Run, secure: Serving, listener: int, flags: tuple[str, ...], code: int, fragment: str
) -> None:
    run("send", *at(secure, listener), *flags, stdin=b"wrong").fails(code, fragment)


def test_a_password_may_go_to_localhost_in_clear(run: Run, secure: Serving) -> None:
    """This program sends it; that server asks for TLS."""
    _, port = secure.endpoints[1]
    run("send", *DEMO, "--server", f"localhost:{port}", *LOGIN, stdin=b"x").fails(1, "538 5.7.11")


HELLO = [b"220 hello\r\n", b"250 hello\r\n"]
ANSWERS = [
    ("greeting", [b"554-go\r\n554 away\r\n"], "554 go away"),
    ("an endless line", [b"220 " + b"x" * 9000 + b"\r\n"], "500 Line too long"),
    ("no SMTP", [b"SSH-2.0\r\n"], "does not speak SMTP"),
    ("no SMTP later", [*HELLO, b"* BAD\r\n"], "does not speak SMTP"),
    ("hangs up", HELLO, "closed"),
    ("says nothing", [], "requires TLS"),
    ("escapes", [*HELLO, b"550 \x1b[2J\xe2\x80\xae\r\n"], r"550 \x1b[2J\u202e"),
    ("data", [*HELLO, b"250 ok\r\n", b"250 ok\r\n", b"451 later\r\n"], "451 later"),
    ("no UTF-8 addresses", HELLO, "SMTPUTF8"),
    ("no UTF-8 addresses, no EHLO", [HELLO[0], b"500 what\r\n", HELLO[1], b"221 bye\r\n"], "SMTPUTF8"),
    ("recipient, and no goodbye", [*HELLO, b"250 ok\r\n", b"550 nobody\r\n", b"421 away\r\n"], "550 nobody"),
    ("no STARTTLS", HELLO, "STARTTLS"),
]


@pytest.mark.parametrize(("answers", "fragment"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_servers_of_all_kinds(run: Run, answers: list[bytes], fragment: str) -> None:
    recipient = "änn@example.com" if fragment == "SMTPUTF8" else "ann@example.com"
    flags = ["--starttls"] * (fragment == "STARTTLS")
    with scripted(answers) as address:
        run("send", "--to", recipient, "--server", address, *flags).fails(1, address, fragment)
