"""A stand-in for the modules `os` and `fcntl` in the store, which records calls and makes them fail."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
"""Replaces a function. Its first argument makes the real call, or is not called; the others are those of the call."""


class System:
    """Every function of both modules. A test can replace some with `hooks`; `default` is the hook of all others.

    `default` does not apply to closing and unlocking, because the store cannot do anything if they fail. Nothing is
    really synced. A hook for `pwrite` is not called for the mark and the note in the file of the lock.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hooks: dict[str, Hook] = {}
        self.default: Hook = _pass

    def __getattr__(self, name: str) -> Any:
        real = _sync if name in ("fsync", "fdatasync") else getattr(os if hasattr(os, name) else fcntl, name)
        if not callable(real):
            return real

        def function(*args: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            hook = self.hooks.get(name)
            if name == "pwrite" and is_beside_lock(args[1]):
                hook = None
            if hook is None and (name == "close" or (name == "flock" and args[1] == fcntl.LOCK_UN)):
                return real(*args)
            return (hook or self.default)(lambda: real(*args, **keywords), *args)

        return function

    def fail(self, name: str, error: int, *, times: int = 1) -> None:
        """Make the next calls of a function fail without any effect."""
        left = [error] * times

        def hook(call: Callable[[], Any], *_: Any) -> Any:
            if left:
                raise OSError(left.pop(), f"{name} was made to fail")
            return call()

        self.hooks[name] = hook

    def fail_once(self, number: int, error: int, *, after: bool) -> Nth:
        """Make the call with this number fail, before or after it has done its work.

        With `after`, calls that only read are not counted: they have no effect, so it makes no difference for them.
        """
        self.default = failure = Nth(number, error, after=after)
        if after:
            self.hooks.update(dict.fromkeys(("fstat", "listdir", "pread", "stat"), _pass))
        return failure

    def work(self) -> None:
        """Make all calls work again."""
        self.hooks.clear()
        self.default = _pass

    def count(self, *names: str) -> int:
        """How often these functions have been called."""
        return sum(call in names for call in self.calls)


def is_beside_lock(data: memoryview) -> bool:
    """Whether this is what a writer writes into the file of the lock: a mark alone, or a mark and a note."""
    return bytes(data[:1]) in (b"w", b"-") and len(data) in (1, 160)


def _sync(_: int) -> None:
    """Do nothing: a test cannot see the effect of a sync, which would take time."""


def _pass(call: Callable[[], Any], *_: Any) -> Any:
    return call()


class Nth:
    """A hook that makes the call with this number fail, before or after it has done its work."""

    def __init__(self, number: int, error: int, *, after: bool = False) -> None:
        self._number = number
        self._error = error
        self._after = after
        self.seen = 0

    @property
    def has_failed(self) -> bool:
        return self.seen >= self._number

    def __call__(self, call: Callable[[], Any], *_: Any) -> Any:
        self.seen += 1
        if self.seen != self._number:
            return call()
        if self._after:
            call()
        raise OSError(self._error, "made to fail")
