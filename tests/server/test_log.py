"""The log: its limit on what an attacker can make it write, its lines about logins and closings, the transcript."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from tests.server.tools import CONTENT, begin, deliver, take
from trio_smtp.protocol import Config, Limits
from trio_smtp.server import log as module
from trio_smtp.server.log import ACCEPTED, LogLimit
from trio_smtp.testing.client import open_session


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage() + (" with traceback" if record.exc_info else ""))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the log writes, with a limit of three lines of a kind and two tracebacks a second."""
    handler = Lines()
    monkeypatch.setattr(module.log, "filters", [LogLimit(3, 2)])
    monkeypatch.setattr(module.log, "handlers", [handler])
    monkeypatch.setattr(module.log, "level", logging.INFO)
    return handler.lines


def say(second: float, text: str, *arguments: object, traceback: bool = False) -> None:
    exc_info = (RuntimeError, RuntimeError("x"), None) if traceback else None
    record = module.log.makeRecord(module.log.name, logging.INFO, __file__, 1, text, arguments, exc_info)
    record.created = second
    module.log.handle(record)


def test_lines_of_one_kind_are_counted_by_the_second(lines: list[str]) -> None:
    for number in range(10):
        say(100.1, "refused %d", number)
    say(100.9, "lost %d", 1)
    say(101.0, "refused %d", 11)
    assert lines[:4] == ["refused 0", "refused 1", "refused 2", "lost 1"]
    assert lines[4:] == ["too much to log: 7 lines were left out", "refused 11"]


def test_accepted_mail_is_never_left_out(lines: list[str]) -> None:
    for number in range(10):
        say(100, ACCEPTED, number, "a@b", "<c@d>", 5, "local", "250")
    assert len(lines) == 10


def test_what_has_too_many_tracebacks_comes_without(lines: list[str]) -> None:
    for second in (100, 101):
        say(second, "no traceback")
        for kind in "abc":
            say(second, kind, traceback=True)
    assert lines == ["no traceback", "a with traceback", "b with traceback", "c"] * 2


def test_the_limit_is_that_of_the_documentation(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """100 lines of one kind a second, and 10 tracebacks of all kinds together."""
    monkeypatch.setattr(module.log, "filters", [LogLimit()])
    for kind in "ab":
        for _ in range(101):
            say(100, kind, traceback=True)
    assert lines == [*["a with traceback"] * 10, *["a"] * 90, *["b"] * 100]


def test_a_clock_that_goes_back_does_no_harm(lines: list[str]) -> None:
    for second in (100, 99, 98):
        for _ in range(3):
            say(second, "x")
    assert lines == ["x"] * 9


def test_every_part_of_the_server_has_the_limit() -> None:
    """Asked in a new process, because a fixture removes the limit in this one."""
    code = "import logging, trio_smtp.server; print(*map(type, logging.getLogger('trio_smtp').filters))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == f"{LogLimit!r}"


async def test_who_has_logged_in_is_in_the_line_of_the_message(caplog: pytest.LogCaptureFixture) -> None:
    async def check(username: str, password: str) -> str:
        return f"{username}\n"

    caplog.set_level(logging.INFO)
    config = Config(auth_requires_tls=False)
    async with open_session(take, authenticator=check, config=config) as client:
        await begin(client)
        await deliver(client)
        assert (await client.command("AUTH PLAIN AGFubgB4")).code == 235
        await deliver(client)
        assert (await client.command("RCPT")).code == 503
    anonymous, known = (message for message in caplog.messages if " accepted " in message)
    assert " peer=local reply=250 " in anonymous
    assert r" peer=local login=<ann\n> reply=250 " in known
    assert r" refused command RCPT peer=local login=<ann\n> reply=503 " in caplog.messages[-1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"GET / HTTP/1.1\r\n", ["closed peer=local: the client speaks HTTP or TLS instead of SMTP"]),
        (b"\x16\x03\x01\x02\x00\x01", ["closed peer=local: the client speaks HTTP or TLS instead of SMTP"]),
        (
            b"NOOP \x00\r\n",
            [
                "refused command NOOP peer=local reply=501 5.5.4 Syntax error in parameters",
                "closed peer=local: too many errors",
            ],
        ),
        (b"QUIT\r\n", []),
    ],
)
async def test_why_a_connection_was_closed(line: bytes, said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with open_session(take, config=Config(limits=Limits(errors=1))) as client:
        await begin(client)
        await client.send(line)
        await client.rest()
    assert [message.partition(" ")[2] for message in caplog.messages] == said


async def test_the_transcript_is_for_those_who_ask(caplog: pytest.LogCaptureFixture) -> None:
    for level in (logging.INFO, logging.DEBUG):
        caplog.set_level(level, "trio_smtp.transcript")
        async with open_session(take) as client:
            await begin(client)
            await client.command("NOOP \x1b[2J")
            await deliver(client)
            await client.command("AUTH PLAIN AGFubgBwYXNz")
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_smtp.transcript"]
    assert len({line.partition(" ")[0] for line in lines}) == 1
    told = [line.partition(" ")[2] for line in lines]
    assert told[:2] == ["S: 220 localhost ESMTP trio-smtp", "C: EHLO client.example"]
    assert told[-12:] == [
        r"C: NOOP \x1b[2J",
        "S: 501 5.5.4 Syntax error in parameters",
        "C: MAIL FROM:<ann@example.com>",
        "S: 250 2.1.0 Sender OK",
        "C: RCPT TO:<bob@example.com>",
        "S: 250 2.1.5 Recipient OK",
        "C: DATA",
        "S: 354 Start mail input; end with <CRLF>.<CRLF>",
        f"C: [{len(CONTENT) + 3} octets of a message]",
        "S: 250 2.6.0 Message accepted",
        "C: AUTH PLAIN [...]",
        "S: 502 5.5.1 Command not implemented",
    ]
