"""`CatchingServer`, for tests of applications that send mail. Like those, most tests here are synchronous."""

from __future__ import annotations

import errno
import smtplib
import socket
import subprocess
import sys
import threading
from email.message import EmailMessage
from typing import Any

import pytest
import trio

from trio_smtp.testing import CatchingServer, ScriptedClient

WITHOUT_PYTEST = """
import smtplib, sys, unittest

sys.modules["pytest"] = None
from trio_smtp.testing import CatchingServer, open_session


class Registration(unittest.TestCase):
    def test_welcome(self):
        smtp = self.enterContext(CatchingServer())
        with smtplib.SMTP(smtp.host, smtp.port) as client:
            client.sendmail("app@example.com", ["ann@example.com"], b"Subject: Welcome\\r\\n\\r\\n")
        [mail] = smtp.messages
        self.assertEqual(mail.parsed.subject, "Welcome")


unittest.main()
"""


def test_it_needs_no_pytest() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_PYTEST], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Ran 1 test" in done.stderr


def test_newlines_that_others_would_refuse() -> None:
    with CatchingServer() as server, smtplib.SMTP(server.host, server.port) as client:
        client.sendmail("app@example.com", ["ann@example.com"], b"Subject: Welcome\n\nHello\n")
        assert server.messages[0].content == b"Subject: Welcome\n\nHello\n\r\n"


def test_several_clients_and_messages() -> None:
    with CatchingServer() as server:

        def send(number: int) -> None:
            message = EmailMessage()
            message["Subject"] = f"Number {number}"
            message.set_content("Grüße\n")
            with smtplib.SMTP(server.host, server.port) as client:
                for _ in range(3):
                    client.send_message(message, "app@example.com", "ann@example.com")

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(mail.parsed.subject for mail in server.messages) == sorted(
            f"Number {number}" for number in range(4) for _ in range(3)
        )
        assert server.messages[0].parsed.text == "Grüße\n"


def test_no_policy_refuses_a_message() -> None:
    content = b"Received: from a by b; Thu, 26 Nov 2026 12:00:00 +0000\r\n" * 100 + b"\r\n"  # a mail loop
    with CatchingServer() as server:
        with smtplib.SMTP(server.host, server.port) as client:
            client.sendmail("app@example.com", ["ann@example.com"], content)
        assert server.messages[0].content == content


def test_any_login_is_good() -> None:
    with CatchingServer() as server:
        with smtplib.SMTP(server.host, server.port) as client:
            client.login("app", "whatever")
            client.sendmail("app@example.com", ["ann@example.com"], b"")
        [mail] = server.messages
        assert mail.session.identity == "app"


def test_a_client_that_stays_does_not_keep_the_server() -> None:
    with CatchingServer() as server:
        client = smtplib.SMTP(server.host, server.port)
        client.ehlo()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        for _ in range(2):
            assert client.noop()[0] == 421
    client.close()


def test_a_failing_test_stops_it_too() -> None:
    with pytest.raises(ZeroDivisionError), CatchingServer() as server:
        raise ZeroDivisionError
    assert not server._portal._thread.is_alive()


async def test_a_test_that_is_async_itself() -> None:
    with CatchingServer() as server:
        async with ScriptedClient(await trio.open_tcp_stream(server.host, server.port)) as client:
            await client.expect("220")
            await client.command("EHLO client.example")
            assert (await client.send_mail("app@example.com", ["ann@example.com"], b"")).code == 250
        assert len(server.messages) == 1
    assert not server._portal._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_has_failed_does_not_hide_what_the_test_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_smtp.server.server.open_poller", None)
    with pytest.raises(ZeroDivisionError), CatchingServer() as server:
        server._portal._thread.join()
        raise ZeroDivisionError


def test_a_second_block() -> None:
    server = CatchingServer()
    for count in (1, 2):
        with server:
            with smtplib.SMTP(server.host, server.port) as client:
                client.sendmail("app@example.com", ["ann@example.com"], b"")
            assert len(server.messages) == count


