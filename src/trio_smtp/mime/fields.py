"""Header fields: split a header into fields and decode them as text for people, in linear time for any input.

The standard library's `email` package is not used, because hostile fields make it raise, recurse or take seconds.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import groupby

from trio_smtp.mime.charsets import decode_octets

__all__ = [
    "HEAD",
    "LINE_BEGIN",
    "body_start",
    "decode",
    "decode_words",
    "fields",
    "header_end",
    "one_line",
    "read_fields",
    "to_text",
]

HEAD = 256 * 1024  # the first octets of a message, in which a listing looks for the header

_EMPTY_LINE = re.compile(rb"\r?\n")  # the server may have been configured to accept bare LFs
# RFC 5322 §2.2: a field is a name of printable characters, a colon and a body, folded or not. A "From " line of an mbox
# file may stand between fields, because mail readers skip it, and a byte order mark of Windows before a field.
LINE_BEGIN = rb"[!-9;-~]++[ \t]*+:|[ \t]|>?From |\xef\xbb\xbf[!-9;-~]++[ \t]*+:"
_LINE = rb"(?:%b)[^\n]*+(?:\n|\Z)" % LINE_BEGIN
_HEADER = re.compile(rb"(?>(?:(?![ \t])(?:%b)+)?)" % _LINE)
_NEXT_FIELD = re.compile(rb"\n(?![ \t])")  # begins with a literal octet, which `re` finds with memchr
_FIELD = re.compile(rb"(?:\xef\xbb\xbf)?([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)  # RFC 5322 §3.6.8, §4.5

# RFC 2047 §2, with the language of RFC 2231 §5. Some senders do not encode question marks, so only "?=" ends a word. A
# word may not contain "=?", which begins the next one, so that no character is read twice.
_WORD = r"=\?([a-z0-9_.-]+)(?:\*[a-z0-9-]*)?\?([bq])\?([^?=]*(?:(?:\?(?!=)|=(?!\?(?!=)))[^?=]*)*)\?="
_ENCODED_WORD = re.compile(_WORD, re.IGNORECASE | re.ASCII)
_ENCODED_WORDS = re.compile(rf"(?:{_WORD})+", re.IGNORECASE | re.ASCII)
_BETWEEN_WORDS = re.compile(r"(?<=\?=)[ \t]+(?==\?)")  # white space that is not displayed: RFC 2047 §6.2
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a header in their order: name in lower case, raw value.

    `head` is the message or its beginning.
    """
    head = head[:HEAD]
    yield from read_fields(head[: header_end(head, 0, len(head))[0]])


def body_start(content: bytes) -> int:
    """Where the body of a message begins; see `header_end`."""
    return header_end(content, 0, len(content))[1]


def header_end(content: bytes, start: int, end: int) -> tuple[int, int]:
    """The end of the header that begins at `start`, at most `end`, and the start of the body.

    The empty line is between the two. If it is missing, the body begins with the first line that cannot belong to a
    header, where some mail servers insert an empty line.
    """
    header = _HEADER.match(content, start, end)
    assert header is not None  # the pattern also matches an empty header
    last = header.end()
    is_line_end = last == start or content.endswith(b"\n", start, last)
    empty = _EMPTY_LINE.match(content, last) if is_line_end else None
    return last, empty.end() if empty else last


def read_fields(header: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a header. Lines that belong to no field are left out."""
    fields = (_FIELD.fullmatch(piece.removesuffix(b"\r")) for piece in _NEXT_FIELD.split(header))
    return [(field[1].lower(), field[2]) for field in fields if field]


def decode(value: bytes) -> str:
    """The value of a field as text for people: unfolded, with single spaces and decoded encoded words."""
    return decode_words(re.sub("[ \t\r\n]+", " ", to_text(value)).strip(" "))


def to_text(value: bytes) -> str:
    """Raw octets of a header as text: as UTF-8 (RFC 6532) if they are valid UTF-8, else as windows-1252."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def decode_words(text: str) -> str:
    """Decode the encoded words in a text (RFC 2047). A word that cannot be decoded is left as it is."""
    return _ENCODED_WORDS.sub(_decode_run, _BETWEEN_WORDS.sub("", text)) if "=?" in text else text


def one_line(text: str) -> str:
    """Text with each run of control characters and line ends, which encoded words can hide, replaced by a space."""
    return _CONTROL.sub(" ", text).strip(" ")


def _decode_run(run: re.Match[str]) -> str:
    """Decode adjacent words of one charset together, because some senders split a character between two words."""
    words = [(word, _octets(word)) for word in _ENCODED_WORD.finditer(run[0])]
    text = []
    for charset, group in groupby(words, key=lambda pair: None if pair[1] is None else pair[0][1].lower()):
        neighbours = list(group)
        decoded = decode_octets(b"".join(octets or b"" for _, octets in neighbours), charset) if charset else None
        text.append("".join(word[0] for word, _ in neighbours) if decoded is None else decoded)
    return "".join(text)


def _octets(word: re.Match[str]) -> bytes | None:
    encoding, encoded = word[2], word[3].encode()
    try:
        # Some senders omit the padding of base64. Too much padding is harmless.
        return binascii.a2b_qp(encoded, header=True) if encoding in "qQ" else binascii.a2b_base64(encoded + b"===")
    except binascii.Error:
        return None
