"""The result of `parse`: header fields, tree of parts, texts and attachments, defects, limits."""

from __future__ import annotations

import base64
import pickle
import string
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.mime.multiparts import body, delimited, nested
from trio_smtp.mime import MailAddress, MimeLimits, ParsedMessage, parse

EAST = timezone(timedelta(minutes=90))


def paths(parsed: ParsedMessage) -> list[str]:
    return [part.path for part in parsed.tree.walk()]


# --- header fields


@pytest.mark.parametrize(
    ("field", "date", "defects"),
    [
        ("", None, 0),
        ("Date:", None, 0),
        ("Date: Mon, 23 Nov 2026 12:00:00 +0130", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),
        ("Date: 23 Nov 2026 12:00 GMT (noon)", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        ("Date: Mon, 23 Nov 2026\r\n 12:00:00 -0000", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        ("Date: Mon, 23 Nov 2026 12:00:00 +01:30", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),  # as .NET writes it
        ("Date: Mon Nov 23 2026 12:00:00 GMT+0130 (Central)", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),  # JavaScript
        ("Date: Mon, 23 Nov 2026 12:00:00 UTC+01:30", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),
        ("Date: Mon, 23 Nov 2026 12:00:00 +00", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),  # as PostgreSQL writes it
        ("Date: Mon Nov 23 12:00:00 +05 2026", datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=5))), 0),
        ("Date: 23 Nov 2026 12:00:00-03 (x)", datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=-3))), 0),
        ("Date: Monday, 23-Nov-26 12:00:00 GMT", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        ("Date: Sat, 31 Dec 2016 23:59:60 +0000", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), 0),  # RFC 5322 §3.3
        # obsolete forms that must be accepted: RFC 5322 §4.3
        (
            "Date: Mon , 23 (a (b\\)) c) Nov 2026 12(d)  :  00  :  00 (e) +0130",
            datetime(2026, 11, 23, 12, tzinfo=EAST),
            0,
        ),
        ("Date: Mon, 23 Nov 126 12:00:00 GMT", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        # RFC 5322 §4.3: an unknown zone is treated like a missing one
        ("Date: Mon, 23 Nov 26 12:00:00", datetime(2026, 11, 23, 12, tzinfo=UTC), 1),
        ("Date: Mon, 23 Nov 2026 12:00:00 CEST", datetime(2026, 11, 23, 12, tzinfo=UTC), 1),
        ("Date: Mon, 23 Nov 2026 12:00:00 PM +0100", datetime(2026, 11, 23, 12, tzinfo=UTC), 1),
        # ISO 8601, as scripts write it
        ("Date: 2026-11-23T12:00:00Z", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        ("Date: 2026-11-23T12:00:00+01:30", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),
        ("Date: 2026-11-23T12:00:00.000+0130", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),
        ("Date: 2026-11-23 12:00:00 +0130 (Central)", datetime(2026, 11, 23, 12, tzinfo=EAST), 0),
        ("Date: 2026-11-23 12:00 UTC", datetime(2026, 11, 23, 12, tzinfo=UTC), 0),
        ("Date: 2026-11-23T12:00:00", datetime(2026, 11, 23, 12, tzinfo=UTC), 1),
        ("Date: 2026-11-23T25:00:00Z", None, 1),
        ("Date: 2026-11-23T12:00:....Z", None, 1),
        ("Date: 2026-11-23T12:00:00+99:00", None, 1),
        ("Date: 2026-11-23", None, 1),
        ("Date: today", None, 1),
        ("Date: Mon, 32 Nov 2026 12:00:00 +0000", None, 1),
        ("Date: Mon, 23 Nov 2026 12:00:00 +999999999", None, 1),
        ("Date: Fri, 31 Dec 9999 23:00:00 -0900", None, 1),
        ("Date: Mon, ² Nov 2026 12:00:00 +0000", None, 1),
        ("Date: " + "9" * 5000, None, 1),
        ("Date: ,", None, 1),
        ("Date: " + "(" * 5000 + "Mon, 23 Nov 2026 12:00:00 +0000", None, 1),
    ],
)
def test_date(field: str, date: datetime | None, defects: int) -> None:
    parsed = parse(f"{field}\r\n\r\n".encode())
    assert parsed.date == date
    assert date is None or parsed.date is None or parsed.date.utcoffset() == date.utcoffset()
    assert len(parsed.defects) == defects


