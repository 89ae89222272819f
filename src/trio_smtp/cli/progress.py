"""A progress bar, shown only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["progress"]

_WIDTH = 30
_EVERY = 0.1  # seconds


@contextmanager
def progress(what: str) -> Generator[Callable[[float], None]]:
    """Show a bar while the block runs, if standard error is a terminal. It is erased at the end.

    Yields a function to call with the share that is done, from 0 to 1.
    """
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
