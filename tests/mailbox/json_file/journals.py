"""Tools for tests of `Journal`: a directory with a journal, and the numbers of its records.

A journal needs the lock of the store; these tests do without, as nothing else uses it. Each `Journal` object stands for
a process.
"""

from __future__ import annotations

from pathlib import Path

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.journal import Journal, segment_name
from trio_smtp.mailbox.json_file.records import encode_mark, parse
from trio_smtp.mailbox.json_file.values import RecordError


def record(number: int) -> bytes:
    return encode_mark("test", number=number)


class Place:
    """A directory with a journal in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = files.Directory.at(str(path), create=True)
        self.folder = self.root.directory("journal")
        self.opened: list[Journal] = []

    def journal(self) -> Journal:
        """The journal as a process that opens it now sees it, with the cursor at the beginning."""
        journal = Journal(self.root, self.folder)
        self.opened.append(journal)
        journal.load()
        journal.seek(journal.manifest.segments[0], 0, 0)
        return journal

    def numbers(self) -> list[int]:
        """The numbers of the records that a process which opens the journal now reads."""
        return numbers(self.journal())

    def segment(self, number: int) -> Path:
        return self.path / "journal" / segment_name(number)

    def close(self) -> None:
        for journal in self.opened:
            journal.close()
        self.folder.close()
        self.root.close()


def numbers(journal: Journal, *, sync: bool = False, until: tuple[int, int] | None = None) -> list[int]:
    """Read on from the cursor; return the numbers of the records, -1 for a damaged one."""
    found: list[int] = []
    for _, _, line in journal.read_on(sync=sync, until=until):
        try:
            members = parse(line)
        except RecordError:
            found.append(-1)
        else:
            if members["type"] == "test":
                assert isinstance(members["number"], int)
                found.append(members["number"])
    return found
