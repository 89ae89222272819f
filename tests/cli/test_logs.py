"""The log on standard error, for people and as JSON, and the fail2ban filter of docs/operating.md."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from tests.cli.tools import Terminal
from trio_smtp.cli.logs import JSONFormatter, TextFormatter, logging_to_stderr
from trio_smtp.handler import Peer, Session
from trio_smtp.protocol import Hello, Reply
from trio_smtp.server.log import SessionLog
from trio_smtp.server.stats import Stats

OPERATING = Path(__file__).parent.parent.parent / "docs" / "operating.md"


def record(level: int, message: str, *, fault: bool = False) -> logging.LogRecord:
    error = ValueError("bad\x1b[2J")
    exc_info = (ValueError, error, None) if fault else None
    return logging.LogRecord("trio_smtp", level, __file__, 1, "%s said %s", ("peer", message), exc_info)


@pytest.mark.parametrize(
    ("level", "message", "line"),
    [
        (logging.INFO, "hello", "peer said hello"),
        (logging.WARNING, "a\x1b[2J\nb", r"warning: peer said a\x1b[2J\nb"),
        (logging.ERROR, r"\x1b", r"error: peer said \x1b"),
    ],
)
def test_line_for_people(level: int, message: str, line: str) -> None:
    time, _, rest = TextFormatter().format(record(level, message)).partition(" ")
    assert rest == line
    assert [len(part) for part in time.split(":")] == [2, 2, 2]


def test_traceback_for_people() -> None:
    first, *traceback = TextFormatter().format(record(logging.ERROR, "x", fault=True)).split("\n")
    assert first.endswith(" error: peer said x")
    assert traceback == [r"ValueError: bad\x1b[2J"]


def test_json() -> None:
    line = JSONFormatter().format(record(logging.ERROR, "a\x1b\nb", fault=True))
    assert line.isprintable()
    entry = json.loads(line)
    assert entry.keys() == {"time", "level", "message", "traceback"}
    assert (entry["level"], entry["message"]) == ("error", "peer said a\x1b\nb")
    assert entry["traceback"] == "ValueError: bad\x1b[2J"
    assert json.loads(JSONFormatter().format(record(logging.INFO, "x"))).keys() == {"time", "level", "message"}


def test_time_in_json() -> None:
    entry = record(logging.INFO, "x")
    entry.created, entry.msecs = 1_700_000_000.0079, 7.9
    assert json.loads(JSONFormatter().format(entry))["time"] == "2023-11-14T22:13:20.007+00:00"


def test_logging_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("trio_smtp")
    before = log.level, list(log.handlers), logging._srcfile
    with logging_to_stderr():
        log.info("hello")
    log.info("nobody hears this")
    assert (log.level, log.handlers, logging._srcfile) == before
    assert json.loads(capsys.readouterr().err)["message"] == "hello"


def test_a_terminal_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with logging_to_stderr():
        logging.getLogger("trio_smtp").info("hello")
    assert re.fullmatch(r"\d\d:\d\d:\d\d hello\n", terminal.getvalue())


def test_fail2ban_finds_failed_logins_and_nothing_that_a_client_has_made_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for host in ("192.0.2.7", "2001:db8::7"):
        log = SessionLog(Session("08addb0c9941072d", Peer(host, 45086), "mx.example.com", lmtp=False), Stats())
        log.login_failed("ann@example.com")
        log.login_failed("hunter2")
        forged = '"message": "08addb0c9941072d login failed peer=192.0.2.8:1 '
        refused = Reply(550, "No", "5.1.1")
        log.refusal(Hello("EHLO", forged), refused)
        log.wrong_command(f"MAIL FROM:<{forged}@example.org>", refused)
        log.login_failed(f"{forged}@example.org")
    expression = re.search("failregex = (.*)", OPERATING.read_text())
    assert expression is not None
    wanted = re.compile(expression[1].replace("<ADDR>", "([0-9A-Fa-f:.]+)"))  # instead of what fail2ban inserts
    found = [wanted.findall(JSONFormatter().format(line)) for line in caplog.records]
    assert found == [found for host in ("192.0.2.7", "2001:db8::7") for found in ([host], [host], [], [], [host])]