def test_a_block_in_a_block() -> None:
    with CatchingServer() as server:
        with pytest.raises(RuntimeError, match="is running already; make another CatchingServer"), server:
            pass
        with smtplib.SMTP(server.host, server.port) as client:
            client.sendmail("app@example.com", ["ann@example.com"], b"")
    assert len(server.messages) == 1
    assert not server._portal._thread.is_alive()


def test_to_wait_for_what_is_sent_elsewhere() -> None:
    with CatchingServer() as server:
        assert server.wait_for(0) == []

        def send() -> None:
            with smtplib.SMTP(server.host, server.port) as client:
                for _ in range(2):
                    client.sendmail("app@example.com", ["ann@example.com"], b"")

        thread = threading.Thread(target=send)
        thread.start()
        assert len(server.wait_for(2)) == 2
        thread.join()
        assert len(server.messages) == 2
        with pytest.raises(TimeoutError, match=r"2 of 3 messages arrived within 0\.01 seconds"):
            server.wait_for(3, timeout=0.01)


def test_to_wait_for_one_of_several() -> None:
    with CatchingServer() as server:
        with pytest.raises(TimeoutError) as nothing:
            server.wait_for(timeout=0.01)
        assert str(nothing.value) == "0 of 1 messages arrived within 0.01 seconds"

        def send() -> None:
            with smtplib.SMTP(server.host, server.port) as client:
                for number in range(12):
                    content = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %d\r\n\r\n" % number
                    client.sendmail("app@example.com", ["ann@example.com", "bob@example.com"], content)

        thread = threading.Thread(target=send)
        thread.start()
        [last] = server.wait_for(where=lambda mail: mail.parsed.subject == "Grüße 11")
        thread.join()
        assert last is server.messages[-1]
        with pytest.raises(TimeoutError) as missed:
            server.wait_for(2, 0.01, where=lambda mail: mail is last)
    first, *lines = str(missed.value).splitlines()
    assert first == "1 of 2 messages arrived within 0.01 seconds:"
    assert lines[0] == r"    from <app@example.com> to ann@example.com, bob@example.com: 'Gr\xfc\xdfe 0'"
    assert (len(lines), lines[-1]) == (11, "    and 2 more")


def test_refusals() -> None:
    with CatchingServer() as server:
        server.refuse("bob@example.com", 552, "Mailbox full", "5.2.2")
        server.refuse("message", 451, times=1)
        with smtplib.SMTP(server.host, server.port) as client:
            with pytest.raises(smtplib.SMTPDataError) as greylisted:
                client.sendmail("app@example.com", ["ann@example.com"], b"")
            assert greylisted.value.smtp_code == 451
            refused = client.sendmail("app@example.com", ["ann@example.com", "bob@example.com"], b"")
            assert refused == {"bob@example.com": (552, b"5.2.2 Mailbox full")}
            server.refuse_nothing()
            assert client.sendmail("app@example.com", ["bob@example.com"], b"") == {}
        assert len(server.messages) == 2
        with pytest.raises(ValueError, match="'recipients' is neither a step"):
            server.refuse("recipients")


def test_there_is_no_certificate_without_tls() -> None:
    with pytest.raises(RuntimeError, match="starttls"):
        _ = CatchingServer().client_context


@pytest.mark.parametrize("tls", [True, False, "tls"])
def test_what_is_no_kind_of_tls(tls: Any) -> None:
    with pytest.raises(ValueError, match="starttls"):
        CatchingServer(tls)


def test_trio_that_cannot_start_leaves_no_port_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(trio, "run", run)
    server = CatchingServer()
    with pytest.raises(OSError, match="Too many open files") as failure, server:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    assert failure.value.errno == errno.EMFILE  # its traceback would have kept the socket open until here


def test_a_thread_that_cannot_start_leaves_no_port_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    server = CatchingServer()
    with pytest.raises(RuntimeError, match="can't start") as failure, server:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    assert failure.value.__traceback__ is not None  # it would have kept the socket open until here
