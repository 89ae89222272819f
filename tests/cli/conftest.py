"""Fixtures that run the command line in this process, in an empty directory."""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.cli.tools import Result
from trio_smtp.cli import main
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import MailStore


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(*argv: str, stdin: bytes = b"", terminal: bool = False) -> Result:
        stream = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
        stream.isatty = lambda: terminal  # type: ignore[method-assign]  # by which the program recognizes a person
        monkeypatch.setattr(sys, "stdin", stream)
        code: object
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
        captured = capfdbinary.readouterr()
        return Result(code, captured.out, captured.err.decode())

    return run


@pytest.fixture
def prepare(folder: Path) -> Callable[[Callable[[MailStore], Awaitable[object]]], None]:
    """Run a function on the store that the commands use by default."""

    async def with_store(function: Callable[[MailStore], Awaitable[object]]) -> None:
        async with JSONFileStore(folder / "mail") as store:
            await function(store)

    return lambda function: trio.run(with_store, function)
