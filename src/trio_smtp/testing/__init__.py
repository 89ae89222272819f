"""Tools for tests of what is built on trio-smtp, and of programs that send mail.

The client and the server here need nothing else. `plugin` has fixtures for pytest; `store_contract` needs pytest-trio,
and `store_model` Hypothesis besides.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError):
    import pytest

    # So that an assertion that fails there shows its values, as in a test module.
    pytest.register_assert_rewrite(
        "trio_smtp.testing.client", "trio_smtp.testing.store_contract", "trio_smtp.testing.store_model"
    )

from trio_smtp.testing.catching import CatchingServer
from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session

__all__ = ["CatchingServer", "ClientReply", "ScriptedClient", "open_session"]
