"""Rules for accounts, addresses, passwords and quotas."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

import pytest
import trio

from trio_smtp.mailbox.passwords import hash_password, verify_password
from trio_smtp.mailbox.store import (
    INBOX,
    AccountExists,
    AddressTaken,
    Credentials,
    Delivered,
    InvalidName,
    MailStore,
    MessageTooBig,
    NoSuchAccount,
    QuotaExceeded,
    Search,
    Target,
)
from trio_smtp.testing.store_contract.tools import (
    BAD_ADDRESSES,
    BAD_NAMES,
    ODD_NAMES,
    add,
    contents,
    deliver,
    mailbox_of,
    uids,
    used,
)


class AccountContract:
    """Tests of accounts."""

    async def test_new_account(self, store: MailStore) -> None:
        """`create_account` returns the account as it is stored. A new account has an empty INBOX."""
        addresses = ("Carl@Example.com",)
        made = await store.create_account("carl", description="Carl ü", addresses=addresses, quota=9)
        assert (made.name, made.description, made.addresses) == ("carl", "Carl ü", addresses)
        assert (made.quota, made.used) == (9, 0)
        assert await store.get_account("carl") == made
        [inbox] = await store.list_mailboxes("carl")
        assert (inbox.name, inbox.messages, inbox.unseen, inbox.read_only) == (INBOX, 0, 0, False)
        assert await uids(store, "carl") == []

    async def test_one_address_is_no_list(self, store: MailStore) -> None:
        """A str instead of a list of addresses is an error of the caller, and is not read as a list of letters."""
        with pytest.raises(TypeError, match="ann@example"):
            await store.create_account("carl", addresses="ann@example.com")
        with pytest.raises(TypeError, match="ann@example"):
            await store.update_account("ann", addresses="ann@example.org")
        assert [each.name for each in await store.list_accounts()] == ["ann", "bob"]

    async def test_accounts_in_order(self, store: MailStore) -> None:
        """Accounts are listed in the order in which they were created."""
        await store.create_account("aaron")
        await store.delete_account("ann")
        await store.create_account("ann")
        assert [each.name for each in await store.list_accounts()] == ["bob", "aaron", "ann"]

    async def test_account_name_taken(self, store: MailStore) -> None:
        """An account name is unique. A refused account leaves nothing behind."""
        with pytest.raises(AccountExists):
            await store.create_account("ann", addresses=["new@example.com"])
        assert await store.find_account("new@example.com") is None
        assert (await store.get_account("ann")).addresses == ("ann@example.com",)

    async def test_account_names_are_exact(self, store: MailStore) -> None:
        """Names that differ in case, in spaces or by look-alikes are different accounts. No name is used as a path."""
        for name in ODD_NAMES:
            await store.create_account(name)
            await add(store, name.encode(), account=name)
        assert [each.name for each in await store.list_accounts()] == ["ann", "bob", *ODD_NAMES]
        for name in ODD_NAMES:
            assert await contents(store, name) == [name.encode()]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    async def test_bad_account_name(self, store: MailStore, name: str) -> None:
        """Creating an account with an invalid name is refused. Other methods find no account with such a name."""
        with pytest.raises(InvalidName):
            await store.create_account(name)
        with pytest.raises(NoSuchAccount):
            await store.get_account(name)

    async def test_bad_description(self, store: MailStore) -> None:
        """A description that is too long or contains control characters is refused."""
        for description in ("a\nb", "\udcff", "x" * 1001):
            with pytest.raises(InvalidName):
                await store.create_account("carl", description=description)

    async def test_no_such_account(self, store: MailStore) -> None:
        """Every method raises NoSuchAccount for an unknown account."""
        attempts: list[Awaitable[object]] = [
            store.update_account("Ann", description=""),
            store.delete_account("Ann"),
            store.get_account("Ann"),
            store.set_password("Ann", None),
            store.set_quota("Ann", None),
            store.get_credentials("Ann"),
            store.create_mailbox("Ann", "Sent"),
            store.delete_mailbox("Ann", "Sent"),
            store.rename_mailbox("Ann", "Sent", "Old"),
            store.set_read_only("Ann", INBOX, True),
            store.list_mailboxes("Ann"),
            store.list_messages("Ann", INBOX),
            store.find_messages("Ann", INBOX, Search()),
            store.count_messages("Ann", INBOX),
            store.get_message("Ann", INBOX, 1),
            store.append_message("Ann", INBOX, b""),
            store.set_flags("Ann", INBOX, 1, ()),
            store.copy_message("Ann", INBOX, 1, INBOX),
            store.move_message("Ann", INBOX, 1, INBOX),
            store.delete_message("Ann", INBOX, 1),
        ]
        for attempt in attempts:
            with pytest.raises(NoSuchAccount):
                await attempt

    async def test_delete_account(self, store: MailStore) -> None:
        """The name and addresses of a deleted account can be reused. Nothing else of it is left, such as its password.

        The new INBOX has a greater uid_validity.
        """
        await store.set_password("ann", Credentials("of some kind"))
        await store.set_quota("ann", 1000)
        await store.set_read_only("ann", INBOX, True)
        before = await mailbox_of(store)
        await store.delete_account("ann")
        assert await store.find_account("ann@example.com") is None
        made = await store.create_account("ann", addresses=["ann@example.com"])
        assert made == await store.get_account("ann")
        assert (made.quota, await store.get_credentials("ann")) == (None, None)
        after = await mailbox_of(store)
        assert after.uid_validity > before.uid_validity
        assert not after.read_only
        assert await uids(store) == []

    # --- addresses

    async def test_find_account(self, store: MailStore) -> None:
        """Addresses are found in any case. A subaddress is ignored unless the whole address belongs to an account."""
        await store.create_account("tag", addresses=["ann+tag@example.com", "Grüße@Bücher.example"])
        for address, name in {
            "ann@example.com": "ann",
            "ANN@EXAMPLE.COM": "ann",
            "ann+x@example.com": "ann",
            "ann+x+y@example.com": "ann",
            "ann+@example.com": "ann",
            "ann+tag@example.com": "tag",
            "Ann+TAG@example.com": "tag",
            "ann+tag+x@example.com": "ann",
            "ann+tag2@example.com": "ann",
            "gRÜßE@bÜCHER.Example": "tag",
            "gru\u0308ße@bu\u0308cher.example": "tag",
            "Grüße@xn--bcher-kva.example": "tag",
            "bob@example.org": "bob",
        }.items():
            account = await store.find_account(address)
            assert account is not None, address
            assert account == await store.get_account(name), address

    @pytest.mark.parametrize(
        "address",
        [*BAD_ADDRESSES, "ann@example.org", "+x@example.com", "ann@example.com\0", "x" * 100_000 + "@x"],
        ids=lambda address: ascii(address[:20]),
    )
    async def test_nobodys_address(self, store: MailStore, address: str) -> None:
        """No account is found for an unknown or invalid address."""
        assert await store.find_account(address) is None

    async def test_address_taken(self, store: MailStore) -> None:
        """An address belongs to at most one account. A refused account is not created."""
        await store.create_account("dora", addresses=["Grüße@Bücher.example"])
        for taken in ("BOB@Example.org", "gru\u0308ße@bu\u0308cher.example", "grüße@XN--bcher-kva.example"):
            with pytest.raises(AddressTaken):
                await store.create_account("carl", addresses=["carl@example.com", taken])
        assert await store.find_account("carl@example.com") is None
        with pytest.raises(NoSuchAccount):
            await store.get_account("carl")

    async def test_address_twice(self, store: MailStore) -> None:
        """An address that is given twice for one account is kept once."""
        await store.create_account("carl", addresses=["carl@example.com", "Carl@example.com"])
        account = await store.find_account("carl@example.com")
        assert account is not None
        assert len(account.addresses) == 1

    @pytest.mark.parametrize("address", BAD_ADDRESSES, ids=ascii)
    async def test_bad_address(self, store: MailStore, address: str) -> None:
        """An invalid address is refused."""
        with pytest.raises(InvalidName):
            await store.create_account("carl", addresses=[address])
        with pytest.raises(InvalidName):
            await store.update_account("ann", addresses=["new@example.com", address])
        assert (await store.get_account("ann")).addresses == ("ann@example.com",)

    async def test_update_account(self, store: MailStore) -> None:
        """The description and the addresses can be changed independently. Everything else stays the same."""
        await store.set_quota("ann", 1000)
        await add(store, b"content")
        before = await store.get_account("ann")
        described = await store.update_account("ann", description="Ann ü")
        assert described == replace(before, description="Ann ü") == await store.get_account("ann")
        changed = await store.update_account("ann", addresses=["New@example.com", "ann+x@example.com"])
        assert changed == replace(described, addresses=("New@example.com", "ann+x@example.com"))
        assert changed == await store.get_account("ann") == await store.find_account("new@EXAMPLE.com")
        assert await store.find_account("ann@example.com") is None
        assert await store.update_account("ann") == changed
        assert await contents(store) == [b"content"]
        await store.create_account("carl", addresses=["ann@example.com"])
        await store.update_account("ann", description="", addresses=[])
        assert await store.find_account("new@example.com") is None
        assert (await store.get_account("ann")).description == ""

    async def test_update_account_to_its_own_addresses(self, store: MailStore) -> None:
        """An update may contain an address of the account itself, in another spelling, and twice."""
        changed = await store.update_account("ann", addresses=["Ann@example.com", "ANN@example.com", "a@example.com"])
        assert changed.addresses == ("ANN@example.com", "a@example.com")
        assert await store.find_account("ann@example.com") == changed

    async def test_refused_update(self, store: MailStore) -> None:
        """A refused update changes nothing."""
        before = await store.get_account("ann")
        with pytest.raises(AddressTaken):
            await store.update_account("ann", description="new", addresses=["new@example.com", "BOB@Example.org"])
        with pytest.raises(InvalidName):
            await store.update_account("ann", description="a\nb", addresses=["new@example.com"])
        assert await store.get_account("ann") == before
        assert await store.find_account("new@example.com") is None

    async def test_has_domain(self, store: MailStore) -> None:
        """`has_domain` is true, in any case, as long as an account has an address in the domain."""
        await store.create_account("carl", addresses=["carl@Bücher.example", '"a@b"@quoted.example'])
        for domain in (
            "example.com",
            "EXAMPLE.org",
            "bu\u0308cher.Example",
            "xn--BCHER-kva.example",
            "quoted.example",
        ):
            assert await store.has_domain(domain), domain
        for domain in ("", "example", "com", "sub.example.com", "ann@example.com", 'b"@quoted.example', "\0"):
            assert not await store.has_domain(domain), domain
        await store.create_account("dora", addresses=["dora@example.org", "dora@bücher.example"])
        await store.update_account("carl", addresses=["carl@new.example"])
        await store.delete_account("bob")
        for domain in ("example.com", "example.org", "new.example", "bücher.example"):
            assert await store.has_domain(domain), domain
        assert not await store.has_domain("quoted.example")
        await store.delete_account("dora")
        assert not await store.has_domain("example.org")
        assert not await store.has_domain("bücher.example")

    async def test_first_account(self, store: MailStore) -> None:
        """`first_account` returns the oldest account, and after its removal the next one."""
        first = await store.first_account()
        assert first == await store.get_account("ann")
        await store.create_account("aaron")
        for gone, next_one in (("ann", "bob"), ("bob", "aaron")):
            await store.delete_account(gone)
            assert await store.first_account() == await store.get_account(next_one)
        await store.delete_account("aaron")
        assert await store.first_account() is None

    # --- passwords

    async def test_password(self, store: MailStore) -> None:
        """Only credentials that verify a password are stored. A password can be replaced and removed."""
        assert await store.get_credentials("ann") is None
        await store.create_account("carl", password="correct horse")  # noqa: S106 - made up
        credentials = await store.get_credentials("carl")
        assert verify_password(credentials, "correct horse")
        assert credentials is not None
        assert credentials.text.isascii()
        assert "correct" not in credentials.text
        await store.set_password("carl", "\u00e9" * 512)
        assert verify_password(await store.get_credentials("carl"), "\u00e9" * 512)
        await store.set_password("carl", None)
        assert await store.get_credentials("carl") is None

    async def test_credentials(self, store: MailStore) -> None:
        """Credentials that were hashed elsewhere are stored unchanged."""
        credentials = hash_password("secret")
        await store.create_account("carl", password=credentials)
        await store.set_password("ann", Credentials("of a kind yet unknown"))
        assert await store.get_credentials("carl") == credentials
        assert await store.get_credentials("ann") == Credentials("of a kind yet unknown")

    async def test_replaced_credentials(self, store: MailStore) -> None:
        """With `replacing`, credentials are set only if the current ones are those to be replaced."""
        old, new, newest = (Credentials(text) for text in ("old", "new", "newest"))
        await store.set_password("ann", old)
        await store.set_password("ann", new, replacing=old)
        assert await store.get_credentials("ann") == new
        await store.set_password("ann", newest, replacing=old)
        assert await store.get_credentials("ann") == new

    async def test_bad_password(self, store: MailStore) -> None:
        """A password that is empty, too long or has a NUL is refused, and nothing is changed."""
        for password in ("", "x" * 1025, "NUL\0"):
            with pytest.raises(ValueError, match="octets"):
                await store.create_account("carl", password=password)
            with pytest.raises(ValueError, match="octets"):
                await store.set_password("ann", password)
        assert [each.name for each in await store.list_accounts()] == ["ann", "bob"]

    # --- the secret

    async def test_secret(self, store: MailStore) -> None:
        """A store has one long secret, also if several tasks ask for it first at the same time."""
        secrets: list[bytes] = []

        async def ask() -> None:
            secrets.append(await store.get_secret())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert secrets == [await store.get_secret()] * 3
        assert len(secrets[0]) >= 32
        assert len(set(secrets[0])) > 8

    # --- quota

    async def test_quota(self, store: MailStore) -> None:
        """An account can be filled exactly up to its quota. Removing messages makes room again."""
        await store.create_account("carl", quota=10)
        await store.create_mailbox("carl", "Sent")
        first = await add(store, b"123456", account="carl")
        assert await used(store, "carl") == 6
        with pytest.raises(QuotaExceeded):
            await add(store, b"12345", account="carl")
        with pytest.raises(QuotaExceeded):
            await store.copy_message("carl", INBOX, first, "Sent")
        moved = await store.move_message("carl", INBOX, first, "Sent")
        await add(store, b"1234", account="carl")
        await add(store, b"", account="carl")
        assert await used(store, "carl") == 10
        await store.delete_message("carl", "Sent", moved.uid)
        assert await used(store, "carl") == 4
        await store.copy_message("carl", INBOX, (await uids(store, "carl"))[0], "Sent")
        await store.delete_mailbox("carl", "Sent")
        assert await used(store, "carl") == 4

    async def test_set_quota(self, store: MailStore) -> None:
        """A quota can be set, changed and removed. Messages that exceed a new quota are kept."""
        uid = await add(store, b"123456")
        changed = await store.set_quota("ann", 5)
        assert (changed.name, changed.quota, changed.used) == ("ann", 5, 6)
        assert changed == await store.get_account("ann")
        with pytest.raises(QuotaExceeded):
            await add(store, b"1")
        with pytest.raises(QuotaExceeded):
            await add(store, b"")
        assert await contents(store) == [b"123456"]
        await store.set_quota("ann", 7)
        await add(store, b"7")
        await store.set_quota("ann", None)
        await add(store, b"123456789")
        await store.set_quota("ann", 1)
        await store.delete_message("ann", INBOX, uid)
        assert await used(store, "ann") == 10
        for quota in (-1, 2**63):
            with pytest.raises(ValueError, match="quota"):
                await store.set_quota("ann", quota)
        assert (await store.get_account("ann")).quota == 1
        assert (await store.set_quota("ann", 2**63 - 1)).quota == 2**63 - 1

    async def test_what_will_never_fit(self, store: MailStore) -> None:
        """A message larger than the whole quota raises MessageTooBig, one without room at present QuotaExceeded."""
        await store.create_account("carl", quota=10)
        await add(store, b"123456", account="carl")
        for size, error in ((5, QuotaExceeded), (10, QuotaExceeded), (11, MessageTooBig), (1000, MessageTooBig)):
            with pytest.raises(QuotaExceeded) as refusal:
                await add(store, b"x" * size, account="carl")
            assert type(refusal.value) is error, size
        refused = await deliver(store, [Target("carl", INBOX, b"12")], b"x" * 9, partial=True)
        assert [type(each) for each in refused] == [MessageTooBig]

    async def test_quota_of_many_at_once(self, store: MailStore) -> None:
        """Deliveries that are committed at the same time do not exceed the quota together."""
        await store.create_account("carl", quota=10)
        results: list[object] = []

        async def one() -> None:
            async with store.deliver([Target("carl"), Target("bob")], partial=True) as delivery:
                await delivery.write(b"123")
                results.append(type((await delivery.commit())[0]))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert (results.count(Delivered), results.count(QuotaExceeded)) == (3, 17)
        assert await used(store, "carl") == 9
        assert len(await uids(store, "bob")) == 20

    async def test_quota_of_a_delivery(self, store: MailStore) -> None:
        """All copies of one delivery count towards the quota together, including their prefixes."""
        await store.create_account("carl", quota=10)
        await store.create_mailbox("carl", "Sent")
        both = [Target("carl", INBOX, b"1"), Target("carl", "Sent", b"2")]
        with pytest.raises(QuotaExceeded):
            await deliver(store, both, b"12345")
        assert await used(store, "carl") == 0
        taken, refused = await deliver(store, both, b"12345", partial=True)
        assert isinstance(taken, Delivered)
        assert isinstance(refused, QuotaExceeded)
        assert await used(store, "carl") == 6

    async def test_bad_quota(self, store: MailStore) -> None:
        """A quota of 0 is valid. A negative quota, or one of more than 63 bits, is refused."""
        for quota in (-1, 2**63):
            with pytest.raises(ValueError, match="quota"):
                await store.create_account("carl", quota=quota)
        await store.create_account("carl", quota=0)
        with pytest.raises(QuotaExceeded):
            await add(store, account="carl")
