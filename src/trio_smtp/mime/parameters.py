"""The values of Content-Type and Content-Disposition: a word and its parameters (RFC 2045 §5.1, RFC 2183 §2).

Long and non-ASCII values are split as in RFC 2231. Against the rules, many senders write file names as encoded words,
or unquoted with spaces, so both are accepted for file names. Other values are made by programs and are read strictly.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final
from urllib.parse import unquote_to_bytes

from trio_smtp.mime.charsets import decode_octets
from trio_smtp.mime.fields import decode_words, to_text

__all__ = ["read_parameters"]

# Some senders leave out the semicolon.
_PARAMETER = re.compile(r'(?:;\s*|(?<![;\s])\s++)([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*["\\]?|[^;]*)')
_ESCAPED = re.compile(r'\\(["\\])')  # other backslashes belong to Windows paths
_PIECE = re.compile(r"(.+?)(?:\*([0-9]{1,5}))?(\*)?")  # RFC 2231 §3, §4
_FILE_NAMES: Final = frozenset({"name", "filename"})
_BEHIND_TOKEN = re.compile(r"[\s(].*")  # white space or a comment after a token: RFC 2045 §5.1
_FOLD = re.compile(r"\r?\n[ \t]?")


def read_parameters(value: bytes) -> tuple[str, dict[str, str]]:
    """The word in lower case, and the parameters by name in lower case. The first parameter of a name counts."""
    text = _FOLD.sub(" ", to_text(value))
    word = text.partition(";")[0].partition("(")[0].strip().strip('"').lower()  # some senders quote it
    plain: dict[str, str] = {}
    pieces: defaultdict[str, dict[int, tuple[str, bool]]] = defaultdict(dict)
    for match in _PARAMETER.finditer(text):
        piece = _PIECE.fullmatch(match[1].lower())
        assert piece is not None  # a name has at least one character
        name, number, extended = piece.groups()
        content = _unquote(match[2])
        if name not in _FILE_NAMES and not match[2].startswith('"'):
            content = _BEHIND_TOKEN.sub("", content)
        if number is None and extended is None:
            plain.setdefault(name, content)
        else:
            pieces[name].setdefault(int(number or 0), (content, extended is not None))
    values = plain | {name: _join(of_name) for name, of_name in pieces.items() if 0 in of_name}
    return word, {name: decode_words(value) if name in _FILE_NAMES else value for name, value in values.items()}


def _unquote(text: str) -> str:
    text = text.strip()
    return _ESCAPED.sub(r"\1", text[1:].removesuffix('"')) if text.startswith('"') else text


def _join(pieces: dict[int, tuple[str, bool]]) -> str:
    """The value made of the pieces from number 0 up to the first gap in the numbers."""
    first, has_charset = pieces[0]
    charset = "utf-8"
    if has_charset and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
    octets = []
    for number in range(len(pieces)):
        if number not in pieces:
            break
        text, extended = pieces[number]
        if number == 0:
            text = first
        octets.append(unquote_to_bytes(text) if extended else text.encode())
    content = b"".join(octets)
    decoded = decode_octets(content, charset)
    return to_text(content) if decoded is None else decoded
