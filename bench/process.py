"""A server in a process of its own, and what the kernel knows about it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


class Server:
    """A server that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._process = process
        self._proc = Path("/proc", str(process.pid))

    def tree(self) -> list[int]:
        """Its process ids: its own, then those of its children and theirs."""
        pids = [self._process.pid]
        for pid in pids:  # which grows on the way
            for children in Path("/proc", str(pid), "task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids

    def resident(self) -> float:
        """The memory that is resident now, in MiB; of the whole tree, as that of `peak`."""
        return self._status("VmRSS")

    def peak(self) -> float:
        """The most memory that was resident at any time, or since `forget_peak`, in MiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let `peak` begin anew, at what is resident now."""
        for pid in self.tree():
            Path("/proc", str(pid), "clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many are open."""
        return len(list(self._proc.joinpath("fd").iterdir()))

    def ask(self) -> dict[str, Any]:
        """What a server says that answers every line of its standard input with one of JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait(60)

    def finish(self) -> str:
        """End its standard input, and return what it says then, for servers that measure something themselves."""
        return self._process.communicate()[0]

    def _status(self, field: str) -> float:
        total = 0
        for pid in self.tree():
            match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc", str(pid), "status").read_text())
            assert match is not None
            total += int(match[1])
        return total / 1024


@contextmanager
def running(
    module: str,
    *arguments: str,
    descriptors: int | None = None,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Iterator[Server]:
    """Start a server module; it is killed at the end of the block.

    Args:
        module: it prints its port on a line, alone or after a colon.
        *arguments: of its command line.
        descriptors: how many it may have open, if not as many as this process.
        environment: variables that it has besides those of this process.
        quiet: what it logs is dropped.
    """
    limit = (
        None if descriptors is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (descriptors, descriptors))
    )
    with started(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.DEVNULL if quiet else None,
        env={**os.environ, **(environment or {})},
        preexec_fn=limit,  # this process has no other thread while it starts one with a limit
    ) as server:
        yield server


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[Server]:
    """The same of any program.

    Args:
        command: it prints its port on a line, alone or after a colon.
        **options: of `subprocess.Popen`.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if match := re.search(r"(?:^|:)(\d+)$", line):
                break
        else:
            sys.exit(f"{' '.join(command)} did not start")
        yield Server(process, int(match[1]))
    finally:
        process.kill()
        process.communicate()
