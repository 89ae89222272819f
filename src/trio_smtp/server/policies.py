"""The policies of a server, by hook: hooks that are not overridden, and policies that do not apply, cost nothing."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from trio_smtp.handler import Session
from trio_smtp.policy import Content, Policy, default_policies
from trio_smtp.policy.base import HEADER_BOUND, HOOKS
from trio_smtp.protocol import Envelope, Hello, MailFrom, RcptTo

__all__ = ["AnyPolicy", "Policies", "PolicyHooks", "resolve_policies"]

AnyPolicy: TypeAlias = Policy | Sequence[Policy]
"""What a server takes as its policy: one, or several, which are asked in order."""


@dataclass(frozen=True, slots=True)
class PolicyHooks:
    """For each hook of `Policy`, the methods to call, in order."""

    connect: tuple[Callable[[Session], Awaitable[None]], ...] = ()
    hello: tuple[Callable[[Session, Hello], Awaitable[None]], ...] = ()
    login: tuple[Callable[[Session, str], Awaitable[None]], ...] = ()
    login_failed: tuple[Callable[[Session, str], Awaitable[None]], ...] = ()
    mail: tuple[Callable[[Session, MailFrom], Awaitable[None]], ...] = ()
    rcpt: tuple[Callable[[Session, RcptTo], Awaitable[None]], ...] = ()
    header: tuple[Callable[[Session, Envelope, bytes], Awaitable[None]], ...] = ()
    content: tuple[Callable[[Session, Envelope, Content], Awaitable[Sequence[tuple[str, str]] | None]], ...] = ()
    fault: tuple[Callable[[Session, float, float], Awaitable[None]], ...] = ()
    header_bound: int = 0
    """The most octets of a header section that `header` is called with."""


class Policies:
    """The policies of a server.

    Args:
        policies: in the order in which they are asked.
    """

    __slots__ = ("_hooks", "_policies")

    def __init__(self, policies: Sequence[Policy] = ()) -> None:
        self._policies: Final = tuple(policies)
        self._hooks: Final[dict[tuple[bool, ...], PolicyHooks]] = {}  # by which policies apply; few combinations occur

    def hooks_for(self, session: Session) -> PolicyHooks:
        """The hooks of the policies that apply to a connection."""
        # The key is not the policies themselves: they need not be hashable, and two that are equal may differ.
        applies = tuple([bool(policy.applies_to(session)) for policy in self._policies])
        if (hooks := self._hooks.get(applies)) is None:
            hooks = self._hooks[applies] = _hooks_of(list(itertools.compress(self._policies, applies)))
        return hooks


def resolve_policies(policy: AnyPolicy | None) -> Policies:
    """The policies of a server; `default_policies` for None.

    Raises:
        TypeError: if one of them is not a `Policy`.
    """
    if policy is None:
        policy = default_policies()
    policies = [policy] if isinstance(policy, Policy) or not isinstance(policy, Iterable) else list(policy)
    for candidate in policies:
        if not isinstance(candidate, Policy):
            raise TypeError(f"a policy must be an instance of a subclass of Policy (not the class), not {candidate!r}")
    return Policies(policies)


def _hooks_of(policies: Sequence[Policy]) -> PolicyHooks:
    hooks: dict[str, Any] = {
        hook: tuple(getattr(each, hook) for each in policies if hook in each.overrides) for hook in HOOKS
    }
    bounds = [each.header_bound for each in policies if "header" in each.overrides]
    return PolicyHooks(**hooks, header_bound=min(max(bounds, default=0), HEADER_BOUND))
