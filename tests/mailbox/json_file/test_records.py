"""Records: the format of each operation and delivery, and lines that are damaged or make no sense."""

from __future__ import annotations

import json
import zlib
from typing import get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mailbox.json_file.records import (
    BlobInfo,
    Place,
    decode,
    decode_content,
    encode,
    encode_blob,
    encode_body,
    encode_delivery,
    encode_mark,
    frame,
    parse,
    to_content,
)
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
    Operation,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    SpendUids,
    SpendUidValidities,
    UpdateAccount,
)

HERE = Place(3, 100, 0, 0, None)  # its length is set by the tests


def new(uid: int = 7, copy: int = 0, *, blob: str | None = None, account: str = "ann") -> NewMessage[Place]:
    return NewMessage(
        account, "INBOX", uid, frozenset({"\\Seen"}), 1_000_000_000, 12, HERE._replace(copy=copy, blob=blob)
    )


def delivery(body: bytes, *prefixes: bytes) -> bytes:
    messages = [new(7 + copy, copy) for copy in range(len(prefixes))]
    return encode_delivery(messages, prefixes, encode_body(body))


# The format must not change: stores written by older versions must stay readable.
OPERATIONS: list[tuple[Operation[Place], str]] = [
    (
        CreateAccount("ann", "Ann ü", ("ann@x",), "$scrypt$", None, 1),
        (
            '"type":"create_account","name":"ann","description":"Ann \\u00fc","addresses":["ann@x"],'
            '"credentials":"$scrypt$","quota":null,"uid_validity":1'
        ),
    ),
    (
        UpdateAccount("ann", "Ann ü", ("ann@x", "a@x")),
        '"type":"update_account","account":"ann","description":"Ann \\u00fc","addresses":["ann@x","a@x"]',
    ),
    (DeleteAccount("ann"), '"type":"delete_account","name":"ann"'),
    (SetQuota("ann", 5), '"type":"set_quota","account":"ann","quota":5'),
    (SetCredentials("ann", None), '"type":"set_credentials","account":"ann","credentials":null'),
    (KeepNote("a", "ü", 7, 5), '"type":"keep_note","key":"a","text":"\\u00fc","expires":7,"date":5'),
    (KeepSecret("0a1b"), '"type":"keep_secret","secret":"0a1b"'),
    (CreateMailbox("ann", "Sent", 2), '"type":"create_mailbox","account":"ann","name":"Sent","uid_validity":2'),
    (DeleteMailbox("ann", "Sent"), '"type":"delete_mailbox","account":"ann","name":"Sent"'),
    (RenameMailbox("ann", "a", "b"), '"type":"rename_mailbox","account":"ann","name":"a","new_name":"b"'),
    (SetReadOnly("ann", "a", True), '"type":"set_read_only","account":"ann","mailbox":"a","read_only":true'),
    (
        CopyMessage("ann", "a", 1, "b", 2, False),
        '"type":"copy_message","account":"ann","mailbox":"a","uid":1,"to":"b","new_uid":2,"move":false',
    ),
    (
        SetFlags("ann", "a", 1, frozenset({"b", "\\A"})),
        '"type":"set_flags","account":"ann","mailbox":"a","uid":1,"flags":["\\\\A","b"]',
    ),
    (DeleteMessage("ann", "a", 1), '"type":"delete_message","account":"ann","mailbox":"a","uid":1'),
    (SpendUids("ann", "a", 9), '"type":"spend_uids","account":"ann","mailbox":"a","uid_next":9'),
    (SpendUidValidities(9), '"type":"spend_uid_validities","uid_validity":9'),
    (
        AddMessages(
            [
                NewMessage("ann", "a", 1, frozenset({"b", "\\A"}), -5, 6, Place(7, 8, 9, 0, "blob")),
                NewMessage("ann", "a", 2, frozenset(), 0, 5, Place(7, 17, 19, 1, None)),
                NewMessage("ann", "a", 9, frozenset({"b", "\\A"}), 3, 4, Place(8, 0, 9, 2, None)),
            ]
        ),
        (
            '"type":"fill","account":"ann","mailbox":"a","flag_sets":[["\\\\A","b"],[]],"uids":[1,2,9],"flags":[0,1,0],'
            '"dates":[-5,0,3],"sizes":[6,5,4],"segments":[7,7,8],"offsets":[8,17,0],"lengths":[9,19,9],"copies":[0,1,2],'
            '"blobs":["blob",null,null]'
        ),
    ),
]


