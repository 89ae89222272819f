"""Header fields of stored mail, for listings and searches: bounded work and no exceptions, whatever the mail contains.

Stored mail may be hostile, and was accepted with a 250 long ago, so nothing here may fail or take long: only the
first `HEAD` octets are read, every pattern matches in linear time, and what cannot be decoded is shown as it is.
"""

from __future__ import annotations

import re

from trio_smtp.mime.fields import HEAD, body_start, decode, fields

__all__ = ["HEAD", "SHOWN", "body_start", "decode", "fields", "summarise"]

SHOWN = 1000
"""Maximum length of a field in a listing, in characters."""

_DECODED = 8 * SHOWN  # octets of a field that are decoded for a listing
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]*\Z")  # a last UTF-8 sequence, which the cut may have split


def summarise(head: bytes) -> tuple[str, str, str]:
    """Return subject, sender (From) and recipients for a listing, each cut after 1,000 characters.

    The recipients are those of To and Cc. If both are empty, they are those of Delivered-To, who got a blind copy.
    """
    first: dict[bytes, bytes] = {}
    delivered_to: list[bytes] = []
    for name, value in fields(head):
        first.setdefault(name, value)
        if name == b"delivered-to":
            delivered_to.append(value.strip())
    subject, sender, to, cc = (_shown(first.get(name, b"")) for name in (b"subject", b"from", b"to", b"cc"))
    recipients = ", ".join(filter(None, (to, cc))) or _shown(b", ".join(delivered_to))
    return subject, sender, recipients[:SHOWN]


def _shown(value: bytes) -> str:
    if len(value) > _DECODED:
        value = _HALF_CHARACTER.sub(b"", value[:_DECODED])
    return decode(value)[:SHOWN]
