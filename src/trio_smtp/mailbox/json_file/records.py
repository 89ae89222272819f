"""One record is one line, and the line is one JSON object:

    {"v":1,"crc":"8 hex digits","type":...}

`crc` is the CRC-32 of the octets behind that member: from the comma up to the closing brace, without the
newline. Types:

- one for each operation of `trio_smtp.mailbox.operations`, with the fields of the operation;
- `deliver`, the `AddMessages` of a delivery: the prefix of each message, and last the body that they share,
  or `blob`, the name, size and CRC-32 of the file that holds it. The `Place` of the content refers to this line;
- `content`, what a compaction makes of a `deliver`: it has the same content, but adds nothing to a mailbox;
- `fill`, an `AddMessages` to one mailbox that names the places of the contents, column by column, which is short and
  fast to read; older stores have `add_messages` instead, row by row;
- the marks of the files themselves (`segment`, `manifest`, `note`, `snapshot`, `end`), which their modules describe.

Octets are a JSON string if they are ASCII (`body`, `prefix`), else base64 in a string (`body64`, `prefix64`).
The body is the last member, so that replay parses only what precedes it: `,"body` cannot be inside a
JSON string, where the quote would be escaped.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import fields
from itertools import starmap
from json.encoder import encode_basestring_ascii as _quoted  # what json.dumps makes of a string, at a third of the cost
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import values
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.operations import (
    AddMessages,
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    KeepNote,
    KeepSecret,
    NewMessage,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    SpendUids,
    SpendUidValidities,
    UpdateAccount,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_smtp.mailbox.operations import Operation

_COVERED = 23  # offset of the octets that the checksum covers
_BODY = b',"body'
_DELIVER = b',"type":"deliver"'
_CONTENT = b',"type":"content"'


class Place(NamedTuple):
    """Where the content of a message is: a line of a segment, the number of its prefix there, and its blob if any."""

    segment: int
    offset: int
    length: int
    copy: int
    blob: str | None


class BlobInfo(NamedTuple):
    """What a record says of the file that holds its body."""

    name: str
    size: int
    crc: str


# --- lines


def frame(covered: bytes, content: bytes = b"") -> bytes:
    """Make a line of the members after the checksum: from the comma before them to the closing brace.

    The end may be passed separately as `content`; so it is copied only once, if it is large.
    """
    return b'{"v":1,"crc":"%08x"%b%b\n' % (zlib.crc32(content, zlib.crc32(covered)), covered, content)


def encode_mark(kind: str, **members: object) -> bytes:
    """Return the line for a type and its members."""
    members = {"type": kind, **members}
    text = json.dumps(members, separators=(",", ":"), default=sorted)  # sorted turns a set into a list
    return frame(b"," + text[1:].encode())


def check(line: bytes) -> None:
    """Raise RecordError if a line is not as it was written."""
    if line[-1:] != b"\n":
        raise RecordError("its end is missing")
    if line[:_COVERED] != b'{"v":1,"crc":"%08x"' % zlib.crc32(memoryview(line)[_COVERED:-1]):
        raise RecordError("the checksum is wrong")


def parse(line: bytes) -> dict[str, object]:
    """Check a line and return its members except for the body.

    Raises:
        RecordError: if anything is wrong with it.
    """
    check(line)
    end = line.find(_BODY, _COVERED)
    return _load(b"{" + line[_COVERED + 1 : end] + b"}" if end > 0 else line)


def _load(text: bytes) -> dict[str, object]:
    try:
        return values.members(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"no JSON: {error}") from None


# --- operations


def encode(operation: Operation[Place]) -> bytes:
    """Return the line for an operation. `AddMessages` must be for one mailbox, with the content at its places."""
    if isinstance(operation, AddMessages):
        return _fill(operation.messages)
    kind, names = _KINDS[type(operation)]
    return encode_mark(kind, **{name: getattr(operation, name) for name in names})


def _fill(messages: Sequence[NewMessage[Place]]) -> bytes:
    flag_sets = {flags: number for number, flags in enumerate({each.flags: None for each in messages})}
    segments, offsets, lengths, copies, blobs = zip(*[each.body for each in messages], strict=True)
    return encode_mark(
        "fill",
        account=messages[0].account,
        mailbox=messages[0].mailbox,
        flag_sets=list(flag_sets),
        uids=[each.uid for each in messages],
        flags=[flag_sets[each.flags] for each in messages],
        dates=[each.date for each in messages],
        sizes=[each.size for each in messages],
        segments=segments,
        offsets=offsets,
        lengths=lengths,
        copies=copies,
        blobs=blobs,
    )


def encode_delivery(messages: Sequence[NewMessage[Place]], prefixes: Sequence[bytes], content: bytes) -> bytes:
    """Return the line for the copies of one message, which have the same date and flags.

    Args:
        prefixes: one for each copy.
        content: from `encode_body` or `encode_blob`.
    """
    copies = ",".join(
        [
            f'{{"account":{_quoted(message.account)},"mailbox":{_quoted(message.mailbox)},"uid":{message.uid},'
            f'"size":{message.size},{_prefix(prefix)}}}'
            for message, prefix in zip(messages, prefixes, strict=True)
        ]
    )
    flags = json.dumps(sorted(messages[0].flags)) if messages[0].flags else "[]"
    head = f',"type":"deliver","date":{messages[0].date},"flags":{flags},"messages":[{copies}],'
    return frame(head.encode(), content)


def encode_body(body: bytes | bytearray) -> bytes:
    """Return the end of a delivery's line, with the body in it."""
    if body.isascii():
        return b'"body":%b}' % _quoted(body.decode("ascii")).encode()
    return b'"body64":"%b"}' % base64.b64encode(body)


