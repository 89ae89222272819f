"""The check: whatever a crash leaves, the store recovers with everything that it has promised and nothing else.

A history (`recorder`) is cut after each of its calls. In the states that a power cut may leave there (`disk`), the
store must

- show what it has promised, octet for octet. A change that was in progress has happened as a whole or not at all, and a
  refused change has not happened;
- show the same when it is opened again, because what was shown once is a promise, too;
- take one more message, with a UID that was never promised, and show it when it is opened for the third time.

A crash may also come during these steps: they make another history, which is checked in the same way. And a crash may
kill only the process (SIGKILL); the next process then goes on with data that was written but may not be on disk.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
import trio

from tests.crash.disk import Call, Disk, Tree
from tests.crash.recorder import Begun, Done, Facts, Key, Mark, Recorder, Refused, Seen
from trio_smtp.mailbox.json_file import JSONFileStore, files
from trio_smtp.mailbox.store import INBOX, AccountExists, MailStore

R = TypeVar("R")

STORE = "mail"
"""The name of the store's directory in that of the recorder."""
LAST = b"Subject: one more\r\n\r\none more\r\n"


class Violation(Exception):
    """The store has broken a promise."""


async def look(store: MailStore) -> Facts:
    """All that a store shows."""
    facts: Facts = {}
    for account in await store.list_accounts():
        facts["account", account.name] = account.description, account.addresses, account.quota
        for box in await store.list_mailboxes(account.name):
            facts["mailbox", account.name, box.name] = box.uid_validity, box.read_only
            for info in await store.list_messages(account.name, box.name):
                message = await store.get_message(account.name, box.name, info.uid)
                key = "message", account.name, box.name, box.uid_validity, info.uid
                facts[key] = sorted(info.flags), message.content
    return facts


def difference(before: Facts, after: Facts) -> dict[Key, object]:
    """The new and changed facts, and None for each that is gone."""
    changed = {key: fact for key, fact in after.items() if before.get(key) != fact}
    return changed | dict.fromkeys(before.keys() - after.keys())


def _with(facts: Facts, effect: Mapping[Key, object]) -> Facts:
    return {key: fact for key, fact in {**facts, **effect}.items() if fact is not None}


def _last_uid(facts: Mapping[Key, object]) -> int:
    """The greatest UID in the INBOX of ann, to which the last message is delivered."""
    return max((int(key[-1]) for key in facts if key[:3] == ("message", "ann", INBOX)), default=0)


# --- what was promised


@dataclass(frozen=True)
class Promised:
    """What a store must show at some moment of a history.

    Args:
        facts: what it certainly shows.
        pending: the effects of changes in progress; each shows as a whole or not at all.
        refusable: the contents of new messages in progress that will be refused.
        last_uid: the greatest UID that was assigned.
    """

    facts: Facts
    pending: Mapping[int, Mapping[Key, object]]
    refusable: Mapping[int, bytes]
    last_uid: int

    def after(self, mark: Mark, rest: Mapping[int, Done]) -> Promised:
        """What is promised after a mark; `rest` has the outcome of each change that is not refused."""
        match mark:
            case Begun(number) if number in rest:
                return replace(self, pending={**self.pending, number: rest[number].effect})
            case Begun(number, content) if content is not None:
                return replace(self, refusable={**self.refusable, number: content})
            case Begun():
                return self
            case Done(number, effect):
                pending = {other: each for other, each in self.pending.items() if other != number}
                last = max(self.last_uid, _last_uid(effect))
                return replace(self, facts=_with(self.facts, effect), pending=pending, last_uid=last)
            case Refused(number):
                return replace(self, refusable={other: c for other, c in self.refusable.items() if other != number})
            case Seen(facts):
                return Promised(facts, {}, {}, max(self.last_uid, _last_uid(facts)))

    def check(self, shown: Facts, next_uid: int) -> None:
        """Raise Violation unless the store shows what was promised."""
        expected = self.facts
        for effect in self.pending.values():
            if all(shown.get(key) == fact for key, fact in effect.items()):
                expected = _with(expected, effect)
        possible = self.refusable.values()
        extra = [key for key in shown.keys() - expected.keys() if key[0] == "message"]
        expected = expected | {key: shown[key] for key in extra if shown[key] in [([], each) for each in possible]}
        if shown != expected:
            raise Violation(f"not as promised: {difference(expected, shown)}")
        if next_uid <= self.last_uid:
            raise Violation(f"UID {next_uid} comes after {self.last_uid}")


NOTHING = Promised({}, {}, {}, 0)
History = Sequence[Call | Mark]


