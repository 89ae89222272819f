"""What the tests of the contract share: sample values, and helpers for frequent operations."""

from __future__ import annotations

from collections.abc import Sequence

from trio_smtp.mailbox.store import INBOX, Delivered, Mailbox, MailStore, MessageInfo, StoreError, Target

CONTENTS = {
    "empty": b"",
    "usual": b"Subject: hello\r\n\r\nworld\r\n",
    "no line end": b"Subject: hello\r\n\r\nworld",
    "every octet": bytes(range(256)) * 3,
    "NULs": bytes(70),
    "lone CR and LF": b"a\rb\nc\r\r\nd\n\r\n\n\r",
    "dots": b".\r\n..\r\n.\r\n",
    "8-bit": "Subject: Grüße\r\n\r\n\u20ac\U0001f4e7\r\n".encode(),
    "not UTF-8": b"\xff\xfe\xc3\x28\xed\xb3\xbf",
    "looks like JSON": b'{"v":1}\n{"v":1,"crc":"00000000"}\n\\u0000"',
    "From line": b"From me\r\n\r\nFrom you\r\n",
    "large": b"0123456789abcde\n" * 50_000,
}

# Valid names: paths, reserved names, look-alikes, names that differ only in case, characters with a special meaning.
ODD_NAMES = (
    "../x", "/etc/x", ".", "..", ".tmp-1", "CON", "nul.txt", "a/b", "a\u2044b", "a\\b", "a:b", "%2e%2e", "~",
    "-rf", " ", "x ", "x", "X", "Ångström", "A\u030angstro\u0308m", "straße", "STRASSE", "\U0001f4e7",
    "$(id)", "';--", "*", "manifest.json", "\u2028", "\u202e", "ınbox", "x" * 255, "é" * 127,
)  # fmt: skip
BAD_NAMES = (
    "", "\0", "a\0b", "a\nb", "\r", "\x1b[2J", "\x7f", "\x85", "\udcff", "\ud83d", "x" * 256, "é" * 128,
)  # fmt: skip
BAD_ADDRESSES = ("", "ann", "@", "@example.com", "ann@", "a\r\n@x", "a\0@x", "\udcff@x", "a@" + "x" * 319)


async def add(
    store: MailStore,
    content: bytes = b"x",
    *,
    account: str = "ann",
    mailbox: str = INBOX,
    flags: Sequence[str] = (),
) -> int:
    """Append a message and return its UID."""
    return (await store.append_message(account, mailbox, content, flags=flags)).uid


async def deliver(
    store: MailStore, targets: Sequence[Target], body: bytes = b"x", *, partial: bool = False
) -> list[Delivered | StoreError]:
    """Deliver a message that is written in one piece."""
    async with store.deliver(targets, partial=partial) as delivery:
        await delivery.write(body)
        return await delivery.commit()


async def mailbox_of(store: MailStore, account: str = "ann", name: str = INBOX) -> Mailbox:
    """The mailbox with exactly this name."""
    [mailbox] = [each for each in await store.list_mailboxes(account) if each.name == name]
    return mailbox


async def uids(store: MailStore, account: str = "ann", mailbox: str = INBOX) -> list[int]:
    """The UIDs of a mailbox, in the order of the listing."""
    return [each.uid for each in await store.list_messages(account, mailbox)]


async def contents(store: MailStore, account: str = "ann", mailbox: str = INBOX) -> list[bytes]:
    """The contents of the messages of a mailbox."""
    listed = await uids(store, account, mailbox)
    return [(await store.get_message(account, mailbox, uid)).content for uid in listed]


async def used(store: MailStore, account: str) -> int:
    """The octets of an account that count towards its quota."""
    return (await store.get_account(account)).used


async def info(store: MailStore, uid: int, mailbox: str = INBOX) -> MessageInfo:
    """The `MessageInfo` of a message of ann."""
    return (await store.get_message("ann", mailbox, uid)).info
