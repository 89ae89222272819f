"""A journal in a directory, and what is in it.

It needs the lock of the store; here nobody else is about. Two journals are two processes.
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
        """The journal as a process sees it that opens it now, the cursor at the beginning."""
        journal = Journal(self.root, self.folder)
        self.opened.append(journal)
        journal.load()
        journal.seek(journal.manifest.segments[0], 0, 0)
        return journal

    def numbers(self) -> list[int]:
        """The records that count, whoever looks."""
        return numbers(self.journal())

    def segment(self, number: int) -> Path:
        return self.path / "journal" / segment_name(number)

    def close(self) -> None:
        for journal in self.opened:
            journal.close()
        self.folder.close()
        self.root.close()


def numbers(journal: Journal, *, sync: bool = False, until: tuple[int, int] | None = None) -> list[int]:
    """The numbers of the records that the cursor passes; -1 for damage."""
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
