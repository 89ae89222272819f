"""The code in README.md and docs/ runs as it stands.

The ``python`` blocks of one file run in order, in one namespace and an empty directory; a block that awaits at
its top runs inside trio. A server that a block starts gets a free port instead of the one it names, is sent one
message, and is stopped once the handler has answered. A block whose fence says ``python fragment`` is not whole
(it continues something that the text only describes) and is compiled, not run.

In ``console`` blocks, every ``trio-smtp`` command is one that the command line understands; it is not run.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_smtp
from trio_smtp.cli.parser import build_parser

REPOSITORY = Path(__file__).parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|python fragment|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

DIALOGUE = [
    (None, b"220"),
    (b"EHLO client.example\r\n", b"250"),
    (b"MAIL FROM:<sender@example.com>\r\n", b"250"),
    (b"RCPT TO:<demo@example.com>\r\n", b"250"),
    (b"DATA\r\n", b"354"),
    (b"Subject: hello\r\n\r\nThe documentation sent this.\r\n.\r\n", b"250"),
    (b"QUIT\r\n", b"221"),
]


def blocks(page: Path, *kinds: str) -> Iterator[tuple[str, str]]:
    """Yield kind and content of each block, after empty lines that make its line numbers those of the page."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        if kind in kinds:
            yield kind, "\n" * text.count("\n", 0, block.start(2)) + content


def commands(content: str) -> Iterator[list[str]]:
    """Yield the words of each command after a prompt; ``a && b | c > d`` are four."""
    for line in content.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            words = shlex.shlex(line[2:], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            for is_operator, command in itertools.groupby(words, key=lambda word: word in {"&&", "|", ";", "&", ">"}):
                if not is_operator:
                    yield list(command)


async def send_mail(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for line, expected in DIALOGUE:
            if line is not None:
                await stream.send_all(line)
            reply = b""
            while not re.search(rb"^\d{3} .*\r\n\Z", reply, re.MULTILINE):
                received = await stream.receive_some()
                assert received, "the server hung up"
                reply += received
            assert reply.startswith(expected), (line, reply)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let serve_smtp serve one message only. The list gets the ports that the code under test asks for."""
    ports: list[int] = []
    serve_smtp = trio_smtp.serve_smtp

    async def serve_one(
        handler: Any,
        port: int,
        *,
        task_status: trio.TaskStatus[trio_smtp.Server] = trio.TASK_STATUS_IGNORED,
        **options: Any,
    ) -> None:
        ports.append(port)
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_smtp, handler, 0, **options))
            task_status.started(server)
            await send_mail(server.port)
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(trio_smtp, "serve_smtp", serve_one)
    return ports


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_runs(page: Path, served: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for kind, content in blocks(page, "python", "python fragment"):
        code = compile(content, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if kind == "python fragment":
            continue
        if code.co_flags & inspect.CO_COROUTINE:
            trio.run(eval, code, namespace)
        else:
            exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_understood(page: Path) -> None:
    for _, content in blocks(page, "console"):
        for words in commands(content):
            if words[0] == "trio-smtp":
                build_parser().parse_args(words[1:])


def test_the_readme_shows_how_to_serve(served: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_python_runs(PAGES[0], served, tmp_path, monkeypatch)
    assert 1025 in served
    shown = [words for _, content in blocks(PAGES[0], "console") for words in commands(content)]
    assert ["trio-smtp", "serve"] in [words[:2] for words in shown]


LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, anchor