@pytest.mark.parametrize(
    ("field", "message_id"),
    [
        ("", ""),
        ("Message-ID: <a@b>", "a@b"),
        ("Message-ID:\r\n <a\r\n b@c> (x)", "ab@c"),
        ("Message-ID: bare@id", "bare@id"),
        ("Message-ID: <a@b> <c@d>", "a@b"),
        ("Message-ID: " + "<" * 3000, "<" * 3000),
    ],
)
def test_message_id(field: str, message_id: str) -> None:
    assert parse(f"{field}\r\n\r\n".encode()).message_id == message_id


def test_references_are_limited() -> None:
    parsed = parse(b"References: " + b"<a@b> " * 20, MimeLimits(addresses=3))
    assert parsed.references == ("a@b",) * 3


def test_recipients_of_several_fields_are_taken_together() -> None:
    recipients = b"".join(b"%b: %b1@x\r\n%b: %b2@x\r\n" % (name, name, name, name) for name in (b"To", b"Cc", b"Bcc"))
    parsed = parse(recipients + b"From: d@x\r\nFrom: e@x\r\nSender: f@x, g@x\r\n\r\n")
    assert [list(map(str, each)) for each in (parsed.to, parsed.cc, parsed.bcc)] == [
        ["To1@x", "To2@x"],
        ["Cc1@x", "Cc2@x"],
        ["Bcc1@x", "Bcc2@x"],
    ]
    assert (parsed.from_, parsed.sender) == ((MailAddress("", "d@x"),), MailAddress("", "f@x"))
    assert parsed.defects == ("From: there is more than one; the first one counts",)


def test_addresses_are_limited_together() -> None:
    parsed = parse(b"From: a@x\r\nTo: b@x, c@x\r\nCc: d@x", MimeLimits(addresses=2))
    assert list(map(str, parsed.from_ + parsed.to + parsed.cc)) == ["a@x", "b@x"]
    assert parsed.defects == (
        "To: more than 2 addresses; the others are left out",
        "Cc: more than 2 addresses; the others are left out",
    )


def test_the_subject_is_one_line() -> None:
    parsed = parse(b"Subject: =?utf-8?q?a=0D=0ABcc:_b?=\r\n\r\n")
    assert parsed.subject == "a Bcc: b"


def test_every_field_of_the_header() -> None:
    header = b"X-Tag: =?utf-8?q?=C3=BC?=\r\n folded\r\nList-Unsubscribe: <https://x>\r\nx-tag: =?utf-8?q?a=0Ab?=\r\n"
    parsed = parse(header + b"\r\nA: b\r\n")
    assert parsed.headers == {"x-tag": ["ü folded", "a b"], "list-unsubscribe": ["<https://x>"]}
    assert (parsed.header("X-TAG"), parsed.header("list-unsubscribe"), parsed.header("A")) == (
        "ü folded",
        "<https://x>",
        None,
    )


# --- structure


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\r\nx", ["1"]),
        (body("multipart/mixed", b"\r\na", b"\r\nb"), ["TEXT", "1", "2"]),
        (body("multipart/mixed", b"Content-Type: message/rfc822\r\n\r\n\r\nx"), ["TEXT", "1", "1.1"]),
        (b"Content-Type: message/rfc822\r\n\r\n\r\nx", ["1", "1.1"]),
        (b"Content-Type: message/rfc822\r\n\r\n" + body("multipart/mixed", b"\r\na"), ["1", "1.TEXT", "1.1"]),
        (b"Content-Type: message/global\r\n\r\n\r\nx", ["1", "1.1"]),
        (body("multipart/digest", b"\r\nSubject: x\r\n\r\nx"), ["TEXT", "1", "1.1"]),
        (body("multipart/digest", b"Content-Type: text/plain\r\n\r\nx"), ["TEXT", "1"]),
        (body("multipart/digest", b"Content-Type: none\r\n\r\nx"), ["TEXT", "1"]),
    ],
)
def test_section_numbers(content: bytes, expected: list[str]) -> None:
    parsed = parse(content)
    assert paths(parsed) == expected
    assert parsed.part("9.9") is None
    assert parsed.part(expected[-1].lower()) is not None