def moments(history: History, disk: Disk, promised: Promised) -> Iterator[tuple[Disk, Promised]]:
    """The disk after each call, and what was promised before the next one."""
    rest = {mark.number: mark for mark in history if isinstance(mark, Done)}
    called = False
    for each in history:
        if isinstance(each, (Begun, Done, Refused, Seen)):
            promised = promised.after(each, rest)
            continue
        if called:
            yield disk, promised
        disk.do(each)
        called = True
    if called:
        yield disk, promised


# --- the check


@dataclass(frozen=True)
class Recovery:
    """How a store has recovered: what it showed, the UID of the next message, and the calls that it made."""

    shown: Facts
    next_uid: int
    history: History


class Checker:
    """Checks histories. The recovery from each state of the disk is run only once.

    Args:
        folder: where to create the stores.
        limit: how many states of the disk to try at each moment.
        nested: crashes during the recovery are tried for one in so many states.
        kills: kills are tried at one in so many moments.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *, limit: int, nested: int, kills: int) -> None:
        self._folder = folder
        self._patch = patch
        self._limit = limit
        self._nested = nested
        self._kills = kills
        self._random = Random(4)
        self._recoveries: dict[bytes, Recovery] = {}
        self._moments = 0
        self._made = 0

    @property
    def states(self) -> int:
        """The number of different states of the disk that the store has recovered from."""
        return len(self._recoveries)

    async def check(self, history: History) -> None:
        """Try power cuts and kills. Raises Violation."""
        for disk, promised in moments(history, Disk(), NOTHING):
            await self._cut_power(disk, promised, nested=True)
            self._moments += 1
            # Other processes do not learn that a sync has failed. If a process dies before it has undone the write,
            # they have no reason to distrust what it wrote.
            if self._moments % self._kills == 0 and not disk.is_doubtful:
                await self._kill(disk, promised)

    async def _cut_power(self, disk: Disk, promised: Promised, *, nested: bool) -> None:
        for tree in disk.after_power_cut(self._random, self._limit):
            digest = tree.digest()
            recovery = self._recoveries.get(digest)
            is_new = recovery is None
            if recovery is None:
                recovery = self._recoveries[digest] = await self._recover(tree)
            promised.check(recovery.shown, recovery.next_uid)
            if is_new and nested and self.states % self._nested == 0:
                await self._cut_power_again(recovery, Disk(tree), promised)

    async def _kill(self, disk: Disk, promised: Promised) -> None:
        recovery = await self._recover(disk.now())
        promised.check(recovery.shown, recovery.next_uid)
        await self._cut_power_again(recovery, copy.deepcopy(disk), promised)

    async def _cut_power_again(self, recovery: Recovery, disk: Disk, promised: Promised) -> None:
        for later, then in moments(recovery.history, disk, promised):
            await self._cut_power(later, then, nested=False)

    async def _recover(self, tree: Tree) -> Recovery:
        self._made += 1
        top = self._folder / str(self._made)
        top.mkdir()
        recorder = Recorder(top, tree)
        with self._patch.context() as patch:
            patch.setattr(files, "os", recorder)
            patch.setattr(trio.to_thread, "run_sync", _run_sync)
            try:
                shown, next_uid = await _come_back(top / STORE, recorder)
            except Violation:
                raise
            except Exception as error:
                raise Violation(f"the store does not come back: {error!r}") from error
        shutil.rmtree(top)
        return Recovery(shown, next_uid, recorder.history)


async def _run_sync(function: Callable[[], R], **_: object) -> R:
    """Call the function at once instead of in a thread, which is a lot faster; no other task could be held up."""
    return function()


async def _come_back(path: Path, recorder: Recorder) -> tuple[Facts, int]:
    async with JSONFileStore(path) as store:
        shown = await look(store)
        recorder.seen(shown)
    async with JSONFileStore(path) as store:
        expect(await look(store), shown, "when opened again")
        with recorder.change() as effect:
            try:
                await store.create_account("ann")
            except AccountExists:
                effect.clear()
        before = await look(store)
        effect |= difference(shown, before)
        with recorder.change(LAST) as effect:
            delivered = await store.append_message("ann", INBOX, LAST)
            key = "message", "ann", INBOX, delivered.uid_validity, delivered.uid
            effect[key] = [], LAST
        if key in before:
            raise Violation(f"{key} was given twice")
    async with JSONFileStore(path) as store:
        expect(await look(store), before | effect, "with one more message")
    return shown, delivered.uid


def expect(shown: Facts, expected: Facts, when: str) -> None:
    """Raise Violation if a store shows something else."""
    if shown != expected:
        raise Violation(f"not the same {when}: {difference(expected, shown)}")
