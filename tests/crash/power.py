"""Power cuts on real file systems in mounted images: the kernel does what `disk` models.

At some moment of a delivery the file system is shut down by the ioctl with which its own developers test it: what is
not on the disk by then is lost. Then it is mounted again, as after a power cut, and every message that was ever
acknowledged must be in the store, byte for byte and exactly once.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import trio

from tests.crash.kills import ADDRESS, content, number_of
from tests.crash.mounts import cut_power, mounted
from trio_smtp import MailboxHandler
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX
from trio_smtp.testing import open_session

CLIENTS = 4


class PowerCuts:
    """An image with a store, and the messages that the store has acknowledged."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._where = image.parent / "disk"
        self._random = Random(7)
        self._number = 0
        self._lives = False
        self.acknowledged: set[int] = set()

    async def cut(self) -> None:
        """Check the store, deliver some messages, and cut the power while the clients go on."""
        with mounted(self._where, "-o", "loop", self._image):
            self._lives = True
            async with JSONFileStore(self._where / "mail") as store:
                if not await store.list_accounts():
                    await store.create_account("ann", addresses=[ADDRESS])
                await self._check(store)
                enough = len(self.acknowledged) + self._random.randint(1, 30)
                async with trio.open_nursery() as nursery:
                    for _ in range(CLIENTS):
                        nursery.start_soon(self._deliver, store, enough)

    async def look(self) -> None:
        """Check the store after the last cut."""
        with mounted(self._where, "-o", "loop", self._image):
            async with JSONFileStore(self._where / "mail", create=False) as store:
                await self._check(store)

    async def _deliver(self, store: JSONFileStore, enough: int) -> None:
        """Deliver until a message is refused; the first client to see enough acknowledged ones cuts the power."""
        async with open_session(MailboxHandler.factory(store)) as client:
            await client.expect("220")
            await client.command("EHLO client.example")
            while True:
                self._number += 1
                number = self._number
                if self._lives and len(self.acknowledged) >= enough:
                    self._lives = False
                    await trio.to_thread.run_sync(cut_power, self._where)  # the other clients go on meanwhile
                reply = await client.send_mail("bob@example.org", [ADDRESS], content(number))
                # After a real cut no client gets a reply. A sync during this one may return as if it had succeeded.
                if reply.code != 250 or not self._lives:
                    return
                self.acknowledged.add(number)

    async def _check(self, store: JSONFileStore) -> None:
        listed = await store.list_messages("ann", INBOX)
        numbers = [number_of(await store.get_message("ann", INBOX, each.uid)) for each in listed]
        assert len(set(numbers)) == len(numbers), "there are messages twice"
        assert self.acknowledged <= set(numbers), f"lost: {sorted(self.acknowledged - set(numbers))}"
        assert store.damage == ()
