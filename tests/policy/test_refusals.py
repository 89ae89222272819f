"""`Refusals`: refusals that are ordered in advance, for a step or an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.server.tools import begin, connected
from trio_smtp.handler import Mail
from trio_smtp.policy import Refusals
from trio_smtp.protocol import Config
from trio_smtp.server import ServerOptions, open_server
from trio_smtp.testing import ScriptedClient, open_session

A, B = "a@example.com", "b@example.com"


async def on_mail(mail: Mail) -> None:
    pass


async def anybody(username: str, password: str) -> str:
    return username


@asynccontextmanager
async def session(refusals: Refusals) -> AsyncIterator[ScriptedClient]:
    config = Config(auth_requires_tls=False)
    async with open_session(on_mail, policy=refusals, authenticator=anybody, config=config) as client:
        yield client


@pytest.mark.parametrize(
    ("what", "wire", "last"),
    [
        ("sender", ["MAIL FROM:<a@example.com>"], 0),
        ("recipient", ["MAIL FROM:<a@example.com>", "RCPT TO:<a@example.com>"], 1),
        ("A@Example.COM", ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "RCPT TO:<a@example.com>"], 2),
        ("message", ["MAIL FROM:<a@example.com>", "RCPT TO:<a@example.com>", "DATA", "x\r\n."], 3),
        ("login", ["AUTH PLAIN AGEAYg=="], 0),
    ],
)
@pytest.mark.parametrize("code", [450, 550])
async def test_what_is_refused(what: str, wire: list[str], last: int, code: int) -> None:
    refusals = Refusals()
    refusals.refuse(what, code, "No", f"{code // 100}.3.2")
    async with session(refusals) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        for number, line in enumerate(wire):
            reply = str(await client.command(line))
            assert reply.startswith(f"{code} {code // 100}.3.2 No" if number == last else ("2", "3")), reply


@pytest.mark.parametrize("code", [421, 554])
async def test_a_connection(code: int) -> None:
    refusals = Refusals()
    refusals.refuse("connection", code)
    async with session(refusals) as client:
        await client.expect_close(f"{code} Refused to order")


async def test_they_are_counted_by_step() -> None:
    refusals = Refusals()
    for what in ("recipient", B, "message", "login"):
        refusals.refuse(what, 450)
    options: ServerOptions = {"policy": refusals, "authenticator": anybody, "config": Config(auth_requires_tls=False)}
    async with open_server(on_mail, **options) as server, connected(server) as client:
        await begin(client)
        await client.command("AUTH PLAIN AGEAYg==")
        await client.send_mail(A, [A], b"")
        await client.command("RSET")
        await client.send_mail(A, [B], b"")
        assert server.stats.rules == {"refused-login": 1, "refused-recipient": 2}


async def test_so_many_times_and_no_more() -> None:
    refusals = Refusals()
    refusals.refuse("message", 451, times=2)
    async with session(refusals) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        codes = [(await client.send_mail(A, [B], b"")).code for _ in range(3)]
        assert codes == [451, 451, 250]
        refusals.refuse("message", 554)
        assert (await client.send_mail(A, [B], b"")).code == 554
        refusals.clear()
        assert (await client.send_mail(A, [B], b"")).code == 250


@pytest.mark.parametrize(
    ("what", "code", "text", "why"),
    [
        (
            "recipients",
            550,
            "No",
            r"'recipients' is neither a step \(connection, login, sender, recipient, message\) nor a mail address",
        ),
        ("", 550, "No", "nor a mail address"),
        ("a@", 550, "No", "not a mail address"),
        ("sender", 250, "No", "must be 4xx or 5xx, not 250"),
        ("sender", 599, "No", "not an SMTP reply code"),
        ("sender", 550, "N\u00f6", "printable ASCII"),
    ],
)
def test_orders_that_are_none(what: str, code: int, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Refusals().refuse(what, code, text)


@pytest.mark.parametrize(
    ("what", "times", "error", "complaint"),
    [
        ("message", -1, ValueError, "times must be at least 0, not -1; None means no end"),
        ("message", 1.5, TypeError, "times must be of type int, not 1.5"),
        (["message"], 1, TypeError, r"what must be of type str, not \['message'\]"),
    ],
)
def test_orders_of_another_type(what: Any, times: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=f"^{complaint}$"):
        Refusals().refuse(what, 550, times=times)
