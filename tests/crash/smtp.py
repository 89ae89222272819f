"""Mail by SMTP into a store while system calls fail: accepted messages must be there, refused ones must not."""

from __future__ import annotations

from trio_smtp import MailboxHandler
from trio_smtp.mailbox.store import INBOX, MailStore
from trio_smtp.testing import ClientReply, ScriptedClient, open_session

SMALL = b"Subject: small %d\r\n\r\n" + b"x" * 3000
LARGE = b"Subject: large %d\r\n\r\n" + b"x" * 270_000  # in a file of its own


class Sender:
    """Sends messages, each unlike the others, and remembers the accepted ones."""

    def __init__(self, store: MailStore) -> None:
        self._store = store
        self._number = 0
        self.accepted: list[bytes] = []
        self.refused = 0

    async def prepare(self) -> None:
        """Create the account that receives the mail."""
        await self._store.create_account("ann", addresses=["ann@example.com"])

    async def send(self, kind: bytes = SMALL) -> ClientReply:
        """Send one message in a session of its own; the reply must be 250 or 4xx."""
        self._number += 1
        content = kind % self._number
        async with open_session(MailboxHandler.factory(self._store)) as client:
            reply = await self._send(client, content)
        if reply.code == 250:
            self.accepted.append(content + b"\r\n")
        else:
            assert 400 <= reply.code < 500, str(reply)
            self.refused += 1
        return reply

    async def _send(self, client: ScriptedClient, content: bytes) -> ClientReply:
        await client.expect("220")
        await client.command("EHLO client.example")
        return await client.send_mail("bob@example.org", ["ann@example.com"], content)

    async def check(self, store: MailStore) -> None:
        """Check that a store holds the accepted messages and nothing else."""
        listed = await store.list_messages("ann", INBOX)
        stored = [(await store.get_message("ann", INBOX, each.uid)).content for each in listed]
        assert len(stored) == len(self.accepted)
        for message, content in zip(stored, self.accepted, strict=True):
            assert message.endswith(content)
