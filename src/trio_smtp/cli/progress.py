"""A progress bar, shown only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Advance", "progress"]

_WIDTH = 30
_EVERY = 0.1  # seconds


class Advance(Protocol):
    """Called with the share that is done, from 0 to 1."""

    def __call__(self, share: float, /) -> None: ...


@contextmanager
def progress(what: str) -> Generator[Advance]:
    """Show a bar while the block runs, if standard error is a terminal. It is erased at the end."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    drawn = -_EVERY

    def advance(share: float) -> None:
        nonlocal drawn
        if time.monotonic() - drawn >= _EVERY:
            drawn = time.monotonic()
            filled = round(_WIDTH * min(share, 1))
            sys.stderr.write(f"\r{what} [{'#' * filled:<{_WIDTH}}] {min(share, 1):4.0%}")
            sys.stderr.flush()

    try:
        yield advance
    finally:
        sys.stderr.write("\r\x1b[K")  # erase the line
        sys.stderr.flush()
