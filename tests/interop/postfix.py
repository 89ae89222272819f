"""A Postfix for one test: configuration, queue and state in one folder, one port on loopback, no DNS, no relaying.

It accepts mail for one domain by SMTP and delivers all of it to one server. It logs to its standard output.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.clients import ENVIRONMENT, Need, require

POSTFIX = Need("postfix", "postfix")

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example
mydestination =
virtual_mailbox_domains = example.com
virtual_transport = {where}
default_transport = error:this Postfix relays nothing
relayhost =
smtpd_relay_restrictions = reject_unauth_destination
disable_dns_lookups = yes
smtp_dns_support_level = disabled
alias_maps =
alias_database =
local_recipient_maps =
smtpd_tls_security_level = none
lmtp_tls_security_level = none
{settings}
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
lmtp unix - - n - - lmtp
smtp unix - - n - - smtp
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def require_postfix() -> None:
    """Skip the test where Postfix is not installed or cannot be run; under CI fail it."""
    require(POSTFIX)
    if os.geteuid() != 0:
        reason = "only root can run Postfix"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class Postfix:
    """A running Postfix: see `running`."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self._process = process

    def wait_for(self, *words: str) -> str:
        """Return the next line of the log that has all of these words."""
        assert self._process.stdout is not None
        log: list[str] = []
        for line in self._process.stdout:
            log.append(line)
            if all(word in line for word in words):
                return line
        raise AssertionError(f"Postfix ended: {''.join(log)}")

    def send(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Send a message, which Postfix must accept for all recipients."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example") as client:
            assert client.sendmail(sender, recipients, content, mail_options=["BODY=8BITMIME"]) == {}


@contextmanager
def running(where: str, settings: str = "") -> Generator[Postfix]:
    """Run Postfix during a block. It delivers to `where`: ``lmtp:inet:127.0.0.1:24`` or ``smtp:[127.0.0.1]:25``."""
    with (
        socket.socket() as holder,  # it does not listen, but keeps the port from all who ask for any port
        tempfile.TemporaryDirectory(prefix="postfix-") as name,  # tmp_path is closed to Postfix's user
    ):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "queue").mkdir()
        (folder / "data").mkdir()
        shutil.chown(folder / "data", "postfix")
        (folder / "main.cf").write_text(MAIN.format(folder=folder, where=where, settings=settings))
        (folder / "master.cf").write_text(MASTER.format(port=port))
        run("postfix", "-c", name, "check")  # makes the folders of the queue
        daemons = run("postconf", "-c", name, "-h", "daemon_directory").strip()
        with subprocess.Popen(
            [f"{daemons}/master", "-s", "-c", name],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                postfix = Postfix(port, process)
                postfix.wait_for("daemon started")
                yield postfix
            finally:
                process.terminate()  # it ends all other processes
                process.communicate()


def run(*command: str) -> str:
    return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
