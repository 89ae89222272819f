"""How a policy class is checked when it is defined."""

from __future__ import annotations

import pytest

from trio_smtp.handler import Session
from trio_smtp.policy import Policy, default_policies
from trio_smtp.policy.base import HOOKS
from trio_smtp.protocol import RcptTo


def test_a_misspelt_hook_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match=r"Bad.recpt is not a hook of Policy \(connect, .*rcpt, .*fault\)"):

        class Bad(Policy):
            async def recpt(self, session: Session, event: RcptTo) -> None: ...


def test_a_hook_is_async() -> None:
    with pytest.raises(TypeError, match=r"Bad.rcpt must be an async method"):

        class Bad(Policy):
            def rcpt(self, session: Session, event: RcptTo) -> None: ...  # type: ignore[override]


def test_when_a_policy_applies_is_not_async() -> None:
    with pytest.raises(TypeError, match=r"Bad.applies_to must not be async"):

        class Bad(Policy):
            async def applies_to(self, session: Session) -> bool:  # type: ignore[override]  # that is the test
                return False


def test_what_a_class_overrides_is_what_is_called() -> None:
    class One(Policy):
        async def rcpt(self, session: Session, event: RcptTo) -> None: ...

        def _helper(self) -> None: ...

    class Two(One):
        async def connect(self, session: Session) -> None: ...

    assert Policy.overrides == frozenset()
    assert One.overrides == {"rcpt"}
    assert Two.overrides == {"connect", "rcpt"}


def test_every_public_method_is_a_hook_or_says_when_there_are_any() -> None:
    methods = {name for name, member in vars(Policy).items() if callable(member) and not name.startswith("_")}
    assert methods == {*HOOKS, "applies_to"}


def test_the_defaults_are_new_objects_each_time() -> None:
    assert not {*map(id, (first := default_policies()))} & {*map(id, default_policies())}
    assert [type(policy).__name__ for policy in first] == ["RateLimits", "FaultDelay", "HeaderLimits"]
