"""Address fields: names, comments, groups, encoded words, obsolete and broken forms (RFC 5322 §3.4, §4.4)."""

from __future__ import annotations

import pytest

from trio_smtp.mime.addresses import read_addresses


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("a@b", [("", "a@b")]),
        (" a@b , c@d ", [("", "a@b"), ("", "c@d")]),
        ("a@b, , ,c@d,", [("", "a@b"), ("", "c@d")]),
        ("Ann <a@b>", [("Ann", "a@b")]),
        ("Ann  B.\r\n\tC. <a@b>", [("Ann B. C.", "a@b")]),
        ('"B, Ann" <a@b>', [("B, Ann", "a@b")]),
        (r'"Ann \"A\" \\ B" <a@b>', [(r'Ann "A" \ B', "a@b")]),
        ('"a@b" <c@d>', [("a@b", "c@d")]),
        ("<a@b>", [("", "a@b")]),
        ("< a@b >", [("", "a@b")]),
        ("<>", []),
        ('"quoted local"@b', [("", '"quoted local"@b')]),
        ('<"a>b,c"@d>', [("", '"a>b,c"@d')]),
        ("a@[IPv6:::1]", [("", "a@[IPv6:::1]")]),
        ("Ann <a@[192.0.2.1]>", [("Ann", "a@[192.0.2.1]")]),
        # comments
        ("a@b (Ann B)", [("Ann B", "a@b")]),
        ("a@b (Ann (the \\) first) B)", [("Ann (the ) first) B", "a@b")]),
        ("Ann <a@b> (a comment)", [("Ann", "a@b")]),
        ('(it"s) a@b, c@d', [('it"s', "a@b"), ("", "c@d")]),
        ("(nobody) , a@b,(and) (more)", [("", "a@b")]),
        # groups
        ("Hidden  :(nobody (that I know))  ;", []),
        ("team: a@b; (the end)", [("", "a@b")]),
        ("undisclosed-recipients:;", []),
        ("team: a@b, Ann <c@d>; e@f", [("", "a@b"), ("Ann", "c@d"), ("", "e@f")]),
        # encoded words are decoded after the field is split into addresses
        ("=?utf-8?q?B=2C_Ann?= <a@b>", [("B, Ann", "a@b")]),
        ("=?utf-8?q?x=40y=3E=2C?= <a@b>", [("x@y>,", "a@b")]),
        ('"=?utf-8?b?w6Q=?=" <a@b>', [("ä", "a@b")]),
        ("=?utf-8?q?a?= =?utf-8?q?b?= c <a@b>", [("ab c", "a@b")]),
        ("=?utf-8?q?a,b;c?= <a@b>", [("a,b;c", "a@b")]),
        ("=?utf-8?q?a=0D=0Ab?= <a@b>", [("a b", "a@b")]),
        ("Jörg <jörg@b>", [("Jörg", "jörg@b")]),
        ("=?utf-8?q?a?=,=?utf-8?q?b?= <c@d>", [("a", ""), ("b", "c@d")]),
        ("=?utf-8?q?a, b?= <c@d>", [("=?utf-8?q?a", ""), ("b?=", "c@d")]),
        ("=?utf-8?q?a,b? <c@d>", [("=?utf-8?q?a", ""), ("b?", "c@d")]),
        ("=?utf-8?q?Ann_=3Ca=40b=3E?=", [("Ann <a@b>", "")]),
        # old and broken forms
        ("<@x,@y:a@b>", [("", "a@b")]),
        ("a@b; c@d", [("", "a@b"), ("", "c@d")]),
        ("Ann a@b", [("Ann", "a@b")]),
        ("root", [("", "root")]),
        ("Ann Example", [("Ann Example", "")]),
        ('"root"', [("root", "")]),
        ("a @ b", [("", "a@b")]),  # RFC 5322 §4.4
        ("a@ b", [("", "a@b")]),
        ("a @b", [("", "a@b")]),
        ("jdoe@test  . example", [("", "jdoe@test.example")]),
        ('Ann "a" . b @ c.d .e', [("Ann", '"a".b@c.d.e')]),
        ("Ann . B a@b", [("Ann . B", "a@b")]),
        ("Ann . B", [("Ann . B", "")]),
        ("<a@b> <c@d>", [("", "a@b"), ("", "c@d")]),
        ("Ann <a@b> Bob <c@d>", [("Ann", "a@b"), ("", "c@d")]),
        ("<a@b, c@d", [("", "a@b"), ("", "c@d")]),
        ("<a@b", [("", "a@b")]),
        ("a@b>", [("", "a@b")]),
        ('"Ann <a@b>', [("Ann <a@b>", "")]),
        ("(Ann a@b", [("Ann a@b", "")]),
        ('"\\', [("\\", "")]),
        ("[a", [("", "[a")]),
        ("a@[], b@c", [("", "a@[]"), ("", "b@c")]),
        ("a\0@b\x1b", [("", "a @b")]),
    ],
)
def test_read_addresses(value: str, expected: list[tuple[str, str]]) -> None:
    found = [(address.name, address.address) for address in read_addresses(value.encode()) if address]
    assert found == expected


@pytest.mark.parametrize(("value", "text"), [("Ann <a@b>", "Ann <a@b>"), ("a@b", "a@b"), ("Ann B", "Ann B <>")])
def test_as_text(value: str, text: str) -> None:
    assert [str(address) for address in read_addresses(value.encode())] == [text]
