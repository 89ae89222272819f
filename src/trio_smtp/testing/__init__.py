"""Tools for tests of what is built on trio-smtp.

They need pytest: the client here, and the fixture in `plugin` for programs that send mail. `store_contract` needs
pytest-trio, and `store_model` Hypothesis besides.
"""

from __future__ import annotations

import pytest

# So that an assertion that fails there shows its values, as in a test module.
pytest.register_assert_rewrite(
    "trio_smtp.testing.client", "trio_smtp.testing.store_contract", "trio_smtp.testing.store_model"
)

from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session  # noqa: E402 - rewritten from here on

__all__ = ["ClientReply", "ScriptedClient", "open_session"]