@pytest.mark.parametrize(
    ("after", "contents"),
    [
        (b"--x\r\n\r\na\r\n--x--\r\n", [b"a"]),
        (b"--x\n\na\n--x--\n", [b"a"]),
        (b"preamble\r\n--x \t\r\n\r\na\r\n--x--\t\r\nepilogue\r\n--x\r\n\r\nb", [b"a"]),
        (b"--x\r\n\r\na\r\n\r\n--x--", [b"a\r\n"]),
        (b"--x\r\n\r\n--xy\r\n --x\r\na--x\r\n--x--", [b"--xy\r\n --x\r\na--x"]),
        (b"--x\r\n--x\r\n--x--", [b"", b""]),
        (b"--x\r\n\r\na\r\n--x----\r\n--x--", [b"a\r\n--x----"]),
        (b"--x\r\n\r\na\n\r\n--x--", [b"a\n"]),
        (b"--x\r\n\r\na\r--x\r\n\r\n--x--", [b"a\r--x\r\n"]),
        (b"--x\r\n\r\na", [b"a"]),
        (b"--x", [b""]),
        (b"--x--", []),
        (b"", []),
    ],
)
def test_boundaries(after: bytes, contents: list[bytes]) -> None:
    parsed = parse(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + after)
    assert [part.content for part in parsed.tree.children] == contents
    assert parsed.tree.content == after
    assert bool(parsed.defects) is (not contents or b"--x--" not in after)


def test_a_boundary_that_ends_with_a_blank() -> None:
    parsed = parse(b'Content-Type: multipart/mixed; boundary="x "\r\n\r\n' + delimited(b"\r\na"))
    assert parsed.text == "a"


def test_nothing_is_copied_that_is_not_decoded() -> None:
    content = body("multipart/mixed", b"Content-Transfer-Encoding: 8bit\r\n\r\na", b"\r\nb")
    assert all(part.source is content for part in parse(content).tree.walk())


def test_a_part_does_not_reach_beyond_its_parent() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na"
    parsed = parse(body("multipart/mixed", inner, b"\r\nb"))
    assert [(part.path, part.content) for part in parsed.tree.walk() if not part.children] == [
        ("1.1", b"a"),
        ("2", b"b"),
    ]
    assert parsed.defects == ("part 1: its last boundary is missing",)


def test_an_encoded_message_is_read() -> None:
    inner = base64.encodebytes(body("multipart/mixed", b"\r\nHello"))
    content = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + inner
    parsed = parse(content)
    assert paths(parsed) == ["1", "1.TEXT", "1.1"]
    part = parsed.part("1.1")
    assert part is not None
    assert part.content == b"Hello"


# --- texts and attachments


def typed(content_type: str, content: str = "", more: str = "") -> bytes:
    return f"Content-Type: {content_type}\r\n{more}\r\n{content}".encode()


PLAIN, HTML, PNG = typed("text/plain", "plain"), typed("text/html", "html"), typed("image/png", "png")
ALTERNATIVE = body("multipart/alternative", PLAIN, HTML).replace(b"x", b"y").replace(b"teyt", b"text")
HTML_ALONE, PLAIN_ALONE, PLAIN_OR_PNG = (
    b"Content-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n" + parts + b"\r\n--y--\r\n"
    for parts in (HTML, PLAIN, PLAIN + b"\r\n--y\r\n" + PNG)
)
HTML_AND_PLAIN = b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n%b\r\n--y\r\n%b\r\n--y--\r\n" % (HTML, PLAIN)
ATTACHED = "Content-Disposition: attachment\r\n"
NAMED = "Content-Disposition: inline; filename=a.txt\r\n"
WITH_ID = "Content-ID: <1>\r\n"


