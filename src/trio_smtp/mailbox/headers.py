"""Header fields of stored mail, for listings and searches: bounded, never raising, whatever the mail holds.

The mail is hostile and was accepted with a 250 long ago, so nothing here may fail or take long: only the
first `HEAD` octets are looked at, every pattern is linear, and what cannot be decoded is shown as it stands.
"""

from __future__ import annotations

import re

from trio_smtp.mime.fields import HEAD, body_start, decode, fields

__all__ = ["HEAD", "body_start", "decode", "fields", "summarise"]

_SHOWN = 1000  # characters of a field in a listing
_DECODED = 8 * _SHOWN  # octets of a field that are decoded for a listing
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]*\Z")  # where UTF-8 was cut


def summarise(head: bytes) -> tuple[str, str, str]:
    """Subject, sender (From) and recipients (To and Cc) for a listing, each cut after 1,000 characters."""
    first: dict[bytes, bytes] = {}
    for name, value in fields(head):
        first.setdefault(name, value)
    subject, sender, to, cc = (_shown(first.get(name, b"")) for name in (b"subject", b"from", b"to", b"cc"))
    return subject, sender, ", ".join(filter(None, (to, cc)))[:_SHOWN]


def _shown(value: bytes) -> str:
    if len(value) > _DECODED:
        value = _HALF_CHARACTER.sub(b"", value[:_DECODED])
    return decode(value)[:_SHOWN]