@pytest.mark.parametrize(("operation", "members"), OPERATIONS, ids=lambda value: type(value).__name__)
def test_operations(operation: Operation[Place], members: str) -> None:
    line = encode(operation)
    covered = f",{members}}}".encode()
    assert line == b'{"v":1,"crc":"%08x"%s\n' % (zlib.crc32(covered), covered)
    assert decode(line, 1, 0) == operation


def test_all_operations_are_here() -> None:
    types = {get_origin(each) or each for each in get_args(Operation)}
    assert {type(operation) for operation, _ in OPERATIONS} == types


def test_an_operation_of_older_stores() -> None:
    line = encode_mark("add_messages", messages=[["ann", "a", 1, [], -5, 6, [7, 8, 9, 10, "blob"]]])
    assert decode(line, 1, 0) == AddMessages(
        [NewMessage("ann", "a", 1, frozenset(), -5, 6, Place(7, 8, 9, 10, "blob"))]
    )


DELIVERY = (
    b'{"v":1,"crc":"346ad3cd","type":"deliver","date":1000000000,"flags":["\\\\Seen"],"messages":['
    b'{"account":"ann","mailbox":"INBOX","uid":7,"size":12,"prefix":"To: ann\\r\\n"},'
    b'{"account":"ann","mailbox":"INBOX","uid":8,"size":12,"prefix64":"VG86IMO8DQo="}],"body":"Hi\\n"}\n'
)


def test_delivery() -> None:
    line = delivery(b"Hi\n", b"To: ann\r\n", "To: ü\r\n".encode())
    assert line == DELIVERY
    first, second = new(7, 0), new(8, 1)
    first.body, second.body = first.body._replace(length=len(line)), second.body._replace(length=len(line))
    assert decode(line, 3, 100) == AddMessages([first, second])
    assert decode_content(line, 0) == (b"To: ann\r\n", b"Hi\n")
    assert decode_content(line, 1) == ("To: ü\r\n".encode(), b"Hi\n")


def test_delivery_with_a_blob() -> None:
    blob = BlobInfo("0123", 300_000, "89abcdef")
    line = encode_delivery([new(blob="0123")], [b""], encode_blob(blob))
    assert line.endswith(b'"prefix":""}],"blob":{"name":"0123","size":300000,"crc":"89abcdef"}}\n')
    operation = decode(line, 3, 100)
    assert isinstance(operation, AddMessages)
    assert operation.messages[0].body == Place(3, 100, len(line), 0, "0123")
    assert decode_content(line, 0) == (b"", blob)


def test_content_is_what_was_delivered_and_delivers_nothing() -> None:
    content = to_content(DELIVERY)
    assert decode(content, 3, 100) is None
    assert decode_content(content, 1) == decode_content(DELIVERY, 1)
    assert to_content(content) == content


@given(st.binary(), st.binary())
def test_octets_come_back(prefix: bytes, body: bytes) -> None:
    line = delivery(body, prefix)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode_content(line, 0) == (prefix, body)
    assert decode_content(to_content(line), 0) == (prefix, body)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20), st.binary(max_size=20))
def test_names_cannot_look_like_a_body(name: str, body: bytes) -> None:
    for account in (name, f'{name}","body":"', f'","body64":"{name}\\'):
        message = new(account=account)
        line = encode_delivery([message], [b""], encode_body(body))
        message.body = message.body._replace(length=len(line))
        assert decode(line, 3, 100) == AddMessages([message])


# --- invalid records


@pytest.mark.parametrize("line", [DELIVERY, OPERATIONS[0][0]], ids=["delivery", "operation"])
def test_any_octet_changed(line: bytes | CreateAccount) -> None:
    whole = line if isinstance(line, bytes) else encode(line)
    for position in range(len(whole)):
        for octet in {whole[position] ^ 1, whole[position] ^ 0x80, 0, 10} - {whole[position]}:
            with pytest.raises(RecordError):
                decode(whole[:position] + bytes([octet]) + whole[position + 1 :], 1, 0)


def test_any_part_of_a_line() -> None:
    for end in range(len(DELIVERY) - 1):
        with pytest.raises(RecordError):
            decode(DELIVERY[:end], 1, 0)
        with pytest.raises(RecordError):
            decode(DELIVERY[:end] + b"\n", 1, 0)