@pytest.mark.parametrize(
    ("content", "text", "html", "attached"),
    [
        (PLAIN, "plain", None, []),
        (HTML, None, "html", []),
        (PNG, None, None, ["1"]),
        (typed("text/plain", "x", ATTACHED), None, None, ["1"]),
        (typed("text/plain", "x", "Content-Disposition: whatever\r\n"), None, None, ["1"]),
        (typed("text/plain", "x", NAMED), "x", None, []),
        (body("multipart/mixed", PLAIN, typed("text/plain", "x", NAMED)), "plain", None, ["2"]),
        (body("multipart/mixed", PNG, typed("text/plain", "x", NAMED)), None, None, ["1", "2"]),
        (body("multipart/mixed", PLAIN, PNG, PLAIN), "plain\nplain", None, ["2"]),
        (body("multipart/mixed", typed("text/plain", "x\r\n"), PLAIN), "x\nplain", None, []),
        (body("multipart/mixed", typed("text/plain", "x", NAMED), PLAIN), "x\nplain", None, []),
        (body("multipart/alternative", PLAIN, HTML_AND_PLAIN), "plain", "html\n<pre>plain</pre>", []),
        (body("multipart/mixed", PLAIN, HTML_ALONE), None, "<pre>plain</pre>\nhtml", []),
        (body("multipart/mixed", HTML, PLAIN_ALONE), None, "html\n<pre>plain</pre>", []),
        (body("multipart/mixed", HTML, PLAIN_OR_PNG), None, "html\n<pre>plain</pre>", ["2.2"]),
        (body("multipart/mixed", HTML, PLAIN), None, "html\n<pre>plain</pre>", []),
        (body("multipart/mixed", HTML, typed("text/plain", "<&>")), None, "html\n<pre>&lt;&amp;&gt;</pre>", []),
        (body("multipart/alternative", PLAIN, HTML), "plain", "html", []),
        (body("multipart/alternative", HTML, PLAIN), "plain", "html", []),
        (body("multipart/alternative", PLAIN, PLAIN), "plain\nplain", None, []),
        (body("multipart/alternative", HTML, PNG), None, "html", ["2"]),
        (body("multipart/alternative", PLAIN, typed('text/html; name="a.html"', "html")), "plain", "html", []),
        (body("multipart/alternative", PLAIN, typed("text/calendar"), HTML), "plain", "html", ["2"]),
        (body("multipart/alternative", PLAIN, typed("text/x-amp-html"), HTML), "plain", "html", []),
        (body("multipart/alternative", HTML, typed("text/watch-html"), typed("text/enriched")), None, "html", []),
        (body("multipart/alternative", typed("text/richtext")), None, None, ["1"]),
        (body("multipart/mixed", PLAIN, typed("text/x-amp-html")), "plain", None, ["2"]),
        (body("multipart/related", HTML, PNG), None, "html", ["2"]),
        (body("multipart/related", HTML, typed("text/plain")), None, "html", ["2"]),
        (body("multipart/related", typed("text/html", "html", WITH_ID), PLAIN), None, "html", ["2"]),
        (body('multipart/related; start="<1>"', PLAIN, typed("text/html", "html", WITH_ID)), None, "html", ["1"]),
        (body("multipart/related; start=1", PLAIN, typed("text/html", "html", WITH_ID)), None, "html", ["1"]),
        (body("multipart/related; start=2", PLAIN, typed("text/html", "html", WITH_ID)), "plain", None, ["2"]),
        (body('multipart/related; start=""', PLAIN, HTML), "plain", None, ["2"]),
        (body('multipart/related; start="<1>"', typed("image/png", "png", WITH_ID), HTML), None, "html", ["1"]),
        (body("multipart/related; start=1", PNG, HTML, PNG), None, "html", ["1", "3"]),
        (body("multipart/related", PNG, typed('text/html; name="a.html"', "html")), None, "html", ["1"]),
        (body("multipart/related", ALTERNATIVE, typed("text/plain")), "plain", "html", ["2"]),
        (body("multipart/related", PNG, ALTERNATIVE, HTML), "plain", "html", ["1", "3"]),
        (body("multipart/related", PNG, PNG), None, None, ["1", "2"]),
        (body("multipart/unheard-of", PLAIN, PNG), "plain", None, ["2"]),
        (typed("message/rfc822", "\r\ninner"), None, None, ["1"]),
    ],
)
def test_text_and_attachments(content: bytes, text: str | None, html: str | None, attached: list[str]) -> None:
    parsed = parse(content)
    assert (parsed.text, parsed.html) == (text, html)
    assert [attachment.part.path for attachment in parsed.attachments] == attached
    assert parsed.defects == ()


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("See https://x/a \nb for it. \n Two  \nwords\n\nNext \n", "See https://x/ab for it.Two words\n\nNext"),
        ("> a \n> b\n>> c \n> d\n>\n>e \nf", "> ab\n>> c\n> d\n>\n> e\nf"),
        ("a \n-- \nAnn \nBob", "a\n-- \nAnnBob"),
        (" >a\n  b\n From c", ">a\n b\nFrom c"),
        ("", ""),
    ],
)  # fmt: skip
def test_lines_that_the_sender_has_split(sent: str, text: str) -> None:
    """RFC 3676 §4."""
    assert parse(typed("text/plain; format=Flowed; delsp=Yes", sent)).text == text
    for other in ("format=flowed", "delsp=yes", "format=flowed; delsp=no", "format=fixed; delsp=yes"):
        assert parse(typed(f"text/plain; {other}", sent)).text == sent
    assert parse(typed("text/html; format=flowed; delsp=yes", sent)).html == sent


