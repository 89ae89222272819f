"""The store in docs/stores.md, whose code is read from that page, tested with the contract for stores."""

from __future__ import annotations

from pathlib import Path

from tests.test_docs import REPOSITORY, blocks
from trio_smtp.mailbox.store import MailStore
from trio_smtp.testing.store_contract import PersistentStoreContract

PAGE = REPOSITORY / "docs" / "stores.md"


def documented() -> dict[str, object]:
    [code] = [content for _, content in blocks(PAGE, "python") if "class SQLiteStore" in content]
    namespace: dict[str, object] = {}
    exec(compile(code, PAGE, "exec", dont_inherit=True), namespace)
    return namespace


SQLiteStore = documented()["SQLiteStore"]


class TestSQLiteStore(PersistentStoreContract):
    def open_store(self, folder: Path) -> MailStore:
        assert isinstance(SQLiteStore, type)
        store = SQLiteStore(folder / "mail.db")
        assert isinstance(store, MailStore)
        return store