@given(st.binary())
def test_any_octets(line: bytes) -> None:
    for text in (line, frame(line), frame(b"," + line + b"}")):
        for function in (lambda line: decode(line, 1, 0), lambda line: decode_content(line, 0)):
            try:
                function(text)
            except RecordError:
                pass
            else:
                raise AssertionError(text)


@pytest.mark.parametrize(
    "covered",
    [
        b"",
        b",",
        b"," + b"[" * 100_000,
        b',"type":' + b'{"a":' * 100_000,
        b',"type":' + b"9" * 5000 + b"}",
        b',"type":"\xff"}',
        b"}]",
    ],
    ids=lambda covered: repr(covered[:20]),
)
def test_no_json(covered: bytes) -> None:
    with pytest.raises(RecordError):
        parse(frame(covered))


def altered(members: dict[str, object], **changes: object) -> bytes:
    changed = {**members, **changes}
    return frame(b"," + json.dumps({name: value for name, value in changed.items() if value != "gone"})[1:].encode())


MESSAGE = {"account": "ann", "mailbox": "INBOX", "uid": 1, "size": 1, "prefix": ""}
DELIVER: dict[str, object] = {"type": "deliver", "date": 1, "flags": [], "messages": [MESSAGE], "body": ""}
ROW = ["ann", "INBOX", 1, [], 1, 1, [1, 1, 1, 0, None]]
FILL: dict[str, object] = {
    "type": "fill", "account": "ann", "mailbox": "INBOX", "flag_sets": [[]], "uids": [1], "flags": [0], "dates": [1],
    "sizes": [1], "segments": [1], "offsets": [1], "lengths": [1], "copies": [0], "blobs": [None],
}  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        encode_mark("unknown"),
        encode_mark("end"),
        encode_mark("segment", type=1),
        encode_mark("delete_account"),
        encode_mark("delete_account", name=1),
        encode_mark("set_read_only", account="a", mailbox="b", read_only=0),
        altered(DELIVER, type=["deliver"]),
        altered(DELIVER, type="gone"),
        altered(DELIVER, date="1"),
        altered(DELIVER, flags=None),
        altered(DELIVER, flags=[1]),
        altered(DELIVER, messages={}),
        altered(DELIVER, messages=[1]),
        altered(DELIVER, messages=[{}]),
        altered(DELIVER, messages=[{**MESSAGE, "account": None}]),
        altered(DELIVER, messages=[{**MESSAGE, "uid": -1}]),
        altered(DELIVER, messages=[{**MESSAGE, "size": 1.5}]),
        altered(DELIVER, blob="name"),
        altered(DELIVER, blob={}),
        altered(FILL, uids=[1, 2]),
        altered(FILL, uids=["1"]),
        altered(FILL, uids=[True]),
        altered(FILL, flags=[1]),
        altered(FILL, flag_sets=[[1]]),
        altered(FILL, dates=[1.5]),
        altered(FILL, offsets=[-1]),
        altered(FILL, copies=[]),
        altered(FILL, lengths="gone"),
        altered(FILL, blobs=[5]),
        encode_mark("add_messages", messages=[ROW[:-1]]),
        encode_mark("add_messages", messages=[[*ROW[:-1], [1, 1]]]),
        encode_mark("add_messages", messages=[[*ROW[:-1], [1, 1, 1, 0, 5]]]),
        encode_mark("add_messages", messages=[[1, *ROW[1:]]]),
    ],
    ids=repr,
)
def test_a_record_that_makes_no_sense(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode(line, 1, 0)


@pytest.mark.parametrize(
    "line",
    [
        altered(DELIVER, body="gone"),
        altered(DELIVER, body=1),
        altered(DELIVER, body="ü"),
        altered(DELIVER, body="gone", body64="!!!!"),
        altered(DELIVER, body="gone", body64="YQ"),
        altered(DELIVER, messages=[]),
        altered(DELIVER, messages=[{}]),
        altered(DELIVER, body="gone", blob={"name": "a"}),
        altered(DELIVER, body="gone", blob={"name": "a", "size": -1, "crc": ""}),
        encode_mark("delete_account", name="a"),
    ],
    ids=repr,
)
def test_content_that_makes_no_sense(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode_content(line, 0)


def test_marks() -> None:
    assert parse(encode_mark("segment", number=2, previous=1)) == {
        "v": 1, "crc": "4de92be6", "type": "segment", "number": 2, "previous": 1
    }  # fmt: skip
    assert decode(encode_mark("segment"), 1, 0) is None