def test_html_that_names_its_charset() -> None:
    content = b"<meta charset=koi8-r>\xf7"
    assert parse(typed("text/html") + content).html == "<meta charset=koi8-r>В"
    assert parse(typed("text/plain") + content).text == "<meta charset=koi8-r>÷"


@pytest.mark.parametrize(
    ("subtype", "more", "inline"),
    [
        ("related", WITH_ID, True),
        ("related", WITH_ID + ATTACHED, True),
        ("related", "", False),
        ("mixed", WITH_ID, False),
        ("mixed", "Content-Disposition: INLINE\r\n", True),
        ("mixed", ATTACHED, False),
    ],
)
def test_inline(subtype: str, more: str, inline: bool) -> None:
    parsed = parse(body(f"multipart/{subtype}", HTML, typed("image/png", "png", more)))
    [attachment] = parsed.attachments
    assert attachment.inline is inline
    assert parsed.inline_images == ((attachment,) if inline else ())


def test_pictures_that_the_html_refers_to() -> None:
    """Programs attach them to a multipart/mixed, and mail programs show them all the same."""
    html = typed("text/html", "<img src='cid:1'><img src='cid:%40%26'> cid:3")
    pictures = [typed("image/png", "png", f"{ATTACHED}Content-ID: <{each}>\r\n") for each in ("1", "2", "@&", "3")]
    parsed = parse(body("multipart/mixed", html, *pictures, PNG))
    assert [each.inline for each in parsed.attachments] == [True, False, True, False, False]


def test_pictures_with_nothing_that_they_are_for() -> None:
    parsed = parse(body("multipart/related", *[typed("image/png", "png", WITH_ID)] * 3))
    assert [attachment.inline for attachment in parsed.attachments] == [False, True, True]