def encode_blob(blob: BlobInfo) -> bytes:
    """Return the end of a delivery's line, with the body in a blob."""
    return b'"blob":%s}' % json.dumps(blob._asdict(), separators=(",", ":")).encode()


def _prefix(octets: bytes) -> str:
    if octets.isascii():
        return f'"prefix":{_quoted(octets.decode("ascii"))}'
    return f'"prefix64":"{base64.b64encode(octets).decode("ascii")}"'


def to_content(line: bytes) -> bytes:
    """Return the `content` record of the same content and the same length as this `deliver` or `content` record."""
    return frame(line[_COVERED:-1].replace(_DELIVER, _CONTENT, 1))


def decode(line: bytes, segment: int, offset: int) -> Operation[Place] | None:
    """Return the operation that a line at this offset of a segment records, or None if it records none.

    Raises:
        RecordError: if anything is wrong with the line.
    """
    record = parse(line)
    try:
        kind = record["type"]
        if kind == "deliver":
            return _delivery(record, segment, offset, len(line))
        if kind in ("content", "segment"):
            return None
        if kind == "fill":
            return _filling(record)
        if kind == "add_messages":
            return AddMessages([_message(row) for row in values.array(record["messages"])])
        make, readers = _READERS[values.text(kind)]
        return make(**{name: read(record[name]) for name, read in readers.items()})
    except (KeyError, IndexError, ValueError) as error:
        raise RecordError(f"not of this form: {error!r}") from None


def _delivery(record: dict[str, object], segment: int, offset: int, length: int) -> AddMessages[Place]:
    date = values.integer(record["date"])
    flags = values.flags(record["flags"])
    blob = values.text(values.members(record["blob"])["name"]) if "blob" in record else None
    messages: list[NewMessage[Place]] = []
    for copy, each in enumerate(values.array(record["messages"])):
        message = values.members(each)
        messages.append(
            NewMessage(
                values.text(message["account"]),
                values.text(message["mailbox"]),
                values.number(message["uid"]),
                flags,
                date,
                values.number(message["size"]),
                Place(segment, offset, length, copy, blob),
            )
        )
    return AddMessages(messages)


