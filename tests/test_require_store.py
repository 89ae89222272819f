"""Which objects are accepted as a store, and which are refused at once, by the classes that take one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.server.tools import begin, deliver
from trio_smtp.mailbox import MailStore, MemoryStore
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.policy import Greylist
from trio_smtp.server import StoreAuthenticator
from trio_smtp.submission import SubmissionHandler
from trio_smtp.testing.client import open_session


@pytest.mark.parametrize(
    "use",
    [MailboxHandler.factory, SubmissionHandler.factory, StoreAuthenticator, Greylist],
    ids=["handler", "submission", "authenticator", "greylist"],
)
@pytest.mark.parametrize(
    ("store", "hint"),
    [("mail", r"not 'mail'; use JSONFileStore('mail')"), (Path("m"), "JSONFileStore('m')"), (MemoryStore, "class")],
)
def test_what_is_no_store_is_noticed_before_mail_comes(use: Callable[[Any], object], store: object, hint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(hint)):
        use(store)


async def test_what_has_the_methods_of_a_store_is_one() -> None:
    store = MemoryStore()
    await store.create_account("bob", addresses=["bob@example.com"])

    class Wrapped:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    async with open_session(MailboxHandler.factory(cast("MailStore", Wrapped()))) as client:
        await begin(client)
        await deliver(client)