def test_an_attachment() -> None:
    header = (
        "Content-Transfer-Encoding: base64\r\nContent-ID: <id@x>\r\nContent-Disposition: inline; filename=a/b.gif\r\n"
    )
    [attachment] = parse(typed("Image/GIF", "R0lG", header)).attachments
    assert (attachment.filename, attachment.part.filename) == ("b.gif", "a/b.gif")
    assert (attachment.content_type, attachment.content_id) == ("image/gif", "id@x")
    assert (attachment.content, attachment.size, attachment.inline) == (b"GIF", 3, True)


def test_what_is_told_of_a_part_is_one_line() -> None:
    header = "Content-Disposition: a\0b; filename*=''c%0Ad\r\nContent-ID: <e\x1bf>\r\n"
    part = parse(typed('text/plain; charset="\x85x\x1by"', "", header)).tree
    assert (part.disposition, part.filename, part.content_id, part.charset) == ("a b", "c d", "e f", "x")


@pytest.mark.parametrize(
    ("content", "links"),
    [
        (
            body(
                "multipart/alternative",
                typed("text/plain", "https://b https://a"),
                typed("text/html", "<a href=https://a>"),
            ),
            ("https://a", "https://b"),
        ),
        (typed("text/html", "<a href=mailto:a>"), ("mailto:a",)),
        (PNG, ()),
    ],
)
def test_links(content: bytes, links: tuple[str, ...]) -> None:
    assert parse(content).links == links


def test_results_are_values() -> None:
    content = body("multipart/mixed", PLAIN, PNG)
    parsed = parse(content)
    assert parsed == parse(content) == pickle.loads(pickle.dumps(parsed))
    assert len({parsed, parse(content)}) == 1
    assert "plain" not in repr(parsed.tree).replace("text/plain", "")


def test_semicolons_that_are_missing() -> None:
    parsed = parse(
        b"Content-Type: multipart/mixed boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/html charset=iso-8859-15\r\n\r\n\xa4\r\n"
        b"--x\r\nContent-Disposition: attachment filename=a.pdf\r\n\r\n\r\n--x--\r\n"
    )
    assert (parsed.html, parsed.attachments[0].filename) == ("€", "a.pdf")
    assert [part.disposition for part in parsed.tree.walk()] == ["", "", "attachment"]


# --- defects


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (b"Subject: x\r\nno field\r\n\r\n", "part 1: its header ends at a line that is not a header field"),
        (b"no field\r\n\r\n", "part 1: it has no header"),
        (b"Content-Type: text\r\n\r\n", "part 1: its type 'text' is not valid; it is taken for text/plain"),
        (
            b"Content-Type: text/html charset=utf-8\r\n\r\n",
            "part 1: its type 'text/html charset=utf-8' is not valid; it is taken for text/html",
        ),
        (b"Content-Type: \xff/\x1b\r\n\r\n", r"part 1: its type '\xff/\x1b' is not valid; it is taken for text/plain"),
        (
            b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n",
            "part 1: it has more than one Content-Type, which differ",
        ),
        (
            b"Content-Type: multipart/mixed\r\n\r\n",
            "part 1: it is a multipart without a boundary; it is taken for plain text",
        ),
        (
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n",
            "part 1: its boundary does not occur; it is taken for plain text",
        ),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", "part TEXT: its last boundary is missing"),
        (
            body("multipart/mixed; a=b\r\nContent-Transfer-Encoding: base64\r\nX: y", b"\r\n"),
            "part 1: it is a multipart without a boundary; it is taken for plain text",
        ),
        (
            b"Content-Transfer-Encoding: base64\r\n" + body("multipart/mixed", b"\r\n"),
            "part TEXT: a multipart cannot be encoded as 'base64'",
        ),
        (b"Content-Transfer-Encoding: x\r\n\r\n", "part 1: the transfer encoding 'x' is unknown"),
        (b"Content-Type: text/plain; charset=rot13\r\n\r\nx", "part 1: the charset 'rot13' is unknown"),
        (b"Subject: \xff\r\n\r\n", "Subject: neither ASCII nor UTF-8; it was read as windows-1252"),
        (b"Cc: \xff@x\r\n\r\n", "Cc: neither ASCII nor UTF-8; it was read as windows-1252"),
        (b"Subject: =?rot13?q?x?=\r\n\r\n", "Subject: it contains an encoded word that cannot be decoded"),
        (b"Subject: x\r\nSubject: x\r\n\r\n", "Subject: there is more than one; the first one counts"),
        (b"To: somebody\r\n\r\n", "To: a name without an address"),
        (
            b"Date: 23 Nov 2026 12:00 CEST\r\n\r\n",
            "Date: the zone of '23 Nov 2026 12:00 CEST' is unknown; it was read as UTC",
        ),
        (b"Date: today\r\n\r\n", "Date: 'today' is not a date"),
    ],
)
def test_defects(content: bytes, defect: str) -> None:
    assert defect in parse(content).defects


