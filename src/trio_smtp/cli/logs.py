"""The log on standard error: lines for people on a terminal, one JSON object a line anywhere else."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache

from trio_smtp.cli.output import printable

__all__ = ["JSONFormatter", "TextFormatter", "log_transcript", "logging_to_stderr"]

_transcript = logging.getLogger("trio_smtp.transcript")


class TextFormatter(logging.Formatter):
    """``12:00:00 message``; a traceback follows on separate lines."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        time = datetime.fromtimestamp(record.created, UTC).astimezone()
        lines = [f"{time:%H:%M:%S} {level}{record.getMessage()}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return "\n".join(map(printable, lines))


class JSONFormatter(logging.Formatter):
    """An object with time, level and message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        # Built by hand, because each accepted message logs a line, and json.dumps of a dict takes three times as long.
        time = f"{_second(int(record.created))}.{int(record.msecs):03}+00:00"
        entry = f'"time": "{time}", "level": "{record.levelname.lower()}", "message": {json.dumps(record.getMessage())}'
        if record.exc_info:
            entry += f', "traceback": {json.dumps(self.formatException(record.exc_info))}'
        return f"{{{entry}}}"


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@contextmanager
def logging_to_stderr() -> Generator[None]:
    """Let the log of this package go to standard error for the length of the block."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JSONFormatter())
    log = logging.getLogger("trio_smtp")
    level, source = log.level, logging._srcfile
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    logging._srcfile = None  # documented: do not look up the caller, a fifth of the cost; the formats do not use it
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        _transcript.setLevel(logging.NOTSET)
        logging._srcfile = source


def log_transcript() -> None:
    """Also log all commands and replies, except secrets and mail, until the end of the `logging_to_stderr` block."""
    _transcript.setLevel(logging.DEBUG)
