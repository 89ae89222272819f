"""Leave no half of a file or folder behind, whatever ends the command that writes it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["undone_unless_complete"]


@contextmanager
def undone_unless_complete(undo: Callable[[], object]) -> Generator[None]:
    """Call `undo` if the block fails, or before SIGTERM or SIGHUP ends the process in it."""

    def end(number: int, _: object) -> None:
        undo()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    fatal = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in fatal:
        signal.signal(number, end)
    try:
        yield
    except BaseException:
        undo()
        raise
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)
