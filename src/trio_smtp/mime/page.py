"""HTML mail as one page for a browser, which runs nothing of it and fetches nothing for it.

The mail is not sanitised, for it should look as it was sent. It stands in a frame, escaped as the value of an
attribute, which no markup can leave; what it may do there is for the browser to say:

- The frame has the attribute ``sandbox``: no scripts, no forms, no plugins, no ``<meta http-equiv=refresh>``, and an
  origin of its own. A link opens in a new tab, at a click.
- A content security policy, which the frame inherits, lets pictures come from ``data:`` URLs, styles from the mail
  itself, and all else from nowhere.
- ``<link>``, for which browsers look up names and connect whatever the policy says, gets another name.
"""

from __future__ import annotations

import re
from base64 import b64encode
from html import escape, unescape
from typing import Final
from urllib.parse import unquote_to_bytes

from trio_smtp.mime.values import Attachment, ParsedMessage

__all__ = ["page"]

_LIMIT: Final = 64 * 1024 * 1024
# Pictures alone: SVG is a document, with scripts and all.
_PICTURES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
# RFC 2392. Python reads no number of more than 4,300 digits, as there may be in a reference to a character.
_QUOTE: Final = "&(?:quot|#3[49]);"  # as browsers write one within an attribute
_CID = re.compile(rf"""(["'(=]|{_QUOTE})cid:((?:(?!{_QUOTE})[^\s"'()<>]){{1,1000}})""", re.IGNORECASE)
_LINK = re.compile(r"<(?=link[\s/>])", re.IGNORECASE)
_PAGE: Final = """\
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
<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" srcdoc="{mail}"></iframe>
</body>
</html>
"""
_HEAD: Final = '<base target="_blank"><meta http-equiv="x-dns-prefetch-control" content="off">'


def page(parsed: ParsedMessage, *, limit: int = _LIMIT) -> str | None:
    """The HTML of a message as a page to open in a browser, None if it has none; to be encoded as UTF-8.

    A picture that is attached and that the HTML names by its content ID (``cid:``) is in the page, if it is a GIF,
    JPEG, PNG or WebP. Remote pictures are not shown, and nobody learns that the message was opened.

    Args:
        parsed: the message, whatever is in it.
        limit: characters that all the pictures may take up; the mail may name one picture a thousand times. Those
            beyond it are not shown.
    """
    if parsed.html is None:
        return None
    pictures = _Pictures(parsed, limit)
    mail = _CID.sub(pictures.url, _LINK.sub("<x-", parsed.html))
    return _PAGE.format(title=escape(parsed.subject), mail=escape(_HEAD + mail))


class _Pictures:
    """The pictures that a mail refers to, as URLs, up to a limit for all of them together."""

    def __init__(self, parsed: ParsedMessage, limit: int) -> None:
        self._attached: dict[str, Attachment] = {}
        for attachment in parsed.attachments:
            if attachment.content_id and attachment.content_type in _PICTURES:
                self._attached.setdefault(attachment.content_id, attachment)
        self._left = limit

    def url(self, reference: re.Match[str]) -> str:
        """What stands in the place of a reference."""
        picture = self._attached.get(unquote_to_bytes(unescape(reference[2])).decode(errors="replace"))
        if picture is None:
            return reference[0]
        head = f"data:{picture.content_type};base64,"
        self._left -= len(head) + (picture.size + 2) // 3 * 4
        if self._left < 0:
            return reference[0]
        return reference[1] + head + b64encode(picture.content).decode("ascii")
