"""A stand-in for the modules `os` and `fcntl` where the store uses them: it counts calls and makes them fail."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
"""Takes the place of a function: called with the call itself, to be made or not, and with the arguments."""


class System:
    """Every function of both modules, unless the test has put a hook in its place; `default` is the hook of the rest."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hooks: dict[str, Hook] = {}
        self.default: Hook = lambda call, *_: call()

    def __getattr__(self, name: str) -> Any:
        real = getattr(os if hasattr(os, name) else fcntl, name)
        if not callable(real):
            return real

        def function(*args: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            return self.hooks.get(name, self.default)(lambda: real(*args, **keywords), *args)

        return function

    def fail(self, name: str, error: int, *, times: int = 1) -> None:
        """Let the next calls of a function fail, and nothing happen."""
        left = [error] * times

        def hook(call: Callable[[], Any], *_: Any) -> Any:
            if left:
                raise OSError(left.pop(), f"{name} was made to fail")
            return call()

        self.hooks[name] = hook

    def work(self) -> None:
        """Let everything work again."""
        self.hooks.clear()

    def count(self, *names: str) -> int:
        """How often functions were called so far."""
        return sum(call in names for call in self.calls)


class Nth:
    """A hook that lets one call fail, the one with this number, before or after it has done its work."""

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
