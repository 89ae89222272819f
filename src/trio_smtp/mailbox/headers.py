"""Header fields of stored mail, for listings and searches: bounded, never raising, whatever the mail holds.

The mail is hostile and was accepted with a 250 long ago, so nothing here may fail or take long: only the
first `HEAD` octets are looked at, every pattern is linear, and what cannot be decoded is shown as it stands.
The `email` package of the standard library is not used: hostile fields make it raise, recurse or take
seconds.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

__all__ = ["HEAD", "body_start", "decode", "decode_octets", "fields", "summarise"]

HEAD = 256 * 1024  # octets of a message that may hold its header
_SHOWN = 1000  # characters of a field in a listing
_DECODED = 8 * _SHOWN  # octets of a field that are decoded for a listing
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]*\Z")  # where UTF-8 was cut

_END = re.compile(rb"(?:\A|\r?\n)\r?\n")  # the first empty line; mail with lone LFs may have been let in
_NEXT_FIELD = re.compile(rb"\r?\n(?![ \t])")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)  # RFC 5322 §3.6.8, §4.5

_ENCODED_WORD = re.compile(  # RFC 2047 §2, with the language of RFC 2231 §5
    r"=\?([a-z0-9_.:-]{1,40})(?:\*[a-z0-9-]*)?\?([bq])\?([^?]*)\?=", re.IGNORECASE | re.ASCII
)
_BETWEEN_WORDS = re.compile(r"(?<=\?=)[ \t]+(?==\?)")  # not shown: RFC 2047 §6.2

# Only these are looked up: Python remembers every unknown name for ever, and has codecs that are no charsets.
_CHARSET = re.compile(
    r"utf-?8|utf-7|utf-16(?:be|le)?|(?:us-)?ascii|iso-?8859-(?:[1-9]|1[013-6])|latin-?1|windows-125[0-8]"
    r"|cp(?:125[0-8]|437|850|866|874|932|949|950)|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)"
    r"|iso-2022-(?:jp|kr)|ks_c_5601-1987|tis-620",
    re.IGNORECASE | re.ASCII,
)


def fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a header in their order: name in lower case, value as it stands.

    Lines that are no fields are left out; `head` is the message or its beginning.
    """
    head = head[:HEAD]
    end = _END.search(head)
    for line in _NEXT_FIELD.split(head[: end.start()] if end else head):
        field = _FIELD.fullmatch(line)
        if field:
            yield field[1].lower(), field[2]


def body_start(content: bytes) -> int:
    """Where the body of a message begins: behind the first empty line, at the end if there is none."""
    end = _END.search(content)
    return end.end() if end else len(content)


def decode(value: bytes) -> str:
    """The value of a field as text for people: unfolded, each blank one space, encoded words decoded."""
    try:
        text = value.decode()  # RFC 6532
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    text = re.sub("[ \t\r\n]+", " ", text).strip(" ")
    if "=?" in text:
        text = _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub("", text))
    return text


def decode_octets(octets: bytes, charset: str) -> str | None:
    """Octets in a charset of mail as text, with U+FFFD for what it does not have; None if it is no such charset."""
    return octets.decode(charset, "replace") if _CHARSET.fullmatch(charset) else None


def _decode_word(word: re.Match[str]) -> str:
    charset, encoding, encoded = word[1], word[2], word[3].encode()
    try:
        # Some leave the padding of base64 out; too much of it does no harm.
        octets = binascii.a2b_qp(encoded, header=True) if encoding in "qQ" else binascii.a2b_base64(encoded + b"===")
    except binascii.Error:
        return word[0]
    text = decode_octets(octets, charset)
    return word[0] if text is None else text


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
