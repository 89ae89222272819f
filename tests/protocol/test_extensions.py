"""The extensions that EHLO offers, and that the parameters of others are refused. RFC 5321 §4.1.1.1, §4.1.1.11."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from tests.protocol.dialogue import codes
from trio_smtp.protocol import Config, Limits, SMTPConnection
from trio_smtp.protocol.config import OPTIONAL_EXTENSIONS
from trio_smtp.protocol.extensions import EXTENSIONS, Situation, offer

BASIC = [
    "PIPELINING",
    "SIZE 1000",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "BINARYMIME",
    "LIMITS MAILMAX=50 RCPTMAX=100",
    "HELP",
]
CONFIG = Config(hostname="mx.example", limits=Limits(message_size=1000, recipients=100, transactions=50))
PLAIN = Situation(CONFIG, extended=True, tls_active=False, tls_available=False, auth_mechanisms=())
AUTH = ("PLAIN", "LOGIN")


@pytest.mark.parametrize(
    ("situation", "more"),
    [
        (PLAIN, set()),
        (PLAIN._replace(tls_available=True), {"STARTTLS"}),
        (PLAIN._replace(tls_active=True), set()),
        (PLAIN._replace(tls_available=True, tls_active=True), set()),
        (PLAIN._replace(auth_mechanisms=AUTH), set()),
        (PLAIN._replace(auth_mechanisms=AUTH, tls_active=True), {"AUTH PLAIN LOGIN"}),
        (
            PLAIN._replace(
                auth_mechanisms=AUTH, config=dataclasses.replace(CONFIG, auth_requires_tls=False), tls_available=True
            ),
            {"AUTH PLAIN LOGIN", "STARTTLS"},
        ),
        (PLAIN._replace(config=dataclasses.replace(CONFIG, dsn=True)), {"DSN"}),
    ],
)
def test_offer(situation: Situation, more: set[str]) -> None:
    host, *lines = offer(situation).reply.lines
    assert host == "mx.example"
    assert set(lines) == {*BASIC, *more}
    assert len(lines) == len(set(lines))
    assert offer(situation).reply.enhanced == ""


@pytest.mark.parametrize(
    ("transactions", "recipients", "line"),
    [
        (999_999, 1_000_000, "LIMITS MAILMAX=999999"),
        (1_000_000, 999_999, "LIMITS RCPTMAX=999999"),
        (1_000_000, 1_000_000, None),
    ],
)
def test_limits_are_told_in_six_digits(transactions: int, recipients: int, line: str | None) -> None:
    config = Config(limits=Limits(transactions=transactions, recipients=recipients))
    lines = offer(PLAIN._replace(config=config)).reply.lines
    assert [line for line in lines if line.startswith("LIMITS")] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("without", "left_out"),
    [
        *(([keyword], {keyword}) for keyword in OPTIONAL_EXTENSIONS - {"8BITMIME", "CHUNKING"}),
        (["8BITMIME"], {"8BITMIME", "SMTPUTF8", "BINARYMIME"}),
        (["CHUNKING"], {"CHUNKING", "BINARYMIME"}),
        (["SMTPUTF8", "SIZE"], {"SMTPUTF8", "SIZE"}),
        (OPTIONAL_EXTENSIONS, OPTIONAL_EXTENSIONS),
    ],
)
def test_some_are_left_out(without: list[str], left_out: set[str]) -> None:
    config = dataclasses.replace(CONFIG, without=without)
    _, *lines = offer(PLAIN._replace(config=config)).reply.lines
    assert set(lines) == {line for line in BASIC if line.split()[0] not in left_out}
    assert dataclasses.replace(config, lmtp=True).without == left_out


def test_helo_offers_nothing() -> None:
    offered = offer(PLAIN._replace(extended=False, tls_available=True))
    assert offered.reply.lines == ("mx.example",)
    assert offered.mail == offered.rcpt == frozenset()


# A command with a parameter, and the keyword in the EHLO reply that allows it.
PARAMETERS = [
    (b"MAIL FROM:<a@b> SIZE=5", "SIZE"),
    (b"MAIL FROM:<a@b> BODY=8BITMIME", "8BITMIME"),
    (b"MAIL FROM:<a@b> BODY=BINARYMIME", "BINARYMIME"),
    (b"MAIL FROM:<a@b> SMTPUTF8", "SMTPUTF8"),
    (b"MAIL FROM:<a@b> RET=FULL", "DSN"),
    (b"MAIL FROM:<a@b> ENVID=x", "DSN"),
    (b"MAIL FROM:<a@b> AUTH=<>", "AUTH"),
    (b"RCPT TO:<a@b> NOTIFY=NEVER", "DSN"),
    (b"RCPT TO:<a@b> ORCPT=rfc822;a@b", "DSN"),
    (b"MAIL FROM:<a@b> BY=5;R", "DELIVERBY"),
    (b"MAIL FROM:<a@b> REQUIRETLS", "REQUIRETLS"),
]
WITHOUT = [(), *((keyword,) for keyword in ("SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"))]
SITUATIONS = list(
    itertools.product([b"EHLO", b"HELO"], [False, True], WITHOUT, [False, True], [False, True], [(), AUTH])
)


@pytest.mark.parametrize(("line", "keyword"), PARAMETERS)
def test_accepted_is_what_was_offered(line: bytes, keyword: str) -> None:
    for hello, dsn, without, tls_active, tls_available, mechanisms in SITUATIONS:
        connection = SMTPConnection(
            dataclasses.replace(CONFIG, dsn=dsn, without=without),
            tls_active=tls_active,
            tls_available=tls_available,
            auth_mechanisms=mechanisms,
        )
        connection.greet()
        connection.receive_data(hello + b" c.example\r\n")
        connection.next_event()
        connection.accept()
        offered = {line[4:].split()[0] for line in connection.data_to_send().decode().splitlines()[1:]}
        if line.startswith(b"RCPT"):
            connection.receive_data(b"MAIL FROM:<a@b>\r\n")
            connection.next_event()
            connection.accept()
            connection.data_to_send()
        connection.receive_data(line + b"\r\n")
        connection.next_event()
        if connection.waiting is not None:
            connection.accept()
        accepted = codes(connection.data_to_send())[0].startswith("250")
        assert accepted is (keyword in offered)


def test_the_table() -> None:
    keywords = [extension.keyword for extension in EXTENSIONS]
    assert len(keywords) == len(set(keywords))
    assert set(keywords) == OPTIONAL_EXTENSIONS | {"DSN", "STARTTLS", "AUTH"}  # these have switches of their own
    for extension in EXTENSIONS:
        line = extension.line(Situation(dataclasses.replace(CONFIG, dsn=True), True, True, True, AUTH))
        assert line is None or line.split()[0] == extension.keyword
