from __future__ import annotations

import pytest

from trio_smtp.mailbox.names import (
    address_key,
    address_keys,
    change_flags,
    check_address,
    check_name,
    mailbox_key,
)
from trio_smtp.mailbox.store import InvalidName

# What is refused and what is a flag is part of the contract, and tested there for every store.


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("INBOX", "INBOX"),
        ("inbox", "INBOX"),
        ("InBoX", "INBOX"),
        ("Sent", "Sent"),
        ("INBOX/Old", "INBOX/Old"),
        ("ınbox", "ınbox"),  # a dotless i, whose capital is I
        ("İNBOX", "İNBOX"),
        ("", ""),
    ],
)
def test_mailbox_key(name: str, kept: str) -> None:
    assert mailbox_key(name) == kept


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ann@Example.COM", "ann@example.com", True),
        ("Ü@MÜNCHEN.example", "ü@münchen.example", True),
        ("u\u0308@x", "ü@x", True),
        ("K@x", "\u212a@x", True),  # the Kelvin sign is the letter K to Unicode
        ("s@x", "\u017f@x", False),  # long s
        ("a.nn@x", "ann@x", False),
        ("ann@x.", "ann@x", False),
    ],
)
def test_address_key(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("Ann@x", ("ann@x",)),
        ("ann+tag@x", ("ann+tag@x", "ann@x")),
        ("ann+a+b@x", ("ann+a+b@x", "ann@x")),
        ("ann@x+y", ("ann@x+y",)),
        ('"a@b+c"@x', ('"a@b+c"@x', '"a@b@x')),
        ("", ("",)),
    ],
)
def test_address_keys(address: str, keys: tuple[str, ...]) -> None:
    assert address_keys(address) == keys


def test_a_refusal_can_be_shown_anywhere() -> None:
    for name in ("\x1b[2J" * 1000, "\udcff", "ü" * 10_000):
        with pytest.raises(InvalidName) as refusal:
            check_name(name)
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value)) < 3000
    with pytest.raises(InvalidName, match="local@domain"):
        check_address("ann")


def test_change_flags_takes_any_iterable() -> None:
    assert change_flags(frozenset({"a", "b"}), (flag for flag in ("A", "c")), "add") == {"a", "b", "c"}
