"""`Reply`: what cannot be built, and what is sent. RFC 5321 §4.2, RFC 2034."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.dialogue import codes
from trio_smtp.protocol import Reply, replies

NAMED = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


@pytest.mark.parametrize(
    ("code", "text", "enhanced", "wire"),
    [
        (250, "OK", None, b"250 2.0.0 OK\r\n"),
        (250, "OK", "2.1.5", b"250 2.1.5 OK\r\n"),
        (250, "OK", "", b"250 OK\r\n"),
        (354, "Go on", None, b"354 Go on\r\n"),
        (451, "Later", None, b"451 4.0.0 Later\r\n"),
        (559, "No", "5.999.999", b"559 5.999.999 No\r\n"),
        (250, "", "", b"250\r\n"),
        (250, "", None, b"250 2.0.0\r\n"),
        (214, ("a", "b", "c"), None, b"214-2.0.0 a\r\n214-2.0.0 b\r\n214 2.0.0 c\r\n"),
        (250, ["mx.example", "SIZE 5"], "", b"250-mx.example\r\n250 SIZE 5\r\n"),
        (214, ("", ""), "", b"214-\r\n214\r\n"),
        (250, "a\tb ~", None, b"250 2.0.0 a\tb ~\r\n"),
        (250, "x" * 506, "", b"250 " + b"x" * 506 + b"\r\n"),
        (250, "x" * 500, None, b"250 2.0.0 " + b"x" * 500 + b"\r\n"),
    ],
)
def test_wire(code: int, text: str | Sequence[str], enhanced: str | None, wire: bytes) -> None:
    reply = Reply(code, text, enhanced)
    assert reply.wire == wire
    assert codes(wire) == [f"{code}/{reply.enhanced}"]


@pytest.mark.parametrize(("code", "error"), [(250.0, TypeError), ("250", ValueError), (None, ValueError)])
def test_a_code_is_a_whole_number(code: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"cannot be interpreted as an integer|is not an SMTP reply code"):
        Reply(code, "no")


def test_a_code_may_be_an_enum() -> None:
    class Code(int, enum.Enum):
        NO = 550

    assert Reply(Code.NO, "No").wire == b"550 5.0.0 No\r\n"


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (199, "no", None),
        (600, "no", None),
        (260, "no", None),
        (0, "no", None),
        (-250, "no", None),
        (250, "no", "5.0.0"),
        (550, "no", "4.1.1"),
        (354, "no", "2.0.0"),
        (354, "no", "3.0.0"),
        (550, "no", "5.1"),
        (550, "no", "5.1.1.1"),
        (550, "no", "5.1000.0"),
        (550, "no", "5.0.1000"),
        (550, "no", "5..0"),
        (550, "no", "5.0."),
        (550, "no", "5.1.1 "),
        (550, "no", "5.1.\u0661"),
        (250, (), None),
        (250, "a\r\nb", None),
        (250, "a\n", None),
        (250, "a\r", None),
        (250, ("a", "b\r\n250 c"), None),
        (250, "a\0b", None),
        (250, "\x1b[0m", None),
        (250, "a\x7fb", None),
        (250, "é", None),
        (250, "\u2028", None),
        (250, "x" * 507, ""),
        (250, "x" * 501, None),
        (250, ("x" * 501, "y"), None),
    ],
)
def test_what_cannot_be_built(code: int, text: str | Sequence[str], enhanced: str | None) -> None:
    with pytest.raises(ValueError, match=r"reply|enhanced|ASCII"):
        Reply(code, text, enhanced)


def mostly(good: st.SearchStrategy[str], bad: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(good, good, good, good, bad)


LINES = mostly(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=520), st.text(max_size=20))
ENHANCED = mostly(st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True), st.text(max_size=8))


@given(st.integers(2, 5), st.integers(0, 60), st.lists(LINES, max_size=3), st.sampled_from([None, ""]) | ENHANCED)
def test_what_can_be_built_is_one_reply(digit: int, rest: int, lines: list[str], enhanced: str | None) -> None:
    code = 100 * digit + rest
    try:
        reply = Reply(code, lines, enhanced)
    except ValueError:
        return
    assert reply.wire.count(b"\r\n") == len(lines)
    assert reply.wire.count(b"\r") == reply.wire.count(b"\n") == len(lines)
    assert reply.wire.isascii()
    assert all(line.startswith(b"%d" % code) and len(line) <= 510 for line in reply.wire.split(b"\r\n")[:-1])


def can_be_built(text: str, enhanced: str, code: int = 550) -> bool:
    try:
        Reply(code, text, enhanced)
    except ValueError:
        return False
    return True


def test_what_a_line_is_made_of() -> None:
    """RFC 5321 §4.2: textstring."""
    assert [code for code in range(256) if can_be_built(f"a{chr(code)}b", "5.0.0")] == [9, *range(32, 127)]


@pytest.mark.parametrize("form", ["5.%c.0", "5.0.%c"])
def test_what_an_enhanced_code_is_made_of(form: str) -> None:
    digits = "".join(chr(code) for code in range(256) if can_be_built("No", form % code))
    assert digits == "0123456789"


def test_parts() -> None:
    reply = Reply(550, ("No such user", "here"), "5.1.1")
    assert (reply.code, reply.enhanced, reply.lines) == (550, "5.1.1", ("No such user", "here"))
    assert reply.text == "No such user\nhere"
    assert repr(reply) == r"Reply(550, 'No such user\nhere', '5.1.1')"


@pytest.mark.parametrize("digit", [2, 3, 4, 5])
def test_what_the_first_digit_says(digit: int) -> None:
    """RFC 5321 §4.2.1, RFC 2034 §4."""
    for code in range(100 * digit, 100 * digit + 60):
        reply = Reply(code, "text")
        assert reply.positive is (digit <= 3)
        assert reply.enhanced == ("" if digit == 3 else f"{digit}.0.0")
        assert [first for first in "12345" if can_be_built("text", f"{first}.1.1", code)] == [str(digit)] * (digit != 3)


def test_without_enhanced_code() -> None:
    assert Reply(554, "No", "5.7.1").without_enhanced_code().wire == b"554 No\r\n"
    plain = Reply(220, "mx.example", "")
    assert plain.without_enhanced_code() is plain


def test_equality() -> None:
    assert Reply(250, "OK") == replies.OK
    assert hash(Reply(250, "OK")) == hash(replies.OK)
    assert len({replies.OK, Reply(250, "OK"), Reply(250, "ok")}) == 2
    assert Reply(250, "OK", "") != replies.OK
    assert replies.OK.wire != replies.OK


@pytest.mark.parametrize("name", NAMED)
def test_named_replies_have_enhanced_codes(name: str) -> None:
    """RFC 2034 §4: all replies except 3xx and those to EHLO and HELO."""
    assert bool(NAMED[name].enhanced) is (NAMED[name].code // 100 != 3 and name != "SYNTAX_HELLO")


def test_named_replies_are_different() -> None:
    assert len(set(NAMED.values())) == len(NAMED)
