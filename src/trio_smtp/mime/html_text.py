"""HTML mail as plain text: the text, also that of pictures, and the URLs of links, in linear time, without layout.

In some supported versions of Python, the parser of the standard library takes quadratic time for unclosed constructs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote_to_bytes, urljoin

from trio_smtp.mime.fields import one_line

__all__ = ["CID", "content_id", "find_links", "html_to_text", "resolve"]

_QUOTE = "&(?:quot|#3[49]);"  # a quotation mark within an attribute
# A cid: URL (RFC 2392). It is bounded, because `unescape` raises for a character reference of more than 4,300 digits.
CID = re.compile(rf"""(["'(=]|{_QUOTE})cid:((?:(?!{_QUOTE})[^\s"'()<>]){{1,1000}})""", re.IGNORECASE)
"""A reference to an attached picture, with the character before it."""

_SPECIAL = re.compile(r"<!(--)|<(script|style|title|pre)\b[^<>]*>", re.IGNORECASE)
_CLOSING = {"--": re.compile("-->")} | {
    name: re.compile(rf"</{name}\b[^<>]*>?", re.IGNORECASE) for name in ("script", "style", "title", "pre")
}
# A quoted value may contain ">". A tag may not contain "<", so that no octet is read twice, nor more than 1,000 pieces,
# because each piece takes memory while matching.
_TAG = re.compile(
    r"""</?([a-z][a-z0-9]*)\b(?>[^<>=]+|=\s*(?:"[^"<]*"|'[^'<]*')?){0,1000}>|<[!?/][^<>]*>""", re.IGNORECASE
)
_ATTRIBUTE = re.compile(r"""(?<=[\s"'/])([^\s"'<>/=]++)\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_BASE = re.compile(r"<base\b[^<>]{1,300}>", re.IGNORECASE)  # bounded, because each link repeats it
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_BARE = re.compile("&(?!#|[a-z0-9]+;)", re.IGNORECASE)  # in "?a=1&copy=2" as browsers read it: HTML §13.2.5.73
_BREAKS = {  # "\n" ends a line, "\v" does so unless it is empty, and both together make an empty line
    "br": "\n",
    **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"), "\v\n"),
    **dict.fromkeys(("div", "tr", "li", "ul", "ol", "dt", "dd", "table", "hr", "body"), "\v"),
    **dict.fromkeys(("section", "article", "header", "footer", "main", "nav", "aside", "center", "address"), "\v"),
    **dict.fromkeys(("form", "fieldset", "legend", "figure", "figcaption", "caption", "option"), "\v"),
    "td": " ",
    "th": " ",
}
_EMPTY_LINE = re.compile("\v *\n")  # also in <div><br></div>
_EMPTY_LINES = re.compile("\n(?:[ \xa0]*+\n)+")  # Outlook writes each as a paragraph of &nbsp;
# A URL in a text ends before characters that hardly belong to it: enclosing brackets, East Asian punctuation.
_IN_URL = r"""[^\s\x00-\x1f\x7f-\x9f<>"()\[\]\u3000-\u303f\uff00-\uffef]"""
_URL = re.compile(
    rf"(?<![a-z0-9])https?://(?=\w|\[)(?:{_IN_URL}+|\({_IN_URL}*\)|\[{_IN_URL}*\]){{1,100}}", re.IGNORECASE
)
_ENDS = ".,:;!?'*}`“”„‘’«»…"
_LONG_NUMBER = re.compile(r"&#([0-9]{8,}+)")  # a character reference with more digits than Unicode needs


def html_to_text(markup: str) -> str:
    """The text of HTML, with the alternative texts of pictures. Empty lines separate paragraphs, other blocks begin
    new lines, and the URL of a link follows it.
    """
    text = _TAG.sub(_Tags(_base(markup)).text_for, "".join(_shown(markup)))
    text = _EMPTY_LINE.sub("\n\n", text)
    paragraphs = ([line.strip() for line in lines.split("\v") if line.strip()] for lines in text.split("\n"))
    text = resolve("\n".join("\n".join(lines) for lines in paragraphs))
    return _EMPTY_LINES.sub("\n\n", text).strip("\n \xa0")


def find_links(markup: str, text: str) -> Iterator[str]:
    """The URLs of the links in HTML, except links within the document, then the http and https URLs in a text."""
    base = _base(markup)
    for tag in _TAG.finditer("".join(_shown(markup))):
        if (tag[1] or "").lower() in {"a", "area"} and (url := _href(tag[0], base)):
            yield url
    for found in _URL.finditer(text):
        yield found[0].rstrip(_ENDS)


def content_id(reference: re.Match[str]) -> str:
    """The content ID that a match of `CID` refers to."""
    return unquote_to_bytes(html.unescape(reference[2])).decode(errors="replace")


def resolve(markup: str) -> str:
    """HTML with its character references resolved. Long numbers are cut, because Python reads at most 4,300 digits."""
    return html.unescape(_LONG_NUMBER.sub(lambda number: f"&#{number[1].lstrip('0')[:8]}", markup))


def _base(markup: str) -> str:
    """The URL to which the relative URLs of a document refer; "" if it names none."""
    return next(filter(None, (_href(base[0]) for base in _BASE.finditer(markup))), "")


def _href(tag: str, base: str = "") -> str:
    """The href of a start tag, on one line; "" if there is none or it is a fragment of the same document."""
    written = "" if tag.startswith("</") else _attribute(tag, "href")
    url = one_line(resolve(_BARE.sub("&amp;", written)))
    if url.startswith("#"):
        return ""
    if url and base and not _ABSOLUTE.match(url):
        with suppress(ValueError):  # brackets that do not enclose an IPv6 address
            return urljoin(base, url)
    return url


def _attribute(tag: str, name: str) -> str:
    """The value of an attribute as it is written, "" if the tag has none. The first one of the name counts."""
    values = (found[2] or found[3] or found[4] or "" for found in _ATTRIBUTE.finditer(tag) if found[1].lower() == name)
    return next(values, "")


def _alt(tag: re.Match[str]) -> str:
    """What stands for a picture in the text, such as an emoji; "" for other tags."""
    return _attribute(tag[0], "alt") if (tag[1] or "").lower() == "img" else ""


class _Tags:
    """Gives the replacements for the tags of a text, in order: line breaks, the text of a picture, and the URL at the
    end of a link.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._url = ""  # of the open link, if any
        self._begin = 0  # where the text of that link begins

    def text_for(self, tag: re.Match[str]) -> str:
        name = (tag[1] or "").lower()
        if name != "a":
            return _BREAKS.get(name) or _alt(tag)
        url, self._url = self._url, _href(tag[0], self._base)
        if not tag[0].startswith("</"):
            self._begin = tag.end()
        elif url:
            text = resolve(_TAG.sub(_alt, tag.string[self._begin : tag.start()])).strip()
            shown = html.escape(f"<{url}>")  # the references of the whole text are resolved at the end
            return "" if url in (text, f"mailto:{text}") else f" {shown}" if text else shown
        return ""


def _shown(markup: str) -> Iterator[str]:
    """The HTML without comments, scripts, styles and title. White space outside ``<pre>`` is collapsed."""
    at = 0
    while special := _SPECIAL.search(markup, at):
        yield re.sub(r"\s+", " ", markup[at : special.start()])
        name = (special[1] or special[2]).lower()
        closing = _CLOSING[name].search(markup, special.start() + 2)  # <!--> is a comment
        end, at = closing.span() if closing else (len(markup), len(markup))
        if name == "pre":
            yield "\v" + markup[special.end() : end].replace("\v", " ") + "\v"
    yield re.sub(r"\s+", " ", markup[at:])
