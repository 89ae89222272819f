"""MIME: parse a message into what people see of it.

Mail can be hostile, and the server has already accepted it with a 250, so `parse` never raises, whatever its input. It
reads no more than `MimeLimits` allows, takes time in proportion to that, and reports in `ParsedMessage.defects` what
was wrong and what it left out. It uses only the standard library and knows nothing about SMTP, trio or a store.
"""

from __future__ import annotations

from trio_smtp.mime.html_text import html_to_text
from trio_smtp.mime.page import page
from trio_smtp.mime.parse import parse, texts
from trio_smtp.mime.values import Attachment, MailAddress, MimeLimits, ParsedMessage, Part

__all__ = ["Attachment", "MailAddress", "MimeLimits", "ParsedMessage", "Part", "html_to_text", "page", "parse", "texts"]
