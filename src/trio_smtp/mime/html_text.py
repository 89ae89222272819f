"""HTML mail as plain text: what stands between the tags, and where links lead, in linear time. No layout is attempted.

The parser of the standard library takes quadratic time for what is never closed in some of the Pythons that we support.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from trio_smtp.mime.fields import one_line

__all__ = ["find_links", "html_to_text", "resolve"]

_SPECIAL = re.compile(r"<!(--)|<(script|style|head|title|pre)\b[^<>]*>", re.IGNORECASE)
_CLOSING = {"--": re.compile("-->")} | {
    name: re.compile(rf"</{name}\b[^<>]*>?", re.IGNORECASE) for name in ("script", "style", "head", "title", "pre")
}
# A value in quotes may hold a ">". No tag holds a "<", so each is read once, nor so many pieces, which take memory.
_TAG = re.compile(
    r"""</?([a-z][a-z0-9]*)\b(?>[^<>=]+|=\s*(?:"[^"<]*"|'[^'<]*')?){0,1000}>|<[!?/][^<>]*>""", re.IGNORECASE
)
_HREF = re.compile(r"""(?<=[\s"'])href ?= ?(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_BREAKS = {  # a line feed, or \v where a new line is enough
    **dict.fromkeys(("br", "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"), "\n"),
    **dict.fromkeys(("div", "tr", "li", "ul", "ol", "dt", "dd", "table", "hr", "body"), "\v"),
    "td": " ",
    "th": " ",
}
# In a text, up to what hardly belongs to it: brackets round it, and signs that end a sentence, those of East Asia too.
_IN_URL = r"""[^\s\x00-\x1f\x7f-\x9f<>"()\u3000-\u303f\uff00-\uffef]"""
_URL = re.compile(rf"(?<![a-z0-9])https?://(?=\w)(?:{_IN_URL}+|\({_IN_URL}*\)){{1,100}}", re.IGNORECASE)
_ENDS = ".,:;!?'*]}"
_LONG_NUMBER = re.compile(r"&#([0-9]{8,}+)")  # a reference to a character, which Unicode cannot have


def html_to_text(markup: str) -> str:
    """The text in a piece of HTML; paragraphs are apart, other blocks begin new lines, a link has its URL behind it."""
    text = _TAG.sub(_Tags().text_for, "".join(_shown(markup)))
    paragraphs = ([line.strip() for line in lines.split("\v") if line.strip()] for lines in text.split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join("\n".join(lines) for lines in paragraphs)).strip("\n")
    return resolve(text)


def find_links(markup: str, text: str) -> Iterator[str]:
    """Where the links in a piece of HTML lead, other than within itself, and the URLs of the Web in a text."""
    for tag in _TAG.finditer("".join(_shown(markup))):
        if (tag[1] or "").lower() in {"a", "area"} and (url := one_line(resolve(_href(tag[0])))):
            yield url
    for found in _URL.finditer(text):
        yield found[0].rstrip(_ENDS)


def resolve(markup: str) -> str:
    """HTML with its character references resolved; long numbers are cut, for Python reads at most 4,300 digits."""
    return html.unescape(_LONG_NUMBER.sub(lambda number: f"&#{number[1].lstrip('0')[:8]}", markup))


def _href(tag: str) -> str:
    """The URL in a start tag as it is written; "" for a place in the same text."""
    href = None if tag.startswith("</") else _HREF.search(tag)
    url = next(filter(None, href.groups()), "").strip() if href else ""
    return "" if url.startswith("#") else url


class _Tags:
    """What stands in the place of a tag, one after the other."""

    def __init__(self) -> None:
        self._url = ""  # of the link that is open, if any
        self._begin = 0  # of its text

    def text_for(self, tag: re.Match[str]) -> str:
        name = (tag[1] or "").lower()
        if name != "a":
            return _BREAKS.get(name, "")
        url, self._url = self._url, _href(tag[0])
        if not tag[0].startswith("</"):
            self._begin = tag.end()
        elif url:
            text = _TAG.sub("", tag.string[self._begin : tag.start()]).strip()
            return "" if url in (text, f"mailto:{text}") else f" <{url}>" if text else f"<{url}>"
        return ""


def _shown(markup: str) -> Iterator[str]:
    """What is not comment, script or style, each blank one space, the lines of ``<pre>`` as they are."""
    at = 0
    while special := _SPECIAL.search(markup, at):
        yield re.sub(r"\s+", " ", markup[at : special.start()])
        name = (special[1] or special[2]).lower()
        closing = _CLOSING[name].search(markup, special.end())
        end, at = closing.span() if closing else (len(markup), len(markup))
        if name == "pre":
            yield "\v" + markup[special.end() : end].replace("\v", " ") + "\v"
    yield re.sub(r"\s+", " ", markup[at:])