@pytest.mark.parametrize("subject", ["what?=", "=?what", "=?utf-8?q?a?="])
def test_subjects_without_a_defect(subject: str) -> None:
    assert parse(f"Subject: {subject}\r\n\r\n".encode()).defects == ()


def test_the_same_field_twice_is_harmless() -> None:
    assert parse(b"Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n").defects == ()


def test_defects_are_limited() -> None:
    assert len(parse(body("multipart/mixed", *[b"Content-Transfer-Encoding: x\r\n\r\n"] * 200)).defects) == 100


# --- limits


@pytest.mark.parametrize("limits", [{"octets": 0}, {"parts": -1}, {"text": 0}, {"depth": 101}])
def test_limits_that_make_no_sense(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at (least|most)"):
        MimeLimits(**limits)


def test_limit_of_octets() -> None:
    parsed = parse(b"\r\n0123456789", MimeLimits(octets=6))
    assert (parsed.text, parsed.tree.size) == ("0123", 4)
    assert parsed.defects == ("the message is longer than 6 octets; the rest is left out",)
    assert parse(b"\r\n0123", MimeLimits(octets=6)).defects == ()


def test_limit_of_the_header() -> None:
    parsed = parse(b"Subject: 0123456789\r\n\r\nbody", MimeLimits(header=14))
    assert (parsed.subject, parsed.text) == ("01234", "56789\n\nbody")
    assert parsed.defects == ("part 1: the headers are longer than 14 octets; the rest is taken for text",)


def test_the_limit_of_the_header_is_for_all_parts() -> None:
    content = body("multipart/mixed", b"X: y\r\n\r\na", b"X: y\r\n\r\nb")
    header = content.index(b"\r\n\r\n")
    parsed = parse(content, MimeLimits(header=header + len(b"\r\nX: y\r\n")))
    assert [part.content for part in parsed.tree.children] == [b"a", b"X: y\r\n\r\nb"]
    assert len(parsed.defects) == 1


def test_the_limit_of_the_header_is_not_for_what_is_between() -> None:
    content = body("multipart/mixed", b"\r\n" + b"a" * 1000, b"X: y\r\n\r\nb")
    parsed = parse(content, MimeLimits(header=100))
    assert parsed.tree.children[1].content == b"b"
    assert parsed.defects == ()


@pytest.mark.parametrize(("looks", "parts"), [(298, 2), (299, 1), (1_000_000, 1)])
def test_limit_of_what_looks_like_a_boundary(looks: int, parts: int) -> None:
    """The limit is a hundred per allowed part. Each costs a microsecond, and a message has room for millions."""
    content = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na" + b"--x" * looks + b"\r\n--x\r\n\r\nb"
    parsed = parse(content, MimeLimits(parts=3))
    assert len(parsed.tree.children) == parts
    assert parts == 2 or "part TEXT: too much of it looks like a boundary; the rest was not parsed" in parsed.defects


def test_limit_of_parts() -> None:
    content = body(
        "multipart/mixed", b"\r\na", body("multipart/mixed", b"\r\nb", b"\r\nc").replace(b"x", b"y"), b"\r\nd"
    )
    assert paths(parse(content)) == ["TEXT", "1", "2", "2.1", "2.2", "3"]
    parsed = parse(content, MimeLimits(parts=4))
    assert paths(parsed) == ["TEXT", "1", "2", "2.1"]
    assert parsed.defects == (
        "part 2: the message has more than 4 parts; the others are left out",
        "part TEXT: the message has more than 4 parts; the others are left out",
    )
    assert paths(parse(content, MimeLimits(parts=3))) == ["TEXT", "1", "2"]


def test_what_the_name_of_a_charset_is_made_of() -> None:
    """Any characters except white space, control characters, parentheses and quotes."""
    for code in range(0x180):
        character = chr(code)
        if character not in '\n"\\':  # special in a header or in a quoted string
            ends = character.isspace() or unicodedata.category(character) == "Cc" or character in "()'"
            part = parse(typed(f'text/plain; charset="a{character}b"')).tree
            assert part.charset == ("a" if ends else f"a{character}b"), code


@pytest.mark.parametrize("form", ["a%cb/c", "c/a%cb"])
def test_what_a_type_is_made_of(form: str) -> None:
    """RFC 2045 §5.1."""
    there = [code for code in range(128) if parse(typed(form % code)).tree.content_type == (form % code).lower()]
    assert {*map(chr, there)} == {*string.ascii_letters, *string.digits, *"!#$%&'*+-.^_`{|}~"}


@pytest.mark.parametrize(
    ("first", "second", "fits"), [(100, 100, True), (101, 1, False), (1, 101, False), (0, 1, False)]
)
def test_how_long_a_type_is(first: int, second: int, fits: bool) -> None:
    written = f"{'a' * first}/{'b' * second}"
    assert parse(typed(written)).tree.content_type == (written if fits else "text/plain")


@pytest.mark.parametrize("content_type", ["multipart/mixed; boundary=x", "message/rfc822"])
def test_limit_of_depth(content_type: str) -> None:
    content = f"Content-Type: {content_type}\r\n\r\n--x\r\n\r\nSubject: x\r\n\r\n".encode()
    parsed = parse(content, MimeLimits(depth=1))
    assert paths(parsed) == ["1"]
    assert [attachment.part for attachment in parsed.attachments] == [parsed.tree]
    assert parsed.defects == ("part 1: its content was not parsed: the message has too many parts or levels",)


@pytest.mark.parametrize(
    ("content", "limits", "expected"),
    [
        (b"Content-Type: message/rfc822\r\n\r\n" * 4, MimeLimits(depth=3), ["1", "1.1", "1.1.1"]),
        (b"Content-Type: message/rfc822\r\n\r\n" * 4, MimeLimits(parts=2), ["1", "1.1"]),
        (b"Content-Type: message/rfc822\r\n\r\n", MimeLimits(parts=1), ["1"]),
        (nested(4), MimeLimits(depth=3), ["TEXT", "1", "1.1"]),
    ],
)
def test_limits_further_down(content: bytes, limits: MimeLimits, expected: list[str]) -> None:
    assert paths(parse(content, limits)) == expected


@pytest.mark.parametrize("content_type", ["multipart/mixed", "multipart/mixed; boundary=y", "multipart"])
def test_what_is_taken_for_plain_text(content_type: str) -> None:
    parsed = parse(typed(content_type, "--x\n\na\n--x--\n"))
    assert (parsed.text, parsed.tree.content_type) == ("--x\n\na\n--x--\n", "text/plain")


def test_limit_of_text() -> None:
    parsed = parse(body("multipart/mixed", b"\r\n0123", b"\r\n4567", b"\r\n89"), MimeLimits(text=6))
    assert parsed.text == "0123\n45\n"
    assert [part.size for part in parsed.tree.children] == [4, 4, 2]
    assert parsed.defects == (
        "part 2: the text is longer than 6 octets; the rest is left out",
        "part 3: the text is longer than 6 octets; the rest is left out",
    )
