"""Stores that are broken on purpose: the checker must find a violation in each of them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.crash import workloads
from tests.crash.checker import Checker, History, Violation
from tests.crash.workloads import Workload, record
from trio_smtp.mailbox.json_file import database
from trio_smtp.mailbox.json_file.blobs import NewBlob
from trio_smtp.mailbox.json_file.compaction import Compaction
from trio_smtp.mailbox.json_file.files import Directory
from trio_smtp.mailbox.json_file.journal import Journal
from trio_smtp.mailbox.json_file.writer import Writer

SYNC_APPENDED = "files.sync_data(fd)"
WAKE_FIRST = """
for request in taken:
    _wake([request])
    for _ in range(9):  # until its task has been told
        trio.from_thread.run_sync(int, trio_token=request.turn.token)
self._database.journal.append(lines)
taken.clear()
"""


class Mutant(NamedTuple):
    """A function whose text is changed in one place, and what must catch that: a workload, with kills or without."""

    name: str
    owner: type | ModuleType
    function: str
    old: str
    new: str
    workload: Workload
    limit: int = 30
    kills: int = 1000


MUTANTS = [
    Mutant("no_fdatasync", Journal, "append", SYNC_APPENDED, "pass", workloads.small),
    Mutant("sync_before_write", Journal, "append", "files.write_at(fd, self.end, data)",
           "files.sync_data(fd); files.write_at(fd, self.end, data); return", workloads.small),
    Mutant("no_directory_sync", Directory, "sync", "_sync(os.fsync, fd)", "pass", workloads.small),
    Mutant("store_has_no_lasting_name", Directory, "sync_name", "os.fsync(fd)", "pass", workloads.small),
    Mutant("directories_outlived_by_manifest", Journal, "create", "self._root.sync()", "pass", workloads.small),
    Mutant("torn_tail_not_cut", Journal, "make_appendable", "self.mend()",
           "self.end = self._folder.stat(self._name).st_size; self._refused = False", workloads.small),
    Mutant("mend_does_not_truncate", Journal, "_cut", "files.truncate(fd, self.end)", "pass", workloads.refusals),
    Mutant("mend_does_not_sync", Journal, "_cut", "files.sync(fd)", "pass", workloads.refusals),
    Mutant("end_of_sealed_segment_not_believed", Journal, "_sealed_end", 'mark["previous"] == self.segment', "False",
           workloads.failures),
    Mutant("others_records_not_synced", Journal, "_read_to", "files.sync_data(fd)", "pass",
           workloads.small, limit=3, kills=1),
    Mutant("others_manifest_not_synced", Journal, "load", "self._root.sync()", "pass",
           workloads.segments, limit=3, kills=1),
    Mutant("blob_not_synced", NewBlob, "seal", "files.sync(self._fd)", "pass", workloads.large),
    Mutant("name_of_blob_not_synced", NewBlob, "seal", "self._folder.sync()", "pass", workloads.large),
    Mutant("manifest_not_synced", Directory, "publish", "sync(fd)", "pass", workloads.segments),
    Mutant("manifest_not_in_place", Journal, "publish", "self._root.sync()", "pass", workloads.segments),
    Mutant("name_of_segment_not_synced", Journal, "begin_segment", "self._folder.sync()", "pass",
           workloads.segments),
    Mutant("compacted_segment_not_synced", Compaction, "write", "files.sync(fd)", "pass", workloads.compaction,
           limit=6),
    Mutant("name_of_compacted_segment_not_synced", Compaction, "write", "segments.sync()", "pass",
           workloads.compaction, limit=6),
    Mutant("snapshot_trusted_blindly", database, "load_snapshot", "not journal.manifest.begins_with(manifest)", "False",
           workloads.compaction, limit=6),
]  # fmt: skip


def mutated(mutant: Mutant) -> Callable[..., Any]:
    """The function with the changed text."""
    original = getattr(mutant.owner, mutant.function)
    source = textwrap.dedent(inspect.getsource(original))
    [line] = [line for line in source.splitlines(keepends=True) if mutant.old in line]
    indent = line[: len(line) - len(line.lstrip())]
    new = textwrap.indent(mutant.new.strip(), indent).lstrip()
    names: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + source.replace(mutant.old, new), f"<{mutant.name}>", "exec")
    exec(code, original.__globals__, names)
    function: Callable[..., Any] = names[mutant.function]
    return function


async def is_caught(mutant: Mutant, history: History, folder: Path, patch: pytest.MonkeyPatch) -> None:
    checker = Checker(folder, patch, limit=mutant.limit, nested=1000, kills=mutant.kills)
    with pytest.raises(Violation):
        await checker.check(history)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_is_caught(mutant: Mutant, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.function, mutated(mutant))
    history = await record(mutant.workload, folder / "recorded", monkeypatch)
    await is_caught(mutant, history, folder, monkeypatch)


async def test_250_before_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This mutant is active only for the recording: in the checker, which has one thread, it would wait for ever."""
    mutant = Mutant(
        "250_before_commit",
        Writer,
        "_write_group",
        "self._database.journal.append(lines)",
        WAKE_FIRST,
        workloads.small,
    )
    with monkeypatch.context() as patch:
        patch.setattr(mutant.owner, mutant.function, mutated(mutant))
        history = await record(mutant.workload, folder / "recorded", patch)
    await is_caught(mutant, history, folder, monkeypatch)
