"""HTML as plain text, and the links in HTML and in plain text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mime.html_text import find_links, html_to_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a\r\n  b\t c", "a b c"),
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<div>One</div><div>Two</div>", "One\nTwo"),
        ("<div><div>One</div></div>\n<div>Two</div>", "One\nTwo"),
        ("One<br>Two<BR/>Three<br />", "One\nTwo\nThree"),
        ("<ul><li>One</li><li>Two</li></ul>", "One\nTwo"),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1  2\n3"),
        ("<b>bo</b>ld", "bold"),
        ("<a title='a > b' href=\"http://example.com/?'a>\">x</a>", "x <http://example.com/?'a>>"),
        ("<a title='<'>x</a>", "<a title='<'>x"),
        ("<a title=> href=x>y</a>", "href=x>y"),
        ("<p" + " a='>'" * 500 + ">x", "x"),
        ("<p" + " a='>'" * 501 + ">x", "<p" + " a='>'" * 501 + ">x"),
        ("<p title=don't>a<p title='>b", "a\n\nb"),
        ("Reset it <a href='https://x.example/?a=1&amp;b=2'>here</a>.", "Reset it here <https://x.example/?a=1&b=2>."),
        ("<A class=x HREF = https://x.example/ >a <b>b</b></A>", "a b <https://x.example/>"),
        ("<a href='https://x.example'><img src=x></a>", "<https://x.example>"),
        ("See <a href=' https://x.example '><img src=x></a>!", "See <https://x.example>!"),
        ("<a href=https://x.example> https://x.example </a>", "https://x.example"),
        ("<a href='https://x.example'><b>https://x.example</b></a>", "https://x.example"),
        ("<a href='mailto:ann@x.example'>ann@x.example</a>", "ann@x.example"),
        ("<a href='#top'>a</a> <a name=top>b</a></a> <a data-href=x href=''>c</a>", "a b c"),
        ("<a href='https://x.example'>never closed <a href=y>b</a>", "never closed b <y>"),
        ("<head><title>T</title></head><body>x</body>", "x"),
        ("<head><meta charset=x><title>T</title><style>a</style><body>x", "x"),  # </head> may be left out
        ("<head><title>T</title><p>x", "x"),
        ("x<TITLE>T</TITLE>", "x"),
        ("One</><br><br><br>Two", "One\n\nTwo"),
        ("<a title='x'href='y'>z</a>", "z <y>"),
        ("a<script>if (1<2) alert('</b>')</script>b", "ab"),
        ("a<STYLE type=x>p > a {}</STYLE>b", "ab"),
        ("a<!-- <p> --> b<!DOCTYPE html>c<?php ?>d", "a bcd"),
        ("<header>a</header>", "a"),
        ("x<pre>a\n  b</pre>y", "x\na\n\nb\ny".replace("\n\n", "\n")),
        ("&lt;b&gt; &amp;amp; &eacute;&#233;&#xE9; &nosuch; & &;", "<b> &amp; ééé &nosuch; & &;"),
        (f"&#{'9' * 5000};", "\ufffd"),
        ("a < b > c <3", "a < b > c <3"),
        ("unclosed <b", "unclosed <b"),
        ("unclosed <!-- comment", "unclosed"),
        ("unclosed <script> x", "unclosed"),
        ("unclosed <pre> x\ny", "unclosed\nx\ny"),
        ("<div>One<div><br></div><div>Two<br></div> <div> <br> </div><div>Three</div>", "One\n\nTwo\n\nThree"),
        ("<div>One</div><p>Two</p><div>Three</div>", "One\n\nTwo\n\nThree"),
        ("&nbsp;<p>a</p><p>&nbsp;</p><p> &nbsp; </p><p>b&nbsp; c</p><p>&nbsp;</p>", "a\n\nb\xa0 c"),
        ("<div>a</div><div>&nbsp;</div><div>&nbsp;b</div>", "a\n\n\xa0b"),
        ("Hi<IMG src=x title='alt=y' ALT='&#x1F44B;'>!<p alt=z><img alt><img alt=''>", "Hi\U0001f44b!"),
        ("<a href='x'><img alt='The &lt;shop&gt;'></a> <a href=y><img alt=y></a>", "The <shop> <x> y"),
        ("<!-->a<!--->b<!-- -->c", "abc"),  # the first two are empty comments, too: HTML §13.2.5.43
        ("<center>a</center><header>b</header><section>c<article>d</section>e", "a\nb\nc\nd\ne"),
        ("<a href='/?a=1&copy=2&lt;&region;'>x</a>", "x </?a=1&copy=2<®ion;>"),
        ("<a href='/?a=1&reg=2'>/?a=1&amp;reg=2</a>", "/?a=1&reg=2"),
        ("<a href='a&#10;b&amp;lt;'>x</a>", "x <a b&lt;>"),
        ("<head><base href=https://x.example/a/></head><a href=b>c</a>", "c <https://x.example/a/b>"),
    ],
)
def test_html_to_text(markup: str, text: str) -> None:
    assert html_to_text(markup) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<!--",
        "<pre>",
        "<script>",
        "<div>",
        "</",
        "&",
        "&#",
        "<a",
        "<br>",
        "</p>",
        "<a href='",
        "<a\"='<a'=\"",
        "='<a",
    ],
)
def test_much_of_what_is_never_closed(piece: str) -> None:
    """If the time grows with the square of the length, the timeout of the test run ends this test."""
    assert len(html_to_text(piece * 150_000)) <= len(piece) * 150_000


@pytest.mark.parametrize("piece", ["x", "x ", "/", " ", "'", "x'", 'x"'])
def test_long_tags(piece: str) -> None:
    assert list(find_links(f"<a {piece * 200_000} href=x>", "")) in ([], ["x"])


@given(st.lists(st.sampled_from(["<", ">", "!--", "-->", "pre", "/", "script", "p", "\n", "&", "#", "3", ";", "x"])))
def test_anything(pieces: list[str]) -> None:
    assert html_to_text("".join(pieces)).strip("\n") == html_to_text("".join(pieces))


@pytest.mark.parametrize(
    ("markup", "links"),
    [
        (
            "<A class=x HREF = ' https://x.example/?a=1&amp;b=2 '>a</A> <area href=/here>",
            ["https://x.example/?a=1&b=2", "/here"],
        ),
        ("<a href='#top'>a</a> <a name=b>b</a> <a href=''>c</a> <link href=d> </a href=e>", []),
        ("<a href='mailto:ann@x.example'>a</a><!-- <a href=b> --><style><a href=c></style>", ["mailto:ann@x.example"]),
        ("<a href='x&#10;y'>a</a><a href='x'>a</a><a href='x'>a</a>", ["x y", "x", "x"]),
        # a reference without a semicolon is none in a URL
        ("<a href='/?a=1&currency=2&region=3&timestamp&amp;b=4'>x</a>", ["/?a=1&currency=2&region=3&timestamp&b=4"]),
        ("<a href='/&euro;&#8364;&#x20ac'>x</a>", ["/€€€"]),
        ("<head><title>T</title><body><a href=x>y</a>", ["x"]),
        # an attribute of another name, or within the value of another one
        ("<a title=' href=x' data-x=\"href='x'\" hreflang=x xhref=x href='y'>a</a>", ["y"]),
        ('<a disabled id= ""HREF=\'x\' href=y>a</a><a href="" href=x>a</a><a/href=z>a</a>', ["x", "z"]),
        # a base
        (
            "<base target=a><BASE href='https://x.example/a/'><base href=b><a href='b?c'>x</a><a href='/d'>x</a>",
            ["https://x.example/a/b?c", "https://x.example/d"],
        ),
        ("<base href=https://x><a href=#top><a href=MAILTO:a@b><a href=https://y?>", ["MAILTO:a@b", "https://y?"]),
        ("<base href=https://x.example><a href='//['>x</a>", ["//["]),
        ("<base href='https://['><a href=a>x</a>", ["a"]),
        ("<basefont href=https://x.example><a href=a>x</a>", ["a"]),
        (f"<base href=https://x.example/{'a' * 275}/><a href=b>x</a>", [f"https://x.example/{'a' * 275}/b"]),
        (f"<base href=https://x.example/{'a' * 276}/><a href=b>x</a>", ["b"]),
    ],
)
def test_links_of_html(markup: str, links: list[str]) -> None:
    assert list(find_links(markup, "")) == links


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("Confirm: https://x.example/c?t=a_b-C_. Or HTTP://x.example!", ["https://x.example/c?t=a_b-C_", "HTTP://x.example"]),
        ("<https://x.example/> \"https://y.example\", 'https://z.example'", ["https://x.example/", "https://y.example", "https://z.example"]),
        ("(see https://x.example/a_(b)) [https://y.example]", ["https://x.example/a_(b)", "https://y.example"]),
        ("https://x.example/ü。次 https://y.example)", ["https://x.example/ü", "https://y.example"]),
        ("https://x.example\x1b[2J \0https://y.example\x9b\x7f", ["https://x.example", "https://y.example"]),
        ("見てhttps://x.example。", ["https://x.example"]),
        ("https:// https://... xhttps://x.example ftp://x.example www.x.example", []),
        ("http://[::1]:8025/a. [http://[2001:db8::1]] https://[ ", ["http://[::1]:8025/a", "http://[2001:db8::1]"]),
        ("[https://x.example](https://y.example) https://x.example/c[1]", ["https://x.example", "https://y.example", "https://x.example/c[1]"]),
        ("“https://a”, „https://b“ «https://c» ‘https://d’ `https://e` https://f…", [f"https://{a}" for a in "abcdef"]),
    ],
)  # fmt: skip
def test_urls_in_text(text: str, links: list[str]) -> None:
    assert list(find_links("", text)) == links
