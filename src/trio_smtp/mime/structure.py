"""The tree of a message: headers and bodies, separated by empty lines and boundaries (RFC 2046 §5.1).

To find its parts, each multipart's range of the message is searched for its boundary, starting with the outermost. So a
part cannot extend beyond its parent, and each level costs one search: at worst, the octets times the depth. Nothing is
copied before it is decoded.

The parser of the standard library is not used: it compares each line with every open boundary (150 levels make it 500
times slower), makes an object for every part before they can be counted, and recurses as deep as the mail is nested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from trio_smtp.mime.fields import header_end, one_line, read_fields, to_text
from trio_smtp.mime.parameters import read_parameters
from trio_smtp.mime.transfer import IDENTITY, decode_content
from trio_smtp.mime.values import MimeLimits, Part

__all__ = ["Builder", "Defects", "Field", "shown"]

Field = tuple[bytes, bytes]
"""Name in lower case, value."""

_MOST_DEFECTS: Final = 100
_LOOKS: Final = 100  # occurrences of a boundary to look at, for each part that a message may have
_REST_OF_DELIMITER = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")
_HALF = r"[!#$%&'*+.^_`{|}~0-9a-z-]{1,100}"  # RFC 2045 §5.1, in lower case
_TYPE = re.compile(rf"{_HALF}/{_HALF}(?!\S)")
_CHARSET = re.compile(r"[^\s()\"'\x00-\x1f\x7f-\x9f]+")
_MESSAGES: Final = frozenset({"message/rfc822", "message/global"})  # RFC 6532 §3.7


class Defects:
    """The defects of a message: each sentence once, and at most 100."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, sentence: str) -> None:
        """Add a sentence of printable ASCII."""
        if len(self._found) < _MOST_DEFECTS:
            self._found[sentence] = None

    def all(self) -> tuple[str, ...]:
        """The sentences in the order in which they were found."""
        return tuple(self._found)


