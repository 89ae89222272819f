"""Tools to test applications built on trio-smtp, and programs that send mail.

The client and the server here need no other package. `plugin` has fixtures for pytest. `store_contract` needs
pytest-trio, and `store_model` also needs Hypothesis.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError):
    import pytest

    # A failed assertion in these modules then shows its values, as in a test module.
    pytest.register_assert_rewrite(
        "trio_smtp.testing.client", "trio_smtp.testing.store_contract", "trio_smtp.testing.store_model"
    )

from trio_smtp.testing.catching import CatchingServer
from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session

__all__ = ["CatchingServer", "ClientReply", "ScriptedClient", "open_session"]
