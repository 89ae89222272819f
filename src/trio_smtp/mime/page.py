"""HTML mail as one page for a browser, which runs no script of the mail and fetches nothing for it.

The mail is not sanitised, because it should look as it was sent. The page shows it in a frame: the HTML is the escaped
value of the attribute ``srcdoc``, from which no markup can break out. The browser enforces what the mail may do:

- The frame has the attribute ``sandbox``: no scripts, no forms, no plugins, no ``<meta http-equiv=refresh>``, and an
  origin of its own. A click on a link opens it in a new tab.
- A content security policy, which the frame inherits, allows only pictures from ``data:`` URLs and the mail's styles.
- ``<link>`` tags are renamed, because browsers resolve names and connect for them whatever the policy says. So are
  ``<iframe>`` tags, which can hide them: ``<iframe srcdoc="&lt;link ...">``.

Control characters, which mean nothing in HTML, are replaced, in case the page is printed on a terminal.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import Final

from trio_smtp.mime.html_text import CID, content_id
from trio_smtp.mime.values import Attachment, ParsedMessage

__all__ = ["page"]

_LIMIT: Final = 64 * 1024 * 1024
# No SVG: it is a document that can contain scripts.
_PICTURES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_RENAMED = re.compile(r"<(?=(?:link|iframe)[\s/>])", re.IGNORECASE)
_BEGIN: Final = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta http-equiv="x-dns-prefetch-control" content="off">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>html, body, iframe {{ margin: 0; border: 0; width: 100%; height: 100%; display: block }}</style>
</head>
<body>
<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" srcdoc="\
"""
_END: Final = """\
"></iframe>
</body>
</html>
"""
_HEAD: Final = '<base target="_blank"><meta http-equiv="x-dns-prefetch-control" content="off">'


def page(parsed: ParsedMessage, *, limit: int = _LIMIT) -> str | None:
    """The HTML of a message as a page to open in a browser, None if it has no HTML. Encode the page as UTF-8.

    An attached GIF, JPEG, PNG or WebP picture that the HTML refers to by its content ID (``cid:``) is part of the page.
    Remote pictures are not loaded, so the sender does not learn that the message was opened.

    Args:
        parsed: the message, which may be hostile.
        limit: the most characters for all pictures together, because the mail may refer to one picture a thousand
            times. Pictures beyond it are not shown.
    """
    if parsed.html is None:
        return None
    mail = _HEAD + _RENAMED.sub("<x-", _CONTROL.sub("\ufffd", parsed.html))
    return "".join([_BEGIN.format(title=escape(parsed.subject)), *_Pictures(parsed, limit).in_place(mail), _END])


class _Pictures:
    """The attached pictures as ``data:`` URLs, up to a limit for all of them together."""

    def __init__(self, parsed: ParsedMessage, limit: int) -> None:
        self._attached: dict[str, Attachment] = {}
        for attachment in parsed.attachments:
            if attachment.content_id and attachment.content_type in _PICTURES:
                self._attached.setdefault(attachment.content_id, attachment)
        self._left = limit

    def in_place(self, mail: str) -> Iterator[str]:
        """The HTML, escaped, with URLs in place of the ``cid:`` references for which there are pictures.

        It comes in pieces, so that the pictures, which need no escaping, are not copied several times. A character
        beyond Latin-1 in the mail would even make each copy two or four times as large.
        """
        at = 0
        for reference in CID.finditer(mail):
            if url := self._url(content_id(reference)):
                yield escape(mail[at : reference.end(1)])
                yield url
                at = reference.end()
        yield escape(mail[at:])

    def _url(self, content_id: str) -> str:
        picture = self._attached.get(content_id)
        if picture is None:
            return ""
        head = f"data:{picture.content_type};base64,"
        self._left -= len(head) + (picture.size + 2) // 3 * 4
        return head + b64encode(picture.content).decode("ascii") if self._left >= 0 else ""
