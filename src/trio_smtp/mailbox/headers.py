"""Header fields of stored mail, for listings and searches: bounded, never raising, whatever the mail holds.

The mail is hostile and was accepted with a 250 long ago, so nothing here may fail or take long: only the
first `HEAD` octets are looked at, every pattern is linear, and what cannot be decoded is shown as it stands.
"""

from __future__ import annotations

import re

from trio_smtp.mime.fields import HEAD, body_start, decode, fields

__all__ = ["HEAD", "SHOWN", "body_start", "decode", "fields", "summarise"]

SHOWN = 1000
"""Characters of a field in a listing."""

_DECODED = 8 * SHOWN  # octets of a field that are decoded for a listing
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]*\Z")  # where UTF-8 was cut


def summarise(head: bytes) -> tuple[str, str, str]:
    """Subject, sender (From) and recipients for a listing, each cut after 1,000 characters.

    The recipients are those of To and Cc; where these name nobody, those of Delivered-To, who were in Bcc.
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
