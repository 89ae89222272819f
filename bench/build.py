"""Find the programs that the benchmark needs on this machine, and compile those of the project when needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "bench"


class MissingError(Exception):
    """A program is missing. The message says how to get it."""


def program(name: str, how: str) -> str:
    """The path of a program.

    Raises:
        MissingError: if the program is not found. Its message is `how`.
    """
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        raise MissingError(how)
    return path


def compiled(
    source: Path, name: str, compiler: tuple[str, ...], *rest: str, environment: dict[str, str] | None = None
) -> Path:
    """The program compiled from `source`. It is compiled again only if the source has changed.

    Raises:
        subprocess.CalledProcessError: if the compiler fails.
    """
    target = CACHE / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(f".{os.getpid()}")  # another process may compile it at the same time
        command = [*compiler, "-o", str(unfinished), str(source), *rest]
        subprocess.run(command, check=True, env={**os.environ, **(environment or {})})
        unfinished.replace(target)
    return target


@cache
def load_generator() -> tuple[Path, bool]:
    """The path of the compiled load.c, and whether it supports TLS.

    Raises:
        MissingError: if there is no compiler.
    """
    source, command = ROOT / "bench" / "load.c", (program("cc", "apt-get install gcc"), "-O2", "-std=c11")
    has_header = [*command, "-E", "-include", "openssl/ssl.h", "-xc", os.devnull]
    probe = subprocess.run(has_header, check=False, capture_output=True)
    if probe.returncode == 0:
        return compiled(source, "load-with-tls", (*command, "-DWITH_TLS"), "-lssl", "-lcrypto"), True
    return compiled(source, "load", command), False
