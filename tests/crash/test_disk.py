"""The model of the disk: exactly which states it says a power cut may leave."""

from __future__ import annotations

from random import Random

import pytest

from tests.crash.disk import TOP, Call, Create, Disk, Rename, Sync, Truncate, Unlink, Write

FILE, OTHER, FOLDER = 1, 2, 3
CREATED = Create(TOP, "file", FILE, False)
NAMED: list[Call] = [CREATED, Sync(TOP)]
LASTING: list[Call] = [*NAMED, Write(FILE, 0, b"ab"), Sync(FILE)]
IN_FOLDER: list[Call] = [Create(TOP, "folder", FOLDER, True), Create(FOLDER, "file", FILE, False)]
DRAFT: list[Call] = [*LASTING, Create(TOP, "draft", OTHER, False), Write(OTHER, 0, b"c"), Sync(OTHER)]

CASES: list[tuple[str, list[Call], set[str]]] = [
    ("a name is not there before its directory is synced", [CREATED, Sync(FILE)], {"", "file="}),
    ("the directory makes the name last, not the data", [*NAMED, Write(FILE, 0, b"a"), Sync(TOP)],
     {"file=", "file=a", "file=0"}),
    ("fdatasync is enough to be longer", [*NAMED, Write(FILE, 0, b"ab"), Sync(FILE, data_only=True)], {"file=ab"}),
    ("a write is torn or zeroed", [*NAMED, Write(FILE, 0, b"ab")],
     {"file=", "file=a", "file=ab", "file=00", "file=0b", "file=a0"}),
    ("writes are kept in any order", [*NAMED, Write(FILE, 0, b"a"), Write(FILE, 1, b"b")],
     {"file=", "file=a", "file=0", "file=ab", "file=0b", "file=a0", "file=00"}),
    ("fdatasync is not enough to be shorter", [*LASTING, Truncate(FILE, 1), Sync(FILE, data_only=True)],
     {"file=ab", "file=a"}),
    ("fsync is", [*LASTING, Truncate(FILE, 1), Sync(FILE)], {"file=a"}),
    ("a removal may not last", [*LASTING, Unlink(TOP, "file")], {"file=ab", ""}),
    ("a synced one does", [*LASTING, Unlink(TOP, "file"), Sync(TOP)], {""}),
    ("a renaming has happened or has not", [*DRAFT, Sync(TOP), Rename(TOP, "draft", TOP, "file")],
     {"draft=c file=ab", "file=c"}),
    ("whatever becomes of what was before it", [*DRAFT, Rename(TOP, "draft", TOP, "file")],
     {"file=ab", "draft=c file=ab", "file=c"}),
    ("what is in a directory is lost with it", [*IN_FOLDER, Sync(FOLDER)], {"", "folder folder/file="}),
    ("after a failed sync a good one says nothing", [*NAMED, Write(FILE, 0, b"a"), Sync(FILE, failed=True), Sync(FILE)],
     {"file=", "file=a", "file=0"}),
    ("unless what it was for was cut off",
     [*LASTING, Write(FILE, 2, b"c"), Sync(FILE, failed=True), Truncate(FILE, 2), Sync(FILE)], {"file=ab"}),
]  # fmt: skip


def after_power_cut(disk: Disk) -> set[str]:
    return {
        " ".join(
            entry.path if entry.content is None else f"{entry.path}={entry.content.replace(bytes(1), b'0').decode()}"
            for entry in tree
        )
        for tree in disk.after_power_cut(Random(0), 1000)
    }


@pytest.mark.parametrize(("calls", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_power_cut(calls: list[Call], expected: set[str]) -> None:
    disk = Disk()
    for call in calls:
        disk.do(call)
    assert after_power_cut(disk) == expected
    assert after_power_cut(Disk(disk.now())) <= expected


def test_limit() -> None:
    disk = Disk()
    for node in range(1, 20):
        disk.do(Create(TOP, str(node), node, False))
    trees = list(disk.after_power_cut(Random(0), 100))
    assert len(trees) == 100
    assert {0, 1, 18, 19} <= {len(tree) for tree in trees}
