"""Names of mailboxes, address keys and flags. The contract tests which names every store refuses."""

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


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("INBOX", "INBOX"),
        ("inbox", "INBOX"),
        ("InBoX", "INBOX"),
        ("Sent", "Sent"),
        ("INBOX/Old", "INBOX/Old"),
        ("ınbox", "ınbox"),  # a dotless i, whose upper case is I
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
        ("K@x", "\u212a@x", True),  # the Kelvin sign, which Unicode normalizes to K
        ("s@x", "\u017f@x", False),  # long s
        ("a.nn@x", "ann@x", False),
        ("ann@x.", "ann@x", False),
        ("ann@xn--bcher-kva.example", "ann@Bücher.example", True),
        ("ann@mail.XN--BCHER-KVA", "ann@mail.bu\u0308cher", True),
        ("ann@xn--fiqs8s.xn--bcher-kva", "ann@中国.bücher", True),
        ("ann@xn--strae-oqa.example", "ann@strasse.example", False),
        ("xn--bcher-kva@x", "bücher@x", False),
        ("a.xn--bcher-kva@x", "a.bücher@x", False),
        ("ann@axn--bcher-kva", "ann@abücher", False),
        ("ann@xn--a-", "ann@a", False),
        ("ann@xn--" + "ab" * 30, "ann@" + ("ab" * 30).encode().decode("punycode", "replace"), False),
    ],
)
def test_address_key(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


CAPITAL = "xn--" + "bÜcher".encode("punycode").decode()


@pytest.mark.parametrize(
    "label", ["xn--99", "xn--a", "xn--a-", "xn---", "xn--", "xn--bcher-kvaü", CAPITAL, "xn--" + "a" * 60]
)
def test_what_is_no_label_in_ascii_stays_as_it_is(label: str) -> None:
    assert address_key(f"ann@{label}.example") == f"ann@{label}.example"


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
