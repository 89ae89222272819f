"""Header fields: split off a header and made text for people, in linear time, whatever they hold.

The `email` package of the standard library is not used: hostile fields make it raise, recurse or take seconds.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import groupby

from trio_smtp.mime.charsets import decode_octets

__all__ = ["HEAD", "body_start", "decode", "decode_words", "fields", "one_line", "read_fields", "to_text"]

HEAD = 256 * 1024  # octets of a message that may hold its header, for a listing

_EMPTY_LINE = re.compile(rb"\r?\n")  # mail with lone LFs may have been let in
_LINE_END_AND_EMPTY_LINE = re.compile(rb"\n\r?\n")  # begins with one octet, for which `re` looks at memchr's speed
_NEXT_FIELD = re.compile(rb"\n(?![ \t])")  # the same
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)  # RFC 5322 §3.6.8, §4.5

_WORD = r"=\?([a-z0-9_.:-]{1,40})(?:\*[a-z0-9-]*)?\?([bq])\?([^?]*)\?="  # RFC 2047 §2, with the language of RFC 2231 §5
_ENCODED_WORD = re.compile(_WORD, re.IGNORECASE | re.ASCII)
_ENCODED_WORDS = re.compile(rf"(?:{_WORD})+", re.IGNORECASE | re.ASCII)
_BETWEEN_WORDS = re.compile(r"(?<=\?=)[ \t]+(?==\?)")  # not shown: RFC 2047 §6.2
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a header in their order: name in lower case, value as it stands.

    Lines that are no fields are left out; `head` is the message or its beginning.
    """
    head = head[:HEAD]
    end = _end(head)
    yield from read_fields(head[: end.start()] if end else head)[0]


def body_start(content: bytes) -> int:
    """Where the body of a message begins: behind the first empty line, at the end if there is none."""
    end = _end(content)
    return end.end() if end else len(content)


def _end(content: bytes) -> re.Match[bytes] | None:
    """The end of the header: the first empty line, and the LF before it."""
    return _EMPTY_LINE.match(content) or _LINE_END_AND_EMPTY_LINE.search(content)


def read_fields(header: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """The fields of a header that ends where `header` does, and how many of its lines are none."""
    found, others = [], 0
    for piece in _NEXT_FIELD.split(header):
        line = piece.removesuffix(b"\r")
        field = _FIELD.fullmatch(line)
        if field:
            found.append((field[1].lower(), field[2]))
        elif line:
            others += 1
    return found, others


def decode(value: bytes) -> str:
    """The value of a field as text for people: unfolded, each blank one space, encoded words decoded."""
    return decode_words(re.sub("[ \t\r\n]+", " ", to_text(value)).strip(" "))


def to_text(value: bytes) -> str:
    """Octets of a header as they stand: UTF-8 (RFC 6532) if they are, else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def decode_words(text: str) -> str:
    """Decode the encoded words in a text (RFC 2047); what cannot be decoded is left as it stands."""
    return _ENCODED_WORDS.sub(_decode_run, _BETWEEN_WORDS.sub("", text)) if "=?" in text else text


def one_line(text: str) -> str:
    """Text without control characters and line ends, which encoded words can hide, a space in the place of each run."""
    return _CONTROL.sub(" ", text).strip(" ")


def _decode_run(run: re.Match[str]) -> str:
    """Neighbours in one charset are decoded as one: some senders cut a word in the middle of a character."""
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
        # Some leave the padding of base64 out; too much of it does no harm.
        return binascii.a2b_qp(encoded, header=True) if encoding in "qQ" else binascii.a2b_base64(encoded + b"===")
    except binascii.Error:
        return None
