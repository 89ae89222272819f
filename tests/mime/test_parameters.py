"""Parameters of header fields: quoted strings, comments, encoded words, RFC 2231 continuations and charsets."""

from __future__ import annotations

import pytest

from trio_smtp.mime.parameters import read_parameters


@pytest.mark.parametrize(
    ("value", "word", "parameters"),
    [
        ("", "", {}),
        (" Text/Plain", "text/plain", {}),
        ("text/plain (a comment); charset=utf-8", "text/plain", {"charset": "utf-8"}),
        ("text/plain;charset = UTF-8 ;Format=flowed", "text/plain", {"charset": "UTF-8", "format": "flowed"}),
        ('"text/plain"; charset="utf-8"', "text/plain", {"charset": "utf-8"}),
        ('"base64" ', "base64", {}),
        ("a/b; name=x; name=y", "a/b", {"name": "x"}),
        ("a/b;; ; name=x", "a/b", {"name": "x"}),
        ("a/b; name", "a/b", {}),
        ("a/b; =x", "a/b", {}),
        ("a/b; x; name=y", "a/b", {"name": "y"}),
        ("a/b;x;name=y", "a/b", {"name": "y"}),
        # without a semicolon
        ("a/b x=y; name=z", "a/b x=y", {"x": "y", "name": "z"}),
        ('a/b; x="y z"\r\n\tname=z q=1', "a/b", {"x": "y z", "name": "z q=1"}),
        ("a/b; x=y name=z", "a/b", {"x": "y"}),
        ('a/b; na"me=x', "a/b", {}),
        ("a/b; name=", "a/b", {"name": ""}),
        ('a/b; name="x; y=z"; q=1', "a/b", {"name": "x; y=z", "q": "1"}),
        (r'a/b; name="a\"b\\c\d"', "a/b", {"name": r'a"b\c\d'}),
        ('a/b; name="open; q=1', "a/b", {"name": "open; q=1"}),
        ('a/b; name="open\\', "a/b", {"name": "open\\"}),
        ("a/b; name=my file.txt; q=1", "a/b", {"name": "my file.txt", "q": "1"}),
        ('a/b;\r\n\tname="in two\r\n lines"', "a/b", {"name": "in two lines"}),
        ('a/b; name="in\n three\n\tli\nnes"', "a/b", {"name": "in three li nes"}),
        ('a/b; name="=?utf-8?q?=C3=A4?= =?utf-8?q?b?="', "a/b", {"name": "äb"}),
        ('a/b; name="ä"', "a/b", {"name": "ä"}),
        ("a/b; name= =?utf-8?q?a?= (b)", "a/b", {"name": "a (b)"}),
        ("a/b; boundary=x (a comment); q=1(2)", "a/b", {"boundary": "x", "q": "1"}),
        ("a/b; boundary=x\r\n (folded)", "a/b", {"boundary": "x"}),
        ('a/b; boundary="x (none)"; q="y" (one)', "a/b", {"boundary": "x (none)", "q": "y"}),
        ('a/b; boundary="=?utf-8?q?x?="; q==?utf-8?q?x?=', "a/b", {"boundary": "=?utf-8?q?x?=", "q": "=?utf-8?q?x?="}),
        # RFC 2231
        ('a/b; name*0="=?utf-8?q?=C3"; name*1="=A4?="', "a/b", {"name": "ä"}),
        ('a/b; x*0="=?utf-8?q?=C3"; x*1="=A4?="', "a/b", {"x": "=?utf-8?q?=C3=A4?="}),
        ("a/b; name*=utf-8''%C3%A4", "a/b", {"name": "ä"}),
        ("a/b; name*=iso-8859-1'de'%E4", "a/b", {"name": "ä"}),
        ("a/b; name*=rot13''%C3%A4", "a/b", {"name": "ä"}),
        ("a/b; name*=''%E4", "a/b", {"name": "ä"}),
        ("a/b; name*=%C3%A4", "a/b", {"name": "ä"}),
        ("a/b; name*=it's", "a/b", {"name": "it's"}),
        ("a/b; name*=utf-8''%", "a/b", {"name": "%"}),
        ("a/b; name*0=a; name*1=b", "a/b", {"name": "ab"}),
        ("a/b; name*1=b; name*0=a", "a/b", {"name": "ab"}),
        ("a/b; name*0*=utf-8''%C3; name*1*=%A4; name*2=%25", "a/b", {"name": "ä%25"}),
        ("a/b; name*0=\"a'b'c\"; name*1=d", "a/b", {"name": "a'b'cd"}),  # no charset, for it is not extended
        ("a/b; name*0=a; name*2=c", "a/b", {"name": "a"}),
        ("a/b; name*1=b", "a/b", {}),
        ("a/b; name*0=a; name*0=b", "a/b", {"name": "a"}),
        ("a/b; name=plain; name*=utf-8''%C3%A4", "a/b", {"name": "ä"}),
        ("a/b; *=x; **=y; *0*=z", "a/b", {"*": "y", "*0": "z"}),
        ("a/b; name*1*0=x; name**=y", "a/b", {"name*1": "x", "name*": "y"}),
        ("a/b; name*999999=x", "a/b", {"name*999999": "x"}),
    ],
)
def test_read_parameters(value: str, word: str, parameters: dict[str, str]) -> None:
    assert read_parameters(value.encode()) == (word, parameters)


def test_latin_1() -> None:
    assert read_parameters(b'a/b; name="\xe4"') == ("a/b", {"name": "ä"})
