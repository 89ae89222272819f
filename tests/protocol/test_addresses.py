"""Parsing and printing of paths and mailboxes: RFC 5321 §4.1.2, §4.1.3, §4.5.3.1, RFC 6531 §3.3."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trio_smtp.protocol.addresses import Address, parse_path
from trio_smtp.protocol.grammar import GrammarError

VALID = [  # path, local part, domain, what str() gives if not the path without its brackets
    (b"<user@example.com>", "user", "example.com", None),
    (b"<USER@Example.COM>", "USER", "Example.COM", None),
    (b"<first.last+tag@mail.example.com>", "first.last+tag", "mail.example.com", None),
    (b"<!#$%&'*+-/=?^_`{|}~@d>", "!#$%&'*+-/=?^_`{|}~", "d", None),
    (b"<u@a-b--c.1-2>", "u", "a-b--c.1-2", None),
    (b"<u@1.2.3.4>", "u", "1.2.3.4", None),
    # Shell words are plain data (CVE-2020-7247).
    (b"<`id`@d>", "`id`", "d", None),
    (b"<|cmd@d>", "|cmd", "d", None),
    (b'<"x;sh"@d>', "x;sh", "d", None),
    (b'<"$(sh)"@d>', "$(sh)", "d", None),
    (b'<"../x"@d>', "../x", "d", None),
    # Quoted strings
    (b'<"a b"@c.de>', "a b", "c.de", None),
    (b'<"plain.dots"@d>', "plain.dots", "d", "plain.dots@d"),
    (rb'<"a\ \b"@d>', "a b", "d", '"a b"@d'),
    (rb'<"a\"b\\c"@d>', 'a"b\\c', "d", None),
    (rb'<"\~\ "@d>', "~ ", "d", '"~ "@d'),
    (b'<""@d>', "", "d", None),
    (b'<"@>,:"@d>', "@>,:", "d", None),
    (b'<".a"@d>', ".a", "d", None),
    # Source routes
    (b"<@a:u@d>", "u", "d", "u@d"),
    (b"<@a,@b.c:u@d>", "u", "d", "u@d"),
    ("<@пример.рф:u@d>".encode(), "u", "d", "u@d"),
    (b'<@a:"u v"@[1.2.3.4]>', "u v", "[1.2.3.4]", '"u v"@[1.2.3.4]'),
    # Address literals
    (b"<u@[127.0.0.1]>", "u", "[127.0.0.1]", None),
    (b"<u@[255.249.199.001]>", "u", "[255.249.199.001]", None),
    (b"<u@[IPv6:::1]>", "u", "[IPv6:::1]", None),
    (b"<u@[ipv6:2001:DB8::]>", "u", "[ipv6:2001:DB8::]", None),
    (b"<u@[IPv6x:1]>", "u", "[IPv6x:1]", None),
    (b"<u@[IPv6-x:1]>", "u", "[IPv6-x:1]", None),
    (b"<u@[X-25:1234;a,b]>", "u", "[X-25:1234;a,b]", None),
    (b"<u@[2001:db8::1]>", "u", "[2001:db8::1]", None),  # by the grammar a general address literal with the tag "2001"
    # UTF-8
    ("<почта@пример.рф>".encode(), "почта", "пример.рф", None),
    ('<"д д"@例え.jp>'.encode(), "д д", "例え.jp", None),
    ("<ſtefan@ǆ.example>".encode(), "ſtefan", "ǆ.example", None),
    ("<\U0001f4ee@d>".encode(), "\U0001f4ee", "d", None),
    # The postmaster of the server itself
    (b"<postmaster>", "postmaster", "", None),
    (b"<PostMaster>", "PostMaster", "", None),
    (b"<postmaster@example.com>", "postmaster", "example.com", None),
]

INVALID = [
    # Brackets
    b"",
    b"<",
    b"user@example.com",
    b"<user@example.com",
    b" <user@example.com>",
    b"< user@example.com>",
    b"<user@example.com >",
    b"<<user@example.com>>",
    # Local parts
    b"<a>",
    b"<@d>",
    b"<.a@d>",
    b"<a.@d>",
    b"<a..b@d>",
    b"<../../x@d>",
    b"<a b@d>",
    b"<x;sh@d>",
    b"<$(sh)@d>",
    b"<a(comment)@d>",
    b"<a\x00@d>",
    b'<"a@d>',
    b'<a"@d>',
    b'<"a"b@d>',
    b'<"a"."b"@d>',
    rb'<"a\"@d>',
    b'<"a\\\x01"@d>',
    b'<"a\tb"@d>',
    b'<"a\x00"@d>',
    b'<"a\x7f"@d>',
    '<"a\\é"@d>'.encode(),
    # Domains
    b"<a@>",
    b"<a@b@c>",
    b"<a@-d>",
    b"<a@d->",
    b"<a@d.>",
    b"<a@.d>",
    b"<a@d..e>",
    b"<a@d_e>",
    b"<a@d\x00>",
    b"<a@d\r>",
    # Source routes
    b"<@a,@b>",
    b"<@a,b:u@d>",
    b"<@a, @b:u@d>",
    b"<@a:@b:u@d>",
    b"<@:u@d>",
    b"<@a:>",
    b"<@a:postmaster>",
    b"<@\xff:u@d>",
    "<@a,@b\x85:u@d>".encode(),
    # Address literals
    b"<u@[]>",
    b"<u@[127.0.0.1>",
    b"<u@[256.0.0.1]>",
    b"<u@[1.2.3]>",
    b"<u@[1.2.3.4.5]>",
    b"<u@[0001.2.3.4]>",
    b"<u@[tag]>",
    b"<u@[tag:]>",
    b"<u@[tag-:x]>",
    b"<u@[tag:a b]>",
    b"<u@[tag:a]b]>",
    "<u@[tag:é]>".encode(),
    # UTF-8: invalid; overlong; a surrogate; beyond Unicode; truncated; C1 controls
    b"<\xff@d>",
    b"<\xc0\xafx@d>",
    b"<\xed\xa0\x80@d>",
    b"<\xf4\x90\x80\x80@d>",
    b"<u@\xd0>",
    "<a\x85b@d>".encode(),
    '<"a\x9b"@d>'.encode(),
    "<a@d\x80>".encode(),
    # Nearly the postmaster
    b"<postmaster@>",
    b"<postmasters>",
    b'<"postmaster">',
    "<poſtmaſter>".encode(),
]


@pytest.mark.parametrize(("path", "local_part", "domain", "written"), VALID)
def test_valid_paths(path: bytes, local_part: str, domain: str, written: str | None) -> None:
    address = Address(local_part, domain)
    assert parse_path(path, 0, reverse=False) == (address, len(path))
    assert str(address) == written or (written is None and f"<{address}>".encode() == path)
    assert Address.parse(str(address)) == Address.parse(str(address).encode()) == address


@pytest.mark.parametrize("path", INVALID)
def test_invalid_paths(path: bytes) -> None:
    for reverse in (False, True):
        with pytest.raises(GrammarError) as caught:
            parse_path(path, 0, reverse=reverse)
        assert caught.value.kind == "path_syntax"


def ipv6(groups: int) -> str:
    return ":".join(f"{group:x}" for group in range(0xFFF0, 0xFFF0 + groups))


IPV6 = [
    *((f"{ipv6(groups)}", groups == 8) for groups in range(1, 10)),
    *(
        (f"{ipv6(before)}::{ipv6(after)}", before + after <= 6)
        for before in range(8)
        for after in range(8)
    ),
    *((f"{ipv6(groups)}:192.0.2.1", groups == 6) for groups in range(1, 9)),
    *(
        (f"{ipv6(before)}::{ipv6(after)}{':' * (after > 0)}192.0.2.1", before + after <= 4)
        for before in range(6)
        for after in range(6)
    ),
    (":", False),
    (":::", False),
    ("1::2::3", False),
    (":1:2:3:4:5:6:7", False),
    ("1:2:3:4:5:6:7:", False),
    ("1:2:3:4:5:6:7:12345", False),
    *((f"12345{rest}", False) for rest in ("::", "::1", ":1::", "::192.0.2.1", ":1::192.0.2.1")),
    *((f"::12345{rest}", False) for rest in ("", ":1", ":192.0.2.1", ":1:192.0.2.1")),
    ("1:2:3:4:5:12345:192.0.2.1", False),
    ("::g", False),
    ("::1%eth0", False),
    ("::192.0.2.256", False),
    ("::192.0.2", False),
    ("::192.0.2.1:1", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "valid"), IPV6)
def test_ipv6_literals(text: str, valid: bool) -> None:
    """RFC 5321 §4.1.3: ``::`` stands for two groups at least."""
    mailbox = f"u@[IPv6:{text}]"
    if valid:
        assert str(Address.parse(mailbox)) == mailbox
    else:
        with pytest.raises(GrammarError):
            Address.parse(mailbox)


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        (b"<" + b"l" * 64 + b"@d>", True),
        (b"<" + b"l" * 65 + b"@d>", False),
        (b'<"' + b" " * 62 + b'"@d>', True),
        (b'<"' + b" " * 63 + b'"@d>', False),
        (b'<"' + b"\\ " * 32 + b'"@d>', False),
        (("<" + "é" * 32 + "@d>").encode(), True),
        (("<" + "é" * 33 + "@d>").encode(), False),
        (b"<u@" + b"d" * 252 + b">", True),
        (b"<u@" + b"d" * 253 + b">", False),
        (b"<u@" + b"d" * 256 + b">", False),
        (b"<@" + b"r" * 249 + b":u@d>", True),
        (b"<@" + b"r" * 250 + b":u@d>", False),
        (b"<" + b"u" * 150 + b"@" + b"d" * 147 + b">", False),
    ],
)
def test_limits(path: bytes, fits: bool) -> None:
    """RFC 5321 §4.5.3.1: 64 octets of local part, 256 of path."""
    if fits:
        assert parse_path(path, 0, reverse=False)[1] == len(path)
    else:
        with pytest.raises(GrammarError) as caught:
            parse_path(path, 0, reverse=False)
        assert caught.value.kind == "path_too_long"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this is not a mail address"),
        ("user", "this is not a mail address"),
        ("<user@example.com>", "this is not a mail address"),
        ("@a:user@example.com", "this is not a mail address"),
        ("user@example.com>", "this is not a mail address"),
        ("user@example.com> ", "this is not a mail address"),
        ("user@example.com\n", "this is not a mail address"),
        ("\udcff@example.com", "this is not a mail address"),
        ("u@" + "d" * 253, "the address is too long: 64 octets before the @ and 254 in all are allowed"),
    ],
)
def test_text_that_is_no_address(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        Address.parse(text)


def test_null_path_where_it_is_allowed() -> None:
    assert parse_path(b"FROM:<> SIZE=1", 5, reverse=True) == (None, 7)
    with pytest.raises(GrammarError) as caught:
        parse_path(b"TO:<>", 3, reverse=False)
    assert caught.value.kind == "path_syntax"


@pytest.mark.parametrize("path", [b"<postmaster>", b"<PostMaster>"])
def test_the_postmaster_without_a_domain_sends_nothing(path: bytes) -> None:
    """RFC 5321 §2.3.5: this form is for RCPT only."""
    with pytest.raises(GrammarError) as caught:
        parse_path(path, 0, reverse=True)
    assert caught.value.kind == "path_syntax"


def test_path_ends_where_the_parameters_begin() -> None:
    assert parse_path(b"FROM:<u@d> SIZE=1 X=>", 5, reverse=True) == (Address("u", "d"), 10)


@pytest.mark.parametrize(
    ("address", "is_ascii"),
    [("u@d", True), ("é@d", False), ("u@é", False), ("postmaster", True), ('"a b"@d', True)],
)
def test_is_ascii(address: str, is_ascii: bool) -> None:
    assert Address.parse(address).is_ascii is is_ascii


def test_addresses_are_values() -> None:
    address = Address("u", "d")
    assert address == Address.parse("u@d")
    assert address != Address.parse("U@d") != Address.parse("U@D")
    assert {address: 1}[Address("u", "d")] == 1
    assert repr(address) == "Address(local_part='u', domain='d')"
    assert not hasattr(address, "__dict__")


@pytest.mark.parametrize(
    ("compare", "one", "other"),
    [
        (operator.eq, Address("u", "d"), "u@d"),
        (operator.eq, "u@d", Address("u", "d")),
        (operator.contains, ["u@d"], Address("u", "d")),
    ],
)
def test_an_address_is_no_text(compare: Callable[[object, object], bool], one: object, other: object) -> None:
    with pytest.warns(UserWarning, match=r"compare str\(address\)") as noted:
        assert compare(one, other) is False
    assert noted[0].filename == __file__


def test_an_address_is_nothing_else() -> None:
    assert not operator.eq(Address("u", "d"), b"u@d")
    assert not operator.eq(Address("u", "d"), None)


# Characters that mean something in a path come more often than the others.
local_parts = st.text(
    st.one_of(
        st.sampled_from('.@"\\<>,: ()'),
        st.characters(exclude_categories=("Cc", "Cs")),
    ),
    max_size=32,
)
domains = st.from_regex(r"(?a:[a-z0-9é][a-z0-9-]{0,9}[a-z0-9é])(\.[a-z0-9]{1,9}){0,3}", fullmatch=True)


@given(local_parts, domains)
def test_what_is_written_reads_the_same(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assume(len(str(address).removesuffix(f"@{domain}").encode()) <= 64)
    assert Address.parse(str(address)) == address


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_control_character_comes_through(text: str) -> None:
    for mailbox in (f"{text}@d", f'"{text}"@d', f"u@{text}", f"u@[x:{text}]"):
        try:
            address = Address.parse(mailbox)
        except GrammarError:
            continue
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", address.local_part + address.domain)


@given(st.from_regex(rb"<[a-z0-9.+-]{1,64}@[a-z0-9.-]{1,64}>", fullmatch=True))
def test_usual_form_against_its_definition(path: bytes) -> None:
    """The expected result comes from a second implementation, of the grammar without quotes, literals and UTF-8."""
    local_part, domain = path[1:-1].decode().split("@")
    if all(local_part.split(".")) and all(label and label.strip("-") == label for label in domain.split(".")):
        assert parse_path(path, 0, reverse=False) == (Address(local_part, domain), len(path))
    else:
        with pytest.raises(GrammarError):
            parse_path(path, 0, reverse=False)


@pytest.mark.parametrize(
    "unit",
    [
        b"a",
        b"a.",
        b".",
        b"-",
        b"a-",
        b"@",
        b"@a,",
        b"@a:",
        b"\\",
        b'"',
        b"[",
        b":",
        b"1:",
        b"[IPv6:",
        b"\xc3",
        b"1.",
    ],
)
def test_time_grows_with_the_length_only(unit: bytes) -> None:
    """If a regular expression backtracks, the timeout of the test run ends this test."""
    body = unit * 500_000
    for path in (body, body + b"@", b"u@" + body, b'"' + body, b"@" + body, b"@a:" + body, b"u@[" + body):
        for loose in (False, True):
            with pytest.raises(GrammarError):
                parse_path(b"<" + path, 0, reverse=True, loose=loose)
