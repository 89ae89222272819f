"""ESMTP parameters: RFC 5321 §4.1.1.11, RFC 1870, RFC 3461, RFC 4954 §5, RFC 6152, RFC 6531."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.protocol.grammar import GrammarError
from trio_smtp.protocol.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    MailParameters,
    RcptParameters,
    parse_mail_parameters,
    parse_rcpt_parameters,
)

MAIL_KEYWORDS = frozenset({b"SIZE", b"BODY", b"SMTPUTF8", b"RET", b"ENVID", b"AUTH"})
RCPT_KEYWORDS = frozenset({b"NOTIFY", b"ORCPT"})


def mail(text: str | bytes) -> MailParameters:
    return parse_mail_parameters(text if isinstance(text, bytes) else text.encode(), 0, MAIL_KEYWORDS)


def rcpt(text: str | bytes) -> RcptParameters:
    return parse_rcpt_parameters(text if isinstance(text, bytes) else text.encode(), 0, RCPT_KEYWORDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" SIZE=0", MailParameters(size=0)),
        (" size=007", MailParameters(size=7)),
        (" SIZE=99999999999999999999", MailParameters(size=10**20 - 1)),
        (" BODY=7BIT", MailParameters(body="7BIT")),
        (" Body=8bitMime", MailParameters(body="8BITMIME")),
        (" BODY=BINARYMIME", MailParameters(body="BINARYMIME")),
        (" SMTPUTF8", MailParameters(smtputf8=True)),
        (" smtputf8", MailParameters(smtputf8=True)),
        (" RET=full", MailParameters(ret="FULL")),
        (" RET=HDRS", MailParameters(ret="HDRS")),
        (" ENVID=QQ314159", MailParameters(envid="QQ314159")),
        (" ENVID=a+20b+2Bc+3Dd", MailParameters(envid="a b+c=d")),
        (" ENVID=" + "x" * 100, MailParameters(envid="x" * 100)),
        (" ENVID=CaSe", MailParameters(envid="CaSe")),
        (" AUTH=<>", MailParameters(auth="<>")),
        (" AUTH=e+3Dmc2@example.com", MailParameters(auth="e=mc2@example.com")),
        (' AUTH="a+20b"@d', MailParameters(auth='"a b"@d')),
        (" AUTH=+3C+3E", MailParameters(auth="<>")),
        (" AUTH=é@d", MailParameters(auth="é@d")),
        (" AUTH=+C3+A9@d", MailParameters(auth="é@d")),
        (" SIZE=1 BODY=8BITMIME", MailParameters(size=1, body="8BITMIME")),
        ("   SIZE=1   SMTPUTF8", MailParameters(size=1, smtputf8=True)),
        ("", NO_MAIL_PARAMETERS),
    ],
)
def test_mail_parameters(text: str, expected: MailParameters) -> None:
    assert mail(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" NOTIFY=NEVER", RcptParameters(notify=frozenset({"NEVER"}))),
        (" notify=never", RcptParameters(notify=frozenset({"NEVER"}))),
        (" NOTIFY=SUCCESS", RcptParameters(notify=frozenset({"SUCCESS"}))),
        (" NOTIFY=Failure,delay,SUCCESS", RcptParameters(notify=frozenset({"SUCCESS", "FAILURE", "DELAY"}))),
        (" NOTIFY=DELAY,DELAY", RcptParameters(notify=frozenset({"DELAY"}))),
        (" ORCPT=rfc822;u@d", RcptParameters(orcpt=("rfc822", "u@d"))),
        (" ORCPT=RFC822;u+2Btag@d", RcptParameters(orcpt=("RFC822", "u+tag@d"))),
        (" ORCPT=X400;/C+3Dno/S+3Da+20b;c/", RcptParameters(orcpt=("X400", "/C=no/S=a b;c/"))),
        (" ORCPT=rfc822;" + "x" * 493, RcptParameters(orcpt=("rfc822", "x" * 493))),
        (" ORCPT=utf-8;u@d", RcptParameters(orcpt=("utf-8", "u@d"))),
        (" ORCPT=UTF-8;почта@d", RcptParameters(orcpt=("UTF-8", "почта@d"))),
        (r" ORCPT=utf-8;\x{E9}\x{2B}\x{436}\x{20AC}\x{D7FF}\x{1F4EE}\x{10FFFD}@d", RcptParameters(
            orcpt=("utf-8", "é+ж€\ud7ff\U0001f4ee\U0010fffd@d")
        )),
        (" ORCPT=rfc822;a\\b", RcptParameters(orcpt=("rfc822", "a\\b"))),
        (" NOTIFY=NEVER ORCPT=rfc822;u@d", RcptParameters(frozenset({"NEVER"}), ("rfc822", "u@d"))),
        ("", NO_RCPT_PARAMETERS),
    ],
)  # fmt: skip
def test_rcpt_parameters(text: str, expected: RcptParameters) -> None:
    assert rcpt(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        # SIZE: at most 20 ASCII digits; nothing else that int() accepts
        " SIZE",
        " SIZE=",
        " SIZE=-1",
        " SIZE=+5",
        " SIZE=1_0",
        " SIZE= 5",
        " SIZE=0x10",
        " SIZE=1e3",
        " SIZE=١٢",
        " SIZE=²",
        " SIZE=100000000000000000000",
        " SIZE=" + "9" * 400,
        " SIZE=" + "9" * 5_000,
        # Words of a fixed set
        " BODY",
        " BODY=9BIT",
        " BODY=8BITMIME,7BIT",
        " BODY=8bıtmime",
        " RET",
        " RET=NONE",
        " SMTPUTF8=1",
        " SMTPUTF8=",
        # xtext: strict, and no encoded control characters
        " ENVID",
        " ENVID=",
        " ENVID=" + "x" * 101,
        " ENVID=a+",
        " ENVID=a+2",
        " ENVID=a+2b",
        " ENVID=a+GG",
        " ENVID=a=b",
        " ENVID=a+0D+0Ab",
        " ENVID=a+00",
        " ENVID=a+7F",
        " ENVID=é",
        " ENVID=+C3+A9",
        " AUTH",
        " AUTH=user",
        " AUTH=<u@d>",
        " AUTH=u@d+0D+0A",
        " AUTH=u+00@d",
        " AUTH=+FF@d",
        " AUTH=" + "u" * 65 + "@d",
        " AUTH=é+C2+85@d",
        # The same twice
        " SIZE=1 SIZE=1",
        " size=1 SIZE=2",
        " BODY=7BIT SIZE=1 BODY=7BIT",
        " SMTPUTF8 SMTPUTF8",
        # Separators
        "SIZE=1",
        " ",
        " SIZE=1 ",
        "\tSIZE=1",
        " SIZE=1\tBODY=7BIT",
        " SIZE=1,BODY=7BIT",
        " =1",
        " -SIZE=1",
        " SI_ZE=1",
        " SIZE\x00=1",
        " SIZE=1\x00",
        " SIZE=1\r",
        " ſIZE=1",
    ],
)  # fmt: skip
def test_malformed_mail_parameters(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        mail(text)
    assert caught.value.kind == "parameter_syntax"


@pytest.mark.parametrize(
    "text",
    [
        " NOTIFY",
        " NOTIFY=",
        " NOTIFY=ALWAYS",
        " NOTIFY=SUCCESS,",
        " NOTIFY=,SUCCESS",
        " NOTIFY=NEVER,SUCCESS",
        " NOTIFY=DELAY,NEVER",
        " NOTIFY=NEVER,NEVER",
        " NOTIFY=NEVER NOTIFY=NEVER",
        " ORCPT",
        " ORCPT=rfc822",
        " ORCPT=rfc822;",
        " ORCPT=;u@d",
        " ORCPT=rfc 822;u@d",
        " ORCPT=rfc@822;u@d",
        " ORCPT=é;u@d",
        " ORCPT=é;é@d",
        " ORCPT=rfc822;é@d",
        " ORCPT=rfc822;+C3+A9@d",
        " ORCPT=rfc822;u+0D+0ADATA",
        " ORCPT=rfc822;u+00",
        " ORCPT=rfc822;u+2b@d",
        " ORCPT=rfc822;" + "x" * 494,
        " ORCPT=utf-8;" + r"\x{0D}\x{0A}",
        r" ORCPT=utf-8;\x{85}",
        r" ORCPT=utf-8;\x{D800}",
        r" ORCPT=utf-8;\x{110000}",
        r" ORCPT=utf-8;\x{e9}",
        r" ORCPT=utf-8;\x{E9",
        r" ORCPT=utf-8;\x{}",
        r" ORCPT=utf-8;a\b",
        r" ORCPT=utf-8;a+5Cb",
        " ORCPT=utf-8;+FF",
        " ORCPT=rfc822;u@d ORCPT=rfc822;u@d",
    ],
)  # fmt: skip
def test_malformed_rcpt_parameters(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        rcpt(text)
    assert caught.value.kind == "parameter_syntax"


@pytest.mark.parametrize("parse", [parse_mail_parameters, parse_rcpt_parameters])
@pytest.mark.parametrize(
    "text",
    [
        b" X=1",
        b" X",
        b" X-Y=z",
        b" 7=1",
        b" BY=120;R",
        b" MT-PRIORITY=3",
        b" REQUIRETLS",
        b" SIZE2=1",
        b" XSIZE=1",
    ],
)
def test_unknown_parameters(parse: Callable[[bytes, int, frozenset[bytes]], object], text: bytes) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(text, 0, MAIL_KEYWORDS | RCPT_KEYWORDS)
    assert caught.value.kind == "parameter_unknown"


@pytest.mark.parametrize(
    ("parse", "text", "keyword"),
    [
        (parse_mail_parameters, b" SIZE=1", b"SIZE"),
        (parse_mail_parameters, b" BODY=8BITMIME", b"BODY"),
        (parse_mail_parameters, b" SMTPUTF8", b"SMTPUTF8"),
        (parse_mail_parameters, b" RET=FULL", b"RET"),
        (parse_mail_parameters, b" ENVID=x", b"ENVID"),
        (parse_mail_parameters, b" AUTH=<>", b"AUTH"),
        (parse_rcpt_parameters, b" NOTIFY=NEVER", b"NOTIFY"),
        (parse_rcpt_parameters, b" ORCPT=rfc822;u@d", b"ORCPT"),
    ],
)
def test_parameters_of_extensions_that_were_not_advertised(
    parse: Callable[[bytes, int, frozenset[bytes]], object], text: bytes, keyword: bytes
) -> None:
    assert parse(text, 0, frozenset({keyword}))
    with pytest.raises(GrammarError) as caught:
        parse(text, 0, (MAIL_KEYWORDS | RCPT_KEYWORDS) - {keyword})
    assert caught.value.kind == "parameter_unknown"


def test_a_parameter_belongs_to_its_command() -> None:
    for parse, text in (
        (mail, " NOTIFY=NEVER"),
        (mail, " ORCPT=rfc822;u@d"),
        (rcpt, " SIZE=1"),
        (rcpt, " BODY=7BIT"),
        (rcpt, " SMTPUTF8"),
    ):
        with pytest.raises(GrammarError) as caught:
            parse(text)
        assert caught.value.kind == "parameter_unknown"


def test_parsing_begins_where_it_is_told_to() -> None:
    assert parse_mail_parameters(b"FROM:<u@d> SIZE=1", 10, MAIL_KEYWORDS) == MailParameters(size=1)


def test_parameters_are_values() -> None:
    assert mail(" SIZE=1") == mail(" size=01")
    assert hash(mail(" SIZE=1")) == hash(mail(" size=01"))
    assert hash(rcpt(" NOTIFY=DELAY,FAILURE")) == hash(rcpt(" NOTIFY=FAILURE,DELAY"))
    assert not hasattr(NO_MAIL_PARAMETERS, "__dict__")


def encode_xtext(text: str) -> str:
    """RFC 3461 §4."""
    return "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in text.encode())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=33))
def test_xtext_round_trip(text: str) -> None:
    assert mail(f" ENVID={encode_xtext(text)}").envid == text
    assert rcpt(f" ORCPT=x;{encode_xtext(text)}").orcpt == ("x", text)


def encode_unicode(text: str) -> str:
    """RFC 6533: QCHAR or EmbeddedUnicodeChar."""
    return "".join(c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in text)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40))
def test_utf_8_address_round_trip(text: str) -> None:
    assert rcpt(f" ORCPT=utf-8;{encode_unicode(text)}").orcpt == ("utf-8", text)


PIECES = ["1", "u", "u@d", "<>", "+2B", "+20", "+0D", "+0a", "+", "=", "\t", "é"]
VALUES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)


@given(
    st.permutations([" SIZE=1", " BODY=7BIT", " SMTPUTF8", " RET=HDRS"]),
    st.integers(0, 4),
    st.sampled_from([" ENVID=", " AUTH="]),
    VALUES,
)
def test_nothing_but_grammar_errors(others: list[str], before: int, keyword: str, value: str) -> None:
    others.insert(before, keyword + value)
    try:
        parameters = mail("".join(others))
    except GrammarError:
        return
    assert (parameters.size, parameters.body, parameters.smtputf8, parameters.ret) == (1, "7BIT", True, "HDRS")
    assert (parameters.envid is None) == (keyword == " AUTH=")
    assert (parameters.auth is None) == (keyword == " ENVID=")
    assert (parameters.envid or parameters.auth or "").isprintable()


@pytest.mark.parametrize(
    "unit", [" ", "A", "A-", "=", " A", " SIZE=1", "+", "+2B", ",", "DELAY,", "\\", "\\x{", "\\x{41}"]
)
def test_time_grows_with_the_length_only(unit: str) -> None:
    """If a regular expression backtracks, the timeout of the test run ends this test."""
    body = unit * 200_000
    for text in (body, f" {body}", f" SIZE={body}", f" ENVID={body}", f" AUTH={body}", f" BODY={body}"):
        with pytest.raises(GrammarError):
            mail(text)
    for text in (f" NOTIFY={body}", f" ORCPT={body}", f" ORCPT=utf-8;{body}"):
        with pytest.raises(GrammarError):
            rcpt(text)
