"""The servers that are measured: how to start each, and what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.build import CACHE, ROOT, MissingError, compiled, program
from bench.process import Server, started
from bench.workloads import TLS, Workload

SERVERS = ROOT / "bench" / "servers"
NODE_PATH = [str(CACHE / "node_modules"), *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NODE_PATH": os.pathsep.join(NODE_PATH)}

OURS, BASELINE = "drop", "aiosmtpd"


@dataclass(frozen=True)
class Subject:
    """A server with one of its handlers.

    Args:
        name: the name for ``--servers``.
        what: a description for people.
        command: returns the command line, to which a certificate and how to use it can be appended. It builds what the
            server needs, and raises MissingError if something is missing.
        stores: whether the server keeps mail, in its working directory if on disk.
        tls: whether it supports TLS.
        chunking: whether it supports BDAT.
    """

    name: str
    what: str
    command: Callable[[], list[str]]
    stores: bool = False
    tls: bool = True
    chunking: bool = False

    def can(self, workload: Workload) -> bool:
        return (self.tls or workload.tls == "none") and (self.chunking or workload.mode != "bdat")

    @contextmanager
    def running(self, directory: Path, certificate: Path, tls: TLS) -> Iterator[Server]:
        """Run the server in this directory until the block ends."""
        arguments = [] if tls == "none" else [str(certificate), tls]
        with started([*self.command(), *arguments], cwd=directory, env=ENVIRONMENT) as server:
            yield server


def python(module: str, kind: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", f"bench.servers.{module}", kind]


def go(kind: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        packages = "golang-go golang-github-emersion-go-smtp-dev golang-github-emersion-go-sasl-dev"
        how = f"apt-get install {packages}"
        compiler = (program("go", how), "build")
        libraries = Path("/usr/share/gocode")  # where Debian keeps them
        if not all(libraries.joinpath("src/github.com/emersion", name).exists() for name in ("go-smtp", "go-sasl")):
            raise MissingError(how)
        environment = {"GO111MODULE": "off", "GOPATH": str(libraries), "GOCACHE": str(CACHE / "go")}
        return [str(compiled(SERVERS / "go_smtp.go", "go-smtp", compiler, environment=environment)), kind]

    return command


def node() -> list[str]:
    interpreter = program("node", "apt-get install nodejs npm")
    if not any(Path(folder, "smtp-server").exists() for folder in NODE_PATH):
        raise MissingError(f"npm install --prefix {CACHE.relative_to(ROOT)} smtp-server")
    return [interpreter, str(SERVERS / "smtp_server.js"), "drop"]


def sink() -> list[str]:
    return python("smtp_sink", program("smtp-sink", "apt-get install postfix"))()


SUBJECTS = [
    Subject(OURS, "trio-smtp, a handler that reads and drops", python("trio_smtp_mail", "drop"), chunking=True),
    Subject("memory", "trio-smtp, MemoryStore", python("trio_smtp_mail", "memory"), stores=True, chunking=True),
    Subject("json", "trio-smtp, JSONFileStore", python("trio_smtp_mail", "json"), stores=True, chunking=True),
    Subject(
        "json-one-by-one",
        "trio-smtp, JSONFileStore with a sync for each message",
        python("trio_smtp_mail", "json-one-by-one"),
        stores=True,
        chunking=True,
    ),
    Subject(BASELINE, "aiosmtpd, Sink", python("aiosmtpd_mail", "sink")),
    Subject("maildir", "aiosmtpd, Mailbox (a Maildir, synced)", python("aiosmtpd_mail", "maildir"), stores=True),
    Subject(
        "maildir-unsynced",
        "aiosmtpd, Mailbox (a Maildir) without its fsync",
        python("aiosmtpd_mail", "maildir-unsynced"),
        stores=True,
    ),
    Subject("smtp-server", "smtp-server (Node.js), a handler that drops", node),
    Subject("go-smtp", "go-smtp, a handler that drops", go("drop")),
    Subject("go-smtp-files", "go-smtp, a synced file for each message", go("files"), stores=True),
    Subject("smtp-sink", "Postfix's smtp-sink, which looks at nothing", sink, tls=False),
]
