"""A disk as strict as POSIX allows it to be, and what a power cut may leave of it.

- Written data lasts after a sync of the file. Until then each write is kept, dropped, torn or zeroed, independently of
  earlier and later writes. A write that is known to lie in one sector is kept or dropped as a whole. Shortening a file
  needs `fsync`; for data and for growing, `fdatasync` is enough.
- A name lasts after a sync of its directory, not of the file. Until then each creation, renaming and removal has
  happened or not, independently of the others. A renaming between two directories is two changes.
- After a failed sync it is unknown what lasts, and a later sync that succeeds does not change that.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Generic, NamedTuple, TypeVar

TOP = 0
"""The node of the root directory, which cannot be lost."""


class Create(NamedTuple):
    """A new file or directory."""

    parent: int
    name: str
    node: int
    is_directory: bool


class Write(NamedTuple):
    node: int
    offset: int
    data: bytes
    in_one_sector: bool = False


class Truncate(NamedTuple):
    node: int
    length: int


class Sync(NamedTuple):
    """`fsync`, or with `data_only` `fdatasync`."""

    node: int
    data_only: bool = False
    failed: bool = False


class Rename(NamedTuple):
    parent: int
    name: str
    to_parent: int
    to_name: str


class Unlink(NamedTuple):
    parent: int
    name: str


Call = Create | Write | Truncate | Sync | Rename | Unlink


class Entry(NamedTuple):
    """What is at a path: `content` is None for a directory."""

    path: str
    node: int
    content: bytes | None


class Tree(tuple[Entry, ...]):
    """All entries of a disk; each directory comes before its entries."""

    __slots__ = ()

    def digest(self) -> bytes:
        """A hash of paths and contents, equal for equal trees."""
        state = blake2b(digest_size=16)
        for path, _, content in self:
            state.update(repr((path, content)).encode())
        return state.digest()


T = TypeVar("T")
Links = tuple[tuple[str, int | None], ...]  # names, and the node of each, None if the name is removed


@dataclass
class _Change(Generic[T]):
    """A change that may or may not last."""

    what: T
    lasts: bool = False
    doubtful: bool = False  # a sync of it has failed


@dataclass
class _Node(abc.ABC, Generic[T]):
    changes: list[_Change[T]] = field(default_factory=list)

    def variants(self) -> list[list[T | None]]:
        """For each change, what may become of it: first kept, second dropped. A lasting one is always kept."""
        return [[each.what] if each.lasts else [each.what, *self.remains(each.what)] for each in self.changes]

    def remains(self, what: T) -> list[T | None]:
        return [None]

    def sync(self, upto: int, *, failed: bool) -> None:
        for change in self.changes[:upto]:
            change.doubtful = change.doubtful or (failed and not change.lasts)
            change.lasts = change.lasts or not (failed or change.doubtful)
        for number, change in enumerate(self.changes):
            later = [other.what for other in self.changes[number + 1 :] if other.lasts]
            if change.doubtful and self.is_undone(change.what, later):
                change.lasts = True  # whether it does makes no difference
        self.settle()

    @abc.abstractmethod
    def is_undone(self, what: T, later: list[T]) -> bool: ...

    @abc.abstractmethod
    def settle(self) -> None: ...


@dataclass
class _File(_Node[Write | Truncate]):
    content: bytes = b""

    def remains(self, what: Write | Truncate) -> list[Write | Truncate | None]:
        if isinstance(what, Truncate) or what.in_one_sector:
            return [None]
        data, length = what.data, len(what.data)
        lines = [end + 1 for end in range(length - 1) if data[end] == 0x0A][:3]
        torn = [data[:cut] for cut in sorted({1, length // 3, length // 2, length - 1, *lines}) if 0 < cut < length]
        half = length // 2
        zeroed = [bytes(length), bytes(half) + data[half:], data[:half] + bytes(length - half)]
        return [None, *(what._replace(data=each) for each in (*torn, *zeroed))]

    def is_undone(self, what: Write | Truncate, later: list[Write | Truncate]) -> bool:
        start = what.offset if isinstance(what, Write) else what.length
        return any(isinstance(each, Truncate) and each.length <= start for each in later)

    def sync_data(self, *, failed: bool) -> None:
        writes = [number for number, change in enumerate(self.changes, 1) if isinstance(change.what, Write)]
        self.sync(max(writes, default=0), failed=failed)

    def settle(self) -> None:
        settled = list(itertools.takewhile(lambda change: change.lasts, self.changes))
        self.content = self.after([change.what for change in settled])
        del self.changes[: len(settled)]

    def after(self, changes: list[Write | Truncate | None]) -> bytes:
        content = bytearray(self.content)
        for change in changes:
            if isinstance(change, Truncate):
                content = content[: change.length].ljust(change.length, b"\0")
            elif change is not None:
                end = change.offset + len(change.data)
                content = content.ljust(end, b"\0")
                content[change.offset : end] = change.data
        return bytes(content)


@dataclass
class _Directory(_Node[Links]):
    names: dict[str, int] = field(default_factory=dict)

    def settle(self) -> None:
        settled = list(itertools.takewhile(lambda change: change.lasts, self.changes))
        self.names = self.after([change.what for change in settled])
        del self.changes[: len(settled)]

    def is_undone(self, what: Links, later: list[Links]) -> bool:
        return {name for name, _ in what} <= {name for links in later for name, _ in links}

    def after(self, changes: list[Links | None]) -> dict[str, int]:
        names = dict(self.names)
        for change in changes:
            for name, node in change or ():
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        return names

    def now(self) -> dict[str, int]:
        return self.after([change.what for change in self.changes])


class Disk:
    """Files and directories, each with its lasting content and the changes that may be lost."""

    def __init__(self, tree: Tree = Tree()) -> None:  # noqa: B008 - it is a tuple
        self._files: dict[int, _File] = {}
        self._directories = {TOP: _Directory()}
        at = {"": TOP}
        for path, node, content in tree:
            parent, _, name = path.rpartition("/")
            self._directories[at[parent]].names[name] = node
            at[path] = node
            if content is None:
                self._directories[node] = _Directory()
            else:
                self._files[node] = _File(content=content)

    def do(self, call: Call) -> None:
        """Apply a call of a process."""
        match call:
            case Create(parent, name, node, is_directory):
                if is_directory:
                    self._directories[node] = _Directory()
                else:
                    self._files[node] = _File()
                self._link(parent, (name, node))
            case Write(node) | Truncate(node):
                self._files[node].changes.append(_Change(call))
            case Sync(node, data_only, failed):
                if data_only:
                    self._files[node].sync_data(failed=failed)
                else:
                    whole = self._files.get(node) or self._directories[node]
                    whole.sync(len(whole.changes), failed=failed)
            case Rename(parent, name, to_parent, to_name):
                node = self._directories[parent].now()[name]
                if parent == to_parent:
                    self._link(parent, (name, None), (to_name, node))
                else:
                    self._link(to_parent, (to_name, node))
                    self._link(parent, (name, None))
            case Unlink(parent, name):
                self._link(parent, (name, None))

    def _link(self, parent: int, *links: tuple[str, int | None]) -> None:
        self._directories[parent].changes.append(_Change(links))

    @property
    def is_doubtful(self) -> bool:
        """Whether there is a change whose sync has failed and that was not undone yet."""
        return any(change.doubtful for _, what in self._nodes() for change in what.changes if not change.lasts)

    def now(self) -> Tree:
        """What processes see; a killed process leaves the same."""
        return self._tree([0] * len(self._choices()))

    def after_power_cut(self, random: Random, limit: int) -> Iterator[Tree]:
        """The states that a power cut may leave; if there are more than `limit`, that many of them.

        The first keeps all changes. Then come the state that keeps none, and those that differ from these two in one
        change: a random sample of them if they are too many, followed by random states if they are too few.
        """
        choices = self._choices()
        if math.prod(choices) <= limit:
            yield from map(self._tree, itertools.product(*map(range, choices)))
            return
        chosen: list[list[int]] = []
        for other in (0, 1):
            base = [min(other, choice - 1) for choice in choices]
            chosen.append(base)
            chosen += [
                [*base[:place], option, *base[place + 1 :]]
                for place, choice in enumerate(choices)
                for option in range(choice)
                if option != base[place]
            ]
        if len(chosen) > limit:
            chosen = [chosen[0], *random.sample(chosen[1:], limit - 1)]
        chosen += [[random.randrange(choice) for choice in choices] for _ in range(limit - len(chosen))]
        yield from map(self._tree, chosen)

    def _nodes(self) -> list[tuple[int, _File | _Directory]]:
        """The nodes that have a name, or may have one after a power cut."""
        named = {TOP}
        for directory in self._directories.values():
            named.update(directory.names.values())
            named.update(node for change in directory.changes for _, node in change.what if node is not None)
        every: dict[int, _File | _Directory] = {**self._directories, **self._files}
        return [(node, what) for node, what in sorted(every.items(), key=lambda item: item[0]) if node in named]

    def _choices(self) -> list[int]:
        return [len(options) for _, what in self._nodes() for options in what.variants()]

    def _tree(self, chosen: Iterator[int] | list[int] | tuple[int, ...]) -> Tree:
        choice = iter(chosen)
        contents: dict[int, bytes] = {}
        names: dict[int, dict[str, int]] = {}
        for node, what in self._nodes():
            if isinstance(what, _File):
                contents[node] = what.after([options[next(choice)] for options in what.variants()])
            else:
                names[node] = what.after([options[next(choice)] for options in what.variants()])

        def walk(node: int, path: str) -> Iterator[Entry]:
            for name, child in sorted(names[node].items()):
                yield Entry(path + name, child, contents.get(child))
                if child in names:
                    yield from walk(child, f"{path}{name}/")

        return Tree(walk(TOP, ""))
