"""Parsing of the arguments of commands. Addresses and parameters have their own test modules."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.protocol import (
    Address,
    Auth,
    Hello,
    MailFrom,
    MailParameters,
    RcptParameters,
    RcptTo,
    Reply,
    Verify,
    replies,
)
from trio_smtp.protocol.commands import (
    CommandError,
    decode_base64,
    parse_auth,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
    parse_verify,
    refuse_controls,
)

LETTERS = string.ascii_letters.encode()
NOTHING: frozenset[bytes] = frozenset()
EVERYTHING = frozenset({b"SIZE", b"BODY", b"SMTPUTF8", b"RET", b"ENVID", b"AUTH", b"NOTIFY", b"ORCPT"})


def refusal(excinfo: pytest.ExceptionInfo[CommandError]) -> Reply:
    return excinfo.value.reply


@pytest.mark.parametrize(
    ("argument", "domain"),
    [
        (b"c.example", "c.example"),
        (b"[127.0.0.1]", "[127.0.0.1]"),
        (b"a_b", "a_b"),
        (b"-", "-"),
        (b"x" * 255, "x" * 255),
        ("ç.example".encode(), "ç.example"),
    ],
)
def test_hello(argument: bytes, domain: str) -> None:
    assert parse_hello(b"EHLO", argument) == Hello("EHLO", domain)
    assert parse_hello(b"HELO", argument) == Hello("HELO", domain)
    assert parse_hello(b"LHLO", argument) == Hello("LHLO", domain)


@pytest.mark.parametrize("argument", [b"", b"a b", b"a\tb", b"a\0", b"\x7f", b"\xff", b"x" * 256, "a\x85".encode()])
def test_bad_hello(argument: bytes) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_hello(b"EHLO", argument)
    assert refusal(excinfo) is replies.SYNTAX_HELLO


@pytest.mark.parametrize(
    ("argument", "event"),
    [
        (b"FROM:<a@b>", MailFrom(Address("a", "b"), MailParameters())),
        (b"from:<a@b> SIZE=5", MailFrom(Address("a", "b"), MailParameters(size=5))),
        (b"FROM:<>", MailFrom(None, MailParameters())),
        (b"FROM:<> BODY=8BITMIME", MailFrom(None, MailParameters(body="8BITMIME"))),
        ("FROM:<é@b> SMTPUTF8".encode(), MailFrom(Address("é", "b"), MailParameters(smtputf8=True))),
        ("FROM:<a@é> SMTPUTF8".encode(), MailFrom(Address("a", "é"), MailParameters(smtputf8=True))),
        ("FROM:<a@b> AUTH=é@c".encode(), MailFrom(Address("a", "b"), MailParameters(auth="é@c"))),
        ("FROM:<> AUTH=é@c".encode(), MailFrom(None, MailParameters(auth="é@c"))),
    ],
)
def test_mail(argument: bytes, event: MailFrom) -> None:
    assert parse_mail(argument, EVERYTHING) == event


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", replies.SYNTAX_MAIL),
        (b"<a@b>", replies.SYNTAX_MAIL),
        (b"TO:<a@b>", replies.SYNTAX_MAIL),
        (b"FROM <a@b>", replies.SYNTAX_MAIL),
        (b"FROM:", replies.SYNTAX_MAIL),
        (b"FROM:a@b", replies.SYNTAX_MAIL),
        (b"FROM: <a@b>", replies.SYNTAX_MAIL),
        (b"FROM:<a@b", replies.BAD_SENDER),
        (b"FROM:<%b@b>" % (b"x" * 65), replies.SENDER_TOO_LONG),
        (b"FROM:<a@b>SIZE=5", replies.SYNTAX_ERROR),
        (b"FROM:<a@b>x", replies.SYNTAX_ERROR),
        (b"FROM:<a@b> =", replies.SYNTAX_ERROR),
        (b"FROM:<a@b> SIZE=x", replies.SYNTAX_ERROR),
        (b"FROM:<a@b> X=1", replies.UNKNOWN_PARAMETER),
        (b"FROM:<a@b> NOTIFY=NEVER", replies.UNKNOWN_PARAMETER),
        ("FROM:<é@b>".encode(), replies.NEED_SMTPUTF8),
        ("FROM:<a@é> SIZE=1".encode(), replies.NEED_SMTPUTF8),
    ],
)
def test_bad_mail(argument: bytes, reply: Reply) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_mail(argument, EVERYTHING)
    assert refusal(excinfo) is reply


def test_a_parameter_needs_its_extension() -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_mail(b"FROM:<a@b> SIZE=5", NOTHING)
    assert refusal(excinfo) is replies.UNKNOWN_PARAMETER


@pytest.mark.parametrize(
    ("argument", "event"),
    [
        (b"TO:<a@b>", RcptTo(Address("a", "b"), RcptParameters())),
        (b"to:<postmaster>", RcptTo(Address("postmaster", ""), RcptParameters())),
        (b"TO:<a@b> NOTIFY=NEVER", RcptTo(Address("a", "b"), RcptParameters(notify=frozenset({"NEVER"})))),
        ("TO:<a@b> ORCPT=utf-8;é@c".encode(), RcptTo(Address("a", "b"), RcptParameters(orcpt=("utf-8", "é@c")))),
    ],
)
def test_rcpt(argument: bytes, event: RcptTo) -> None:
    assert parse_rcpt(argument, EVERYTHING, smtputf8=False) == event


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", replies.SYNTAX_RCPT),
        (b"FROM:<a@b>", replies.SYNTAX_RCPT),
        (b"TO:<>", replies.BAD_RECIPIENT),
        (b"TO:a@b", replies.SYNTAX_RCPT),
        (b"TO:<a>", replies.BAD_RECIPIENT),
        (b"TO:<%b@b>" % (b"x" * 65), replies.RECIPIENT_TOO_LONG),
        (b"TO:<a@b> NOTIFY=", replies.SYNTAX_ERROR),
        (b"TO:<a@b> SIZE=5", replies.UNKNOWN_PARAMETER),
        ("TO:<é@b>".encode(), replies.NEED_SMTPUTF8),
    ],
)
def test_bad_rcpt(argument: bytes, reply: Reply) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_rcpt(argument, EVERYTHING, smtputf8=False)
    assert refusal(excinfo) is reply


def test_rcpt_with_smtputf8() -> None:
    assert parse_rcpt("TO:<é@b>".encode(), NOTHING, smtputf8=True).recipient == Address("é", "b")


@pytest.mark.parametrize("argument", ["bob", "Bob Smith <bob@b.example>", "bób", "SMTPUTF8", "bob SMTPUTF8=1"])
def test_verify(argument: str) -> None:
    assert parse_verify(argument.encode()) == Verify(argument)


@pytest.mark.parametrize("argument", ["bób SMTPUTF8", "bób  smtputf8"])
def test_verify_with_its_parameter(argument: str) -> None:
    """RFC 6531 §3.7.4.2: the parameter is not part of the name."""
    assert parse_verify(argument.encode()) == Verify("bób")


@pytest.mark.parametrize("argument", [b"", b"\xff", b"bob\0", b"\x1b[0m", b"\x7f", "bob\x85".encode()])
def test_bad_verify(argument: bytes) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_verify(argument)
    assert refusal(excinfo) is replies.SYNTAX_VRFY


@pytest.mark.parametrize(
    ("argument", "event"),
    [
        (b"PLAIN", Auth("PLAIN", None)),
        (b"plain", Auth("PLAIN", None)),
        (b"SCRAM-SHA-256", Auth("SCRAM-SHA-256", None)),
        (b"X_1", Auth("X_1", None)),
        (b"PLAIN =", Auth("PLAIN", b"")),
        (b"PLAIN  AGEAYg==", Auth("PLAIN", b"\0a\0b")),
    ],
)
def test_auth(argument: bytes, event: Auth) -> None:
    assert parse_auth(argument) == event


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", replies.SYNTAX_AUTH),
        (b"X" * 21, replies.SYNTAX_AUTH),
        (b"PLAIN!", replies.SYNTAX_AUTH),
        ("PLA\u0131N".encode(), replies.SYNTAX_AUTH),
        (b"PLAIN A A", replies.SYNTAX_AUTH),
        (b"PLAIN *", replies.BAD_BASE64),
        (b"PLAIN A\0==", replies.BAD_BASE64),
        (b"PLAIN AGEAYg=", replies.BAD_BASE64),
        (b"PLAIN ==", replies.BAD_BASE64),
    ],
)
def test_bad_auth(argument: bytes, reply: Reply) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_auth(argument)
    assert refusal(excinfo) is reply


@given(st.binary(max_size=100))
def test_base64(data: bytes) -> None:
    assert decode_base64(base64.b64encode(data)) == data


@pytest.mark.parametrize(
    "data",
    [b"A", b"AA", b"AAA", b"AAAAA", b"A===", b"AA=", b"AA=A", b"AAA==", b"====", b"AAAA====", b"AA==AAAA", b"AA==AA=="],
)
def test_base64_padding(data: bytes) -> None:
    with pytest.raises(CommandError) as excinfo:
        decode_base64(data)
    assert refusal(excinfo) is replies.BAD_BASE64


@pytest.mark.parametrize("octet", set(range(256)) - set(base64.b64encode(bytes(range(256)))))
def test_base64_alphabet(octet: int) -> None:
    for data in (b"AAA%c", b"%cAAA", b"AAAA%c", b"AA%c="):
        with pytest.raises(CommandError):
            decode_base64(data % octet)


def test_all_of_the_base64_alphabet() -> None:
    for letter in LETTERS + b"0123456789+/":
        for data in (b"AAA%c", b"%cAAA", b"AA%c=", b"%cA==", b"A%c=="):
            assert decode_base64(data % letter) == base64.b64decode(data % letter)


def takes(parse: Callable[[bytes], object], argument: bytes) -> bool:
    try:
        parse(argument)
    except CommandError:
        return False
    return True


@pytest.mark.parametrize(
    ("parse", "argument", "octets"),
    [
        (parse_auth, b"%c", LETTERS + b"0123456789-_"),
        (parse_auth, b"X%c1", LETTERS + b"0123456789-_"),
        (parse_auth, b"X 123%c", LETTERS + b"0123456789+/="),
        (parse_bdat, b"%c", b"0123456789"),
        (parse_bdat, b"1%c1", b"0123456789"),
        (parse_bdat, b"1%cLAST", b" "),
    ],
)
def test_which_octets_may_stand_there(parse: Callable[[bytes], object], argument: bytes, octets: bytes) -> None:
    assert {octet for octet in range(256) if takes(parse, argument % octet)} == {*octets}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"0", (0, False)),
        (b"5", (5, False)),
        (b"0 LAST", (0, True)),
        (b"86400 last", (86400, True)),
        (b"007  Last", (7, True)),
        (b"9" * 20, (10**20 - 1, False)),
    ],
)
def test_bdat(argument: bytes, expected: tuple[int, bool]) -> None:
    assert parse_bdat(argument) == expected


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"-1",
        b"+1",
        b"1_0",
        b"0x1",
        b"1.0",
        "\u0661".encode(),
        b"9" * 21,
        b"1 FOO",
        b"1LAST",
        b"LAST",
        b"1 LAST x",
        b"1\n",
    ],
)
def test_bad_bdat(argument: bytes) -> None:
    with pytest.raises(CommandError) as excinfo:
        parse_bdat(argument)
    assert refusal(excinfo) is replies.SYNTAX_BDAT


def test_controls() -> None:
    refuse_controls(bytes(set(range(256)) - {*range(32), 127}))
    for octet in (*range(32), 127):
        with pytest.raises(CommandError) as excinfo:
            refuse_controls(b"a" + bytes([octet]))
        assert refusal(excinfo) is replies.SYNTAX_ERROR