def _filling(record: dict[str, object]) -> AddMessages[Place]:
    account, mailbox = values.text(record["account"]), values.text(record["mailbox"])
    flag_sets = [values.flags(each) for each in values.array(record["flag_sets"])]
    places = starmap(
        Place,
        zip(
            values.numbers(record["segments"]),
            values.numbers(record["offsets"]),
            values.numbers(record["lengths"]),
            values.numbers(record["copies"]),
            map(values.optional_text, values.array(record["blobs"])),
            strict=True,
        ),
    )
    rows = zip(
        values.numbers(record["uids"]),
        values.numbers(record["flags"]),
        values.integers(record["dates"]),
        values.numbers(record["sizes"]),
        places,
        strict=True,
    )
    return AddMessages(
        [
            NewMessage(account, mailbox, uid, flag_sets[flags], date, size, place)
            for uid, flags, date, size, place in rows
        ]
    )


def _message(row: object) -> NewMessage[Place]:
    account, mailbox, uid, flags, date, size, place = values.array(row)
    segment, offset, length, copy, blob = values.array(place)
    return NewMessage(
        values.text(account),
        values.text(mailbox),
        values.number(uid),
        values.flags(flags),
        values.integer(date),
        values.number(size),
        Place(
            values.number(segment),
            values.number(offset),
            values.number(length),
            values.number(copy),
            values.optional_text(blob),
        ),
    )


# --- content


def decode_content(line: bytes, copy: int) -> tuple[bytes, bytes | BlobInfo]:
    """Return the prefix of one copy, and the body or the blob that holds it.

    Raises:
        RecordError: if anything is wrong with the line.
    """
    check(line)
    record = _load(line)
    try:
        prefix = _from_octets(values.members(values.array(record["messages"])[copy]), "prefix")
        if "blob" not in record:
            return prefix, _from_octets(record, "body")
        blob = values.members(record["blob"])
        return prefix, BlobInfo(values.text(blob["name"]), values.number(blob["size"]), values.text(blob["crc"]))
    except (KeyError, IndexError, ValueError) as error:
        raise RecordError(f"not of this form: {error!r}") from None


def _from_octets(members: dict[str, object], name: str) -> bytes:
    if name in members:
        return values.text(members[name]).encode("ascii")
    return base64.b64decode(values.text(members[f"{name}64"]), validate=True)


# --- the table of operations

# What checks a field, by its annotation in the operation.
_VALUES: dict[object, Callable[[object], object]] = {
    "str": values.text,
    "str | None": values.optional_text,
    "tuple[str, ...]": values.texts,
    "frozenset[str]": values.flags,
    "int": values.number,
    "int | None": values.optional_number,
    "bool": values.truth,
}

_NAMES: dict[str, type[Operation[Place]]] = {
    "create_account": CreateAccount,
    "update_account": UpdateAccount,
    "delete_account": DeleteAccount,
    "set_credentials": SetCredentials,
    "keep_secret": KeepSecret,
    "keep_note": KeepNote,
    "set_quota": SetQuota,
    "create_mailbox": CreateMailbox,
    "delete_mailbox": DeleteMailbox,
    "rename_mailbox": RenameMailbox,
    "set_read_only": SetReadOnly,
    "copy_message": CopyMessage,
    "set_flags": SetFlags,
    "delete_message": DeleteMessage,
    "spend_uids": SpendUids,
    "spend_uid_validities": SpendUidValidities,
}
_KINDS = {made: (kind, [field.name for field in fields(made)]) for kind, made in _NAMES.items()}
_READERS: dict[str, tuple[Callable[..., Operation[Place]], dict[str, Callable[[object], object]]]] = {
    kind: (made, {field.name: _VALUES[field.type] for field in fields(made)}) for kind, made in _NAMES.items()
}
