"""Postfix delivers into a JSON store: by LMTP, with a reply for each recipient (RFC 2033 §4.2), and by submission."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from tests.cli.tools import Serving
from tests.interop.clients import Need, require
from tests.interop.messages import DOTTED, EIGHT_BIT, HEADER, HTML
from tests.interop.postfix import Postfix, require_postfix, running
from trio_smtp import JSONFileStore

BIG = HEADER + b"\r\n" + b"0123456789\r\n" * 100_000
QUOTAS = {"ann": None, "bob": None, "full": 1_000_000}


async def make_accounts(folder: Path) -> None:
    async with JSONFileStore(folder / "mail") as store:
        for name, quota in QUOTAS.items():
            await store.create_account(name, addresses=[f"{name}@example.com"], quota=quota)
        await store.create_mailbox("full", "Archive")
        await store.append_message("full", "Archive", b"x" * 1_000_000)


async def messages(folder: Path) -> dict[str, list[bytes]]:
    """Return all stored messages by account."""
    async with JSONFileStore(folder / "mail") as store:
        found: dict[str, list[bytes]] = {}
        for name in QUOTAS:
            uids = [message.uid for message in await store.list_messages(name, "INBOX")]
            found[name] = [(await store.get_message(name, "INBOX", uid)).content for uid in uids]
        return found


@contextmanager
def served(kind: str, folder: Path) -> Generator[str]:
    """Run the server on a port or on a Unix socket. Yield its address in the syntax of Postfix."""
    if kind == "TCP":
        with Serving("--listen", "lmtp://127.0.0.1:0", folder=folder) as server:
            yield "lmtp:inet:127.0.0.1:{1}".format(*server.endpoints[0])
        return
    with TemporaryDirectory(prefix="lmtp-") as name:  # tmp_path is closed to Postfix's user
        Path(name).chmod(0o755)
        with Serving("--listen", f"lmtp+unix://{name}/s", folder=folder, umask=0):
            yield f"lmtp:unix:{name}/s"


def statuses(postfix: Postfix, count: int) -> dict[str, str]:
    """Return the status and the server's reply for the next `count` recipients in the log."""
    found: dict[str, str] = {}
    while len(found) < count:
        line = postfix.wait_for(" to=<", "status=")
        match = re.search(
            r" to=<(\w+)@example\.com>.* status=(\w+) \((?:host \S+ said: )?(.*?)( \(in reply to.*)?\)$", line
        )
        assert match is not None, line
        found[match[1]] = f"{match[2]}: {match[3]}"
    return found


@pytest.mark.parametrize("kind", ["TCP", "Unix socket"])
def test_delivery(kind: str, tmp_path: Path) -> None:
    require_postfix()
    trio.run(make_accounts, tmp_path)
    with served(kind, tmp_path) as where, running(where) as postfix:
        postfix.send("ann@example.com", [f"{name}@example.com" for name in ("full", "bob", "nobody")], DOTTED)
        assert statuses(postfix, 4) == {
            "full": "deferred: 452 4.2.2 Mailbox full",
            "bob": "sent: 250 2.6.0 Message accepted",
            "nobody": "bounced: 550 5.1.1 No such user here",
            "ann": "sent: 250 2.6.0 Message accepted",  # the bounce, by LMTP too
        }
        for content in (EIGHT_BIT, HTML, BIG):
            postfix.send("ann@example.com", ["bob@example.com"], content)
            assert statuses(postfix, 1) == {"bob": "sent: 250 2.6.0 Message accepted"}
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "mail").rglob("*"))  # whatever the umask
    stored = trio.run(messages, tmp_path)
    assert {name: len(contents) for name, contents in stored.items()} == {"ann": 1, "bob": 4, "full": 0}
    for content, sent in zip(stored["bob"], (DOTTED, EIGHT_BIT, HTML, BIG), strict=True):
        is_exact = content.endswith(b"\r\n" + sent)  # pytest takes minutes to show a difference in 1 MB
        assert is_exact
    assert re.match(
        rb"Return-Path: <ann@example\.com>\r\nDelivered-To: bob@example\.com\r\n"
        rb"Received: from postfix\.example \(%b\)\r\n\tby \S+ \(trio-smtp\) with LMTP id \w+\r\n"
        rb"\tfor <bob@example\.com>;\r\n" % (rb"\[127\.0\.0\.1\]" if kind == "TCP" else b"local"),
        stored["bob"][0],
    )
    [bounce] = stored["ann"]
    assert bounce.startswith(b"Return-Path: <>\r\n")
    assert b"550 5.1.1 No such user here" in bounce


SASL = Need("sh", "libsasl2-modules", ("-c", "ls /usr/lib*/sasl2/libscram.so /usr/lib/*/sasl2/libscram.so | grep -q ."))
RELAYING = """\
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options =
smtp_sasl_password_maps = static:ann:secret
"""


def test_relaying_with_a_login(tmp_path: Path) -> None:
    """Postfix logs in with the mechanism that Cyrus SASL chooses: with SCRAM, if it has it."""
    require_postfix()
    require(SASL)
    # By the program, because in the process of the tests passwords are hashed at a low cost.
    add = [sys.executable, "-m", "trio_smtp", "account", "add", "ann", "--address=ann@example.com", "--password-stdin"]
    subprocess.run(add, input=b"secret", cwd=tmp_path, capture_output=True, check=True)
    with Serving("--listen", "submission://127.0.0.1:0", "--tls", "self-signed", folder=tmp_path) as server:
        port = server.endpoints[0][1]
        with running(f"smtp:[127.0.0.1]:{port}", RELAYING) as postfix:
            postfix.send("ann@example.com", ["ann@example.com"], HTML)
            assert statuses(postfix, 1) == {"ann": "sent: 250 2.6.0 Message accepted"}