@dataclass(slots=True)
class _Header:
    """The properties of a part that its header declares, and what was wrong with the part."""

    fields: list[Field]
    content_type: str
    parameters: dict[str, str] = field(default_factory=dict)
    disposition: str = ""
    filename: str = ""
    encoding: str = ""
    content_id: str = ""
    wrong: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Set the attributes from the fields. Of several fields with one name the first counts."""
        values: dict[bytes, bytes] = {}
        for name, value in self.fields:
            if name.startswith(b"content-") and values.setdefault(name, value) != value:
                self.wrong.append(f"it has more than one {name.decode('ascii').title()}, which differ")
        declared, self.parameters = read_parameters(values.get(b"content-type", b""))
        if declared:
            valid = _TYPE.match(declared)
            self.content_type = valid[0] if valid else "text/plain"
            if self.content_type != declared:  # perhaps the semicolon behind it is missing
                self.wrong.append(f"its type {shown(declared)} is not valid; it is taken for {self.content_type}")
        disposition, disposed = read_parameters(values.get(b"content-disposition", b""))
        self.disposition = one_line(disposition.partition(" ")[0])
        self.filename = one_line(disposed.get("filename") or self.parameters.get("name", ""))
        self.encoding = read_parameters(values.get(b"content-transfer-encoding", b""))[0]
        self.content_id = _bare_id(to_text(values.get(b"content-id", b"")))

    @property
    def delsp(self) -> bool:
        declared = [self.parameters.get(name, "").lower() for name in ("format", "delsp")]
        return self.content_type == "text/plain" and declared == ["flowed", "yes"]


class Builder:
    """Builds the tree of one message."""

    def __init__(self, limits: MimeLimits, defects: Defects) -> None:
        self._limits = limits
        self._defects = defects
        self._header_left = limits.header
        self._parts_left = limits.parts
        self._looks_left = _LOOKS * limits.parts
        self._octets_left = limits.octets  # to decode; messages that are encoded can contain each other

    def message(self, source: bytes, end: int) -> tuple[list[Field], Part]:
        """The header fields of the message in ``source[:end]``, and the tree of its body."""
        return self._part(source, 0, end, 1, "1", message="")

    def _part(
        self,
        source: bytes,
        start: int,
        end: int,
        depth: int,
        path: str,
        *,
        default: str = "text/plain",
        message: str | None = None,
    ) -> tuple[list[Field], Part]:
        """The header fields of the part from `start` to `end`, and its tree.

        Args:
            path: its section number.
            default: its content type if the header declares none.
            message: if this is a whole message, the prefix of the section numbers within it.
        """
        self._parts_left -= 1
        header, start = self._header(source, start, end, default)
        ranges: list[tuple[int, int]] = []
        if header.content_type.startswith("multipart/"):
            ranges = self._split(header, source, start, end, depth)
        elif header.encoding not in IDENTITY and self._may_decode(header, end - start):
            source, wrong = decode_content(source[start:end], header.encoding)
            start, end = 0, len(source)
            header.wrong += [wrong] if wrong else []

        inner = f"{path}."
        if ranges and message is not None:
            path, inner = f"{message}TEXT", message
        children: list[Part] = []
        if header.content_type in _MESSAGES and self._may_look_into(header, depth):
            children.append(self._part(source, start, end, depth + 1, f"{inner}1", message=inner)[1])
        default = "message/rfc822" if header.content_type == "multipart/digest" else "text/plain"  # RFC 2046 §5.1.5
        for number, (first, last) in enumerate(ranges, 1):
            if not self._parts_left:
                header.wrong.append(f"the message has more than {self._limits.parts} parts; the others are left out")
                break
            children.append(self._part(source, first, last, depth + 1, f"{inner}{number}", default=default)[1])

        for wrong in header.wrong:
            self._defects.add(f"part {path}: {wrong}")
        charset = _CHARSET.search(header.parameters.get("charset", ""))
        return header.fields, Part(
            path=path,
            content_type=header.content_type,
            charset=charset[0] if charset else None,
            disposition=header.disposition,
            filename=header.filename,
            content_id=header.content_id,
            root_id=_bare_id(header.parameters.get("start", "")),
            delsp=header.delsp,
            children=tuple(children),
            source=source,
            start=start,
            end=end,
        )

    def _header(self, source: bytes, start: int, end: int, default: str) -> tuple[_Header, int]:
        """The header of the part from `start` to `end`, and the start of its body."""
        header = _Header([], default)
        most = min(end, start + self._header_left)
        last, body = header_end(source, start, most)
        body = min(body, end)
        self._header_left -= last - start
        header.fields = read_fields(source[start:last])
        if last == body == most < end:
            header.wrong.append(f"the headers are longer than {self._limits.header} octets; the rest is taken for text")
        elif start == last == body < end:
            header.wrong.append("it has no header")
        elif last == body < end:
            header.wrong.append("its header ends at a line that is not a header field")
        header.read()
        return header, body

    def _split(self, header: _Header, source: bytes, start: int, end: int, depth: int) -> list[tuple[int, int]]:
        """The ranges of the parts of a multipart. If there are none, it becomes plain text, so that nothing is lost."""
        if header.encoding not in IDENTITY:
            header.wrong.append(f"a multipart cannot be encoded as {shown(header.encoding)}")
        if not self._may_look_into(header, depth):
            return []
        boundary = header.parameters.get("boundary", "").rstrip().encode()
        if not boundary:
            header.wrong.append("it is a multipart without a boundary; it is taken for plain text")
            header.content_type = "text/plain"
            return []
        ranges: list[tuple[int, int]] = []
        begin = None  # where the current part begins
        for before, after, is_last in self._delimiters(source, start, end, b"--" + boundary):
            if begin is not None:
                ranges.append((begin, max(begin, before)))
            begin = after
            if is_last or len(ranges) > self._parts_left:
                break
        else:
            if not self._looks_left:
                header.wrong.append("too much of it looks like a boundary; the rest was not parsed")
            if begin is not None:
                header.wrong.append("its last boundary is missing")
                ranges.append((begin, end))
        if not ranges:
            header.wrong.append("its boundary does not occur; it is taken for plain text")
            header.content_type = "text/plain"
        return ranges

    def _delimiters(self, source: bytes, start: int, end: int, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
        """The delimiter lines in a range: the start of the line break before it, its end, and whether it is the last.

        The line break before a delimiter line belongs to the delimiter (RFC 2046 §5.1.1).
        """
        at = source.find(delimiter, start, end)
        while at >= 0 and self._looks_left:
            self._looks_left -= 1
            rest = _REST_OF_DELIMITER.match(source, at + len(delimiter), end)
            if rest and source[at - 1] == ord("\n"):
                before = at - (2 if source[at - 2 : at] == b"\r\n" else 1)
                yield before, rest.end(), rest[1] is not None
            at = source.find(delimiter, at + len(delimiter), end)

    def _may_look_into(self, header: _Header, depth: int) -> bool:
        if depth < self._limits.depth and self._parts_left:
            return True
        header.wrong.append("its content was not parsed: the message has too many parts or levels")
        return False

    def _may_decode(self, header: _Header, octets: int) -> bool:
        if octets <= self._octets_left:
            self._octets_left -= octets
            return True
        header.wrong.append("it was not decoded: with the messages around it, too much is encoded")
        return False


def _bare_id(content_id: str) -> str:
    """A Content-ID without its angle brackets (RFC 2392 §2)."""
    return one_line(content_id).removeprefix("<").removesuffix(">")


def shown(value: str) -> str:
    """A value that the sender wrote, shortened and in ASCII, to be quoted in a defect."""
    return ascii(value[:40])
