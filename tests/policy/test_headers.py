"""`HeaderLimits`: mail loops, and header sections with too many fields or octets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.policy.tools import ENVELOPE, session
from trio_smtp.handler import Refuse
from trio_smtp.policy import HeaderLimits

RECEIVED = b"Received: from a by b;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
ANSWERS = {"mail-loop": (554, "5.4.6"), "header-fields": (554, "5.6.0"), "header-size": (552, "5.3.4")}


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (b"", None),
        (b"Subject: hello\r\n", None),
        (RECEIVED * 3, None),
        (RECEIVED * 4, "mail-loop"),
        (RECEIVED.upper() * 4, "mail-loop"),
        (RECEIVED.replace(b":", b" \t:", 1) * 4, "mail-loop"),
        (b"Subject: x\r\n" + RECEIVED * 4, "mail-loop"),
        (b"X-Received: x\r\n" * 5, None),
        (b"Subject: Received: x\r\n Received: x\r\n" * 5, None),
        (b"A: x\r\n" * 10, None),
        (b"A: x\r\n" * 10 + b" x\r\n", None),
        (b"A: x\r\n" * 11, "header-fields"),
        (b"A: x\r\n" + b" x\r\n" * 100, None),
        (b"Subject: " + b"x" * 989 + b"\r\n", None),
        (b"Subject: " + b"x" * 990 + b"\r\n", "header-size"),
    ],
)
async def test_what_is_refused(header: bytes, rule: str | None) -> None:
    policy = HeaderLimits(received=3, fields=10, size=1000)
    if rule is None:
        await policy.header(session(), ENVELOPE, header)
    else:
        with pytest.raises(Refuse) as raised:
            await policy.header(session(), ENVELOPE, header)
        assert raised.value.rule == rule
        assert (raised.value.reply.code, raised.value.reply.enhanced) == ANSWERS[rule]


async def test_no_limit() -> None:
    policy = HeaderLimits(received=None, fields=None, size=None)
    await policy.header(session(), ENVELOPE, RECEIVED * 5_000)


async def test_all_that_a_policy_sees_can_be_limited() -> None:
    await HeaderLimits(size=1 << 20).header(session(), ENVELOPE, b"A: " + b"x" * 1000)


@pytest.mark.parametrize("name", ["received", "fields", "size"])
@pytest.mark.parametrize(
    ("limit", "error", "complaint"),
    [
        (-1, ValueError, "must be at least 0, not -1; None means no limit"),
        ("5", TypeError, "must be of type int, not '5'"),
        (math.nan, TypeError, "must be of type int, not nan"),
    ],
)
def test_limits_that_make_no_sense(name: str, limit: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=rf"^HeaderLimits\.{name} {complaint}$"):
        HeaderLimits(**{name: limit})


def test_more_than_a_policy_sees_cannot_be_limited() -> None:
    with pytest.raises(ValueError, match="at most 1 MiB"):
        HeaderLimits(size=(1 << 20) + 1)
