"""A message as an HTML page: it looks as it was sent, and runs no scripts and loads nothing."""

from __future__ import annotations

import base64
import tracemalloc
from html.parser import HTMLParser

import pytest

from trio_smtp.mime import page, parse

PNG = b"\x89PNG\r\n\x1a\n"
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


class Document(HTMLParser):
    """The start tags of a page with their attributes, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def message(html: str, content_type: str = "image/png", content_id: str = "<logo@example.com>") -> bytes:
    return (
        (
            "Subject: </title><script>\r\nContent-Type: multipart/related; boundary=x\r\n\r\n"
            f"--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n"
            f"--x\r\nContent-Type: {content_type}\r\nContent-ID: {content_id}\r\n\r\n"
        ).encode()
        + PNG
        + b"\r\n--x--\r\n"
    )


def framed(html: str, *attached: str, limit: int = 1000) -> str:
    """Return the document in the frame, without the head that `page` puts before it."""
    shown = page(parse(message(html, *attached)), limit=limit)
    assert shown is not None
    [frame] = [attributes for tag, attributes in Document(shown).tags if tag == "iframe"]
    mail = frame["srcdoc"] or ""
    assert mail.startswith("<base ")
    return mail.partition('content="off">')[2]


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>Grüße</p>", "<p>Grüße</p>"),
        ('<img src="cid:logo@example.com">', f'<img src="{URL}">'),
        ("<img src='CID:logo%40example.com'>", f"<img src='{URL}'>"),
        ("<img src=cid:logo&#64;example.com>", f"<img src={URL}>"),
        ("<td style='background: url(cid:logo@example.com)'>", f"<td style='background: url({URL})'>"),
        ('<img src="cid:other@example.com">', '<img src="cid:other@example.com">'),
        ("cid:logo@example.com", "cid:logo@example.com"),
        ('<img src="cid:&#' + "9" * 5000 + '">', '<img src="cid:&#' + "9" * 5000 + '">'),
        ('<LINK rel="preconnect" href="//a.example"><link>', '<x-LINK rel="preconnect" href="//a.example"><x-link>'),
        ("<linked>", "<linked>"),
        ("<link/rel=preconnect>", "<x-link/rel=preconnect>"),
        (
            "<IFRAME srcdoc='&#60;link rel=preconnect href=//a.example>'></IFRAME><iframe>",
            "<x-IFRAME srcdoc='&#60;link rel=preconnect href=//a.example>'></IFRAME><x-iframe>",
        ),
        ("\0\x1b[2J\x7f\x80\x9b\xa0<li\x08nk \t\n\f>", "\ufffd\ufffd[2J\ufffd\ufffd\ufffd\xa0<li\ufffdnk \t\n\f>"),
        # quotes are escaped like this if a browser has serialized the style
        (
            '<p style="background: url(&quot;cid:logo@example.com&quot;)">',
            f'<p style="background: url(&quot;{URL}&quot;)">',
        ),
        (
            "<p style='background: url(&#39;cid:logo@example.com&#39;)'>",
            f"<p style='background: url(&#39;{URL}&#39;)'>",
        ),
        (
            "<p style='background: url(&#34;cid:logo@example.com&#34;)'>",
            f"<p style='background: url(&#34;{URL}&#34;)'>",
        ),
        ('<img src="cid:logo%FF@example.com">', '<img src="cid:logo%FF@example.com">'),
    ],
    ids=range(17),
)
def test_what_is_shown(html: str, shown: str) -> None:
    assert framed(html) == shown


@pytest.mark.parametrize("end", "\"'()<> \t\r\n")
def test_where_a_reference_ends(end: str) -> None:
    assert framed(f"<img src=cid:logo@example.com{end}").startswith(f"<img src={URL}")


@pytest.mark.parametrize(("size", "found"), [(1, True), (1000, True), (1001, False)])
def test_how_long_a_content_id_is(size: int, found: bool) -> None:
    assert (framed(f"<img src=cid:{'a' * size}>", "image/png", "a" * size) == f"<img src={URL}>") is found


@pytest.mark.parametrize("content_type", ["image/gif", "image/jpeg", "image/png", "image/webp"])
def test_pictures(content_type: str) -> None:
    assert (
        framed("<img src=cid:logo@example.com>", content_type) == f"<img src={URL.replace('image/png', content_type)}>"
    )


@pytest.mark.parametrize("content_type", ["image/svg+xml", "text/html", "application/octet-stream"])
def test_what_could_be_a_document_is_no_picture(content_type: str) -> None:
    html = '<img src="cid:logo@example.com">'
    assert framed(html, content_type) == html


@pytest.mark.parametrize("reference", ["cid:", "cid:&#1;"])
def test_nothing_is_nobodys_content_id(reference: str) -> None:
    assert framed(f"<img src='{reference}'>", "image/png", "") == f"<img src='{reference}'>"


def test_pictures_are_bounded() -> None:
    html = '<img src="cid:logo@example.com">' * 1000
    assert framed(html, limit=3 * len(URL)).count(URL) == 3
    assert framed(html, limit=3 * len(URL) - 1).count(URL) == 2
    assert framed(html, limit=0) == html
    for size in range(4):
        content = message(html).replace(PNG, b"x" * size)
        url = f'data:image/png;base64,{base64.b64encode(b"x" * size).decode()}"'
        for limit, count in ((len(url) - 2, 0), (len(url) - 1, 1)):
            assert (page(parse(content), limit=limit) or "").count(url.replace('"', "&quot;")) == count


def test_pictures_are_copied_once_into_the_page() -> None:
    """A character beyond Latin-1 makes each copy of the whole page four times as large."""
    parsed = parse(message('😀<img src="cid:logo@example.com">').replace(PNG, b"x" * 3_000_000))
    tracemalloc.start()
    try:
        shown = page(parsed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert shown is not None
    assert len(shown) > 4_000_000
    assert peak < 24_000_000  # the page and the picture


def test_nothing_leaves_the_frame() -> None:
    html = """"></iframe><script>alert(1)</script>&quot;><img onerror='x' src="x">"""
    shown = page(parse(message(html)))
    assert shown is not None
    document = Document(shown)
    assert [tag for tag, _ in document.tags] == [
        *("html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "iframe")
    ]
    policy, frame = document.tags[3][1], document.tags[-1][1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert str(policy["content"]).startswith("default-src 'none'; img-src data:;")
    assert "allow-scripts" not in str(frame["sandbox"])
    assert "allow-same-origin" not in str(frame["sandbox"])
    assert "</title><script>" in document.text


def test_no_html_no_page() -> None:
    assert page(parse(b"Subject: x\r\n\r\n<b>text</b>\r\n")) is None


def test_text_beside_html_is_in_it() -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n1 < 2\r\n"
        b"--x\r\nContent-Type: text/html\r\n\r\n<b>3</b>\r\n--x--\r\n"
    )
    shown = page(parse(content))
    assert shown is not None
    assert "&lt;pre&gt;1 &amp;lt; 2&lt;/pre&gt;\n&lt;b&gt;3&lt;/b&gt;" in shown
