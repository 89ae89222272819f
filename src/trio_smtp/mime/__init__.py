"""MIME: what people see of a message, found in its octets.

The mail is hostile and was accepted with a 250 long ago, so `parse` never raises, whatever it is given. It is bounded
in what it looks at (`MimeLimits`), takes time in proportion to that, and says in `ParsedMessage.defects` what was wrong
and what it left out. The standard library is all that is used; nothing here knows SMTP, trio or a store.
"""

from __future__ import annotations

from trio_smtp.mime.html_text import html_to_text
from trio_smtp.mime.page import page
from trio_smtp.mime.parse import parse, texts
from trio_smtp.mime.values import Attachment, MailAddress, MimeLimits, ParsedMessage, Part

__all__ = ["Attachment", "MailAddress", "MimeLimits", "ParsedMessage", "Part", "html_to_text", "page", "parse", "texts"]
