"""Parse address fields (RFC 5322 §3.4) in one pass over their tokens. The obsolete forms of §4.4 are accepted too.

The field is split into addresses before encoded words are decoded, so that no comma or bracket in a decoded name can
turn part of the name into an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, groupby

from trio_smtp.mime.fields import decode_words, one_line, to_text
from trio_smtp.mime.values import MailAddress

__all__ = ["read_addresses"]

_TOKEN = re.compile(
    r'\s+|"(?:[^"\\]|\\.)*["\\]?|\[[^\[\]]*\]?|[<>,;:(]'
    r'|=\?[^?\s]*\?[bBqQ]\?[^?\s]*\?=|[^\s"\[<>,;:(]+',  # every text is a sequence of these tokens
    re.DOTALL,
)
_IN_COMMENT = re.compile(r"\\.|[()]")
_ROUTE = re.compile(r"\A@[^:]*:")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_addresses(value: bytes) -> Iterator[MailAddress | None]:
    """The mailboxes of an address field in their order, with None for an empty one and for the name of a group."""
    entry = _Entry()
    for token in _tokens(to_text(value)):
        kind = token[0]
        if kind == "(":
            entry.comment = token
        elif kind == "<":
            if entry.bracket is not None:  # a second "<": the comma between two addresses is missing
                yield entry.read()
                entry = _Entry()
            entry.bracket = entry.target = []
        elif kind == ">":
            entry.target = []  # ignore text after ">"
        elif kind in ",;" and not entry.in_route:
            yield entry.read()
            entry = _Entry()
        elif kind == ":" and entry.bracket is None:  # the entry so far was the name of a group
            yield None
            entry = _Entry()
        else:
            entry.target.append(token)
    yield entry.read()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while token := _TOKEN.match(text, at):
        at = _end_of_comment(text, at) if token[0] == "(" else token.end()
        yield text[token.start() : at]


def _end_of_comment(text: str, start: int) -> int:
    """The end of the comment that begins at `start`; the end of the text if it is not closed."""
    depth = 0
    for mark in _IN_COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end()
    return len(text)


class _Entry:
    """The tokens between two commas."""

    def __init__(self) -> None:
        self.phrase = list[str]()
        self.bracket: list[str] | None = None  # the tokens in angle brackets
        self.target = self.phrase  # where the next token goes
        self.comment = ""

    @property
    def in_route(self) -> bool:
        return self.target is self.bracket and "".join(self.target[:1]).startswith("@")

    def read(self) -> MailAddress | None:
        """The address, if there is one."""
        if self.bracket is None:
            name, address = self._bare()
        else:
            name = "".join(map(_meaning, self.phrase))
            address = _ROUTE.sub("", "".join(token for token in self.bracket if not token.isspace()))
        name, address = _shown(name), one_line(address)
        if not name and (address or not self.comment.endswith(")")):  # else it names nobody, as in an empty group
            name = _shown(_ESCAPED.sub(r"\1", self.comment[1:].removesuffix(")")))
        return MailAddress(name, address) if name or address else None

    def _bare(self) -> tuple[str, str]:
        """Name and address of an entry without brackets: the address is the last word with an "@", or the only word,
        unless that is quoted or encoded, as a name is.
        """
        words = _words(self.phrase)
        at = next((at for at, word in reversed([*enumerate(words)]) if _is_address(word)), None)
        if at is None and len(words) == 1 and not words[0][0].startswith(('"', "=?")):
            at = 0
        address = "" if at is None else "".join(words.pop(at))
        return " ".join("".join(map(_meaning, word)) for word in words), address


def _words(phrase: list[str]) -> list[list[str]]:
    """The words between white space. An address is one word even with white space around its dots and its "@"."""
    runs: list[list[list[str]]] = []
    for is_blank, tokens in groupby(phrase, str.isspace):
        if is_blank:
            continue
        word = list(tokens)
        if runs and (word[0][0] in ".@" or runs[-1][-1][-1] == "." or runs[-1][-1][-1].endswith("@")):
            runs[-1].append(word)
        else:
            runs.append([word])
    words: list[list[str]] = []
    for run in runs:
        joined = [*chain(*run)]
        words += [joined] if _is_address(joined) else run
    return words


def _is_address(word: list[str]) -> bool:
    return word != ["@"] and any("@" in token for token in word if not token.startswith('"'))


def _meaning(token: str) -> str:
    """The text of a token of a name, unquoted."""
    return _ESCAPED.sub(r"\1", token[1:].removesuffix('"')) if token.startswith('"') else token


def _shown(text: str) -> str:
    return one_line(decode_words(" ".join(text.split())))
