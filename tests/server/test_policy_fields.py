"""Header fields that policies add in front of a message."""

from __future__ import annotations

import string

import pytest

from tests.server.tools import CONTENT, DATA, TRANSACTION, Marking, begin, deliver, serving, take
from trio_smtp.handler import Body, Handler, Mail
from trio_smtp.protocol import Envelope


class Streaming(Handler):
    """Reads the body in chunks or, with `at_once`, the rest after the first chunk with one `read`."""

    taken: list[bytes]
    at_once = False

    async def message(self, envelope: Envelope, body: Body) -> None:
        parts = []
        async for chunk in body:
            parts.append(chunk)
            if self.at_once:
                parts.append(await body.read())
                break
        self.taken.append(b"".join(parts))


@pytest.mark.parametrize("at_once", [False, True, None])
@pytest.mark.parametrize("size", [0, 1_000, 3_000_000])
async def test_fields_are_put_in_front(size: int, at_once: bool | None) -> None:
    content = CONTENT + b"x" * size + b"\r\n"
    taken: list[bytes] = []

    async def on_mail(mail: Mail) -> None:
        taken.append(mail.content)

    handler = on_mail if at_once is None else type("It", (Streaming,), {"taken": taken, "at_once": at_once})
    spam = Marking(("X-Spam", "no"))
    async with serving(handler, spam, Marking(), Marking(("X-Seen", "a b"))) as (_, client):
        await begin(client)
        await deliver(client, content)
    assert taken == [b"X-Spam: no\r\nX-Seen: a b\r\n" + content]
    assert spam.asked == 1  # however often the handler reads


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", ""),
        ("X", "z" * 995),
        (string.digits + string.ascii_letters + string.punctuation.replace(":", ""), "\t " + string.punctuation),
    ],
)
async def test_what_may_stand_in_a_field_in_front(name: str, value: str) -> None:
    taken: list[bytes] = []

    async def on_mail(mail: Mail) -> None:
        taken.append(mail.content)

    async with serving(on_mail, Marking((name, value))) as (_, client):
        await begin(client)
        await deliver(client, CONTENT)
    assert taken == [f"{name}: {value}\r\n".encode() + CONTENT]


@pytest.mark.parametrize(
    ("fields", "front"),
    [([("X-Spam", "yes")], b"X-Spam: yes\r\n\r\n"), ([], b"")],
    ids=["a field", "none"],
)
async def test_a_message_does_not_continue_the_fields_in_front(fields: list[tuple[str, str]], front: bytes) -> None:
    taken: list[bytes] = []

    async def on_mail(mail: Mail) -> None:
        taken.append(mail.content)

    async with serving(on_mail, Marking(*fields)) as (_, client):
        await begin(client)
        await deliver(client, b" not\r\n")
    assert taken == [front + b" not\r\n"]


@pytest.mark.parametrize(
    "field",
    [
        *(("X" + character, "z") for character in " :\x7f\u00fc"),
        ("", "z"),
        ("X", "a\r\nB: c"),
        *(("X", character) for character in "\x1f\x7f\u00fc"),
        ("X", "z" * 996),
    ],
)
async def test_a_field_that_cannot_stand_there_is_a_fault_of_the_policy(field: tuple[str, str]) -> None:
    async with serving(take, Marking(field)) as (server, client):
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect("250", "250", "354", "451")
    assert server.stats.hook_errors == 1
