"""The policies of a server, by the hooks that they have: a hook that nobody overrides costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from trio_smtp.handler import Session
from trio_smtp.policy import Content, Policy, default_policies
from trio_smtp.protocol import Envelope, Hello, MailFrom, RcptTo

__all__ = ["AnyPolicy", "PolicyHooks", "resolve_policies"]

AnyPolicy: TypeAlias = Policy | Sequence[Policy]
"""What a server takes as its policy: one, or several, which are asked in their order."""


@dataclass(frozen=True, slots=True)
class PolicyHooks:
    """For each hook of `Policy` the methods to call, in order."""

    connect: tuple[Callable[[Session], Awaitable[None]], ...] = ()
    hello: tuple[Callable[[Session, Hello], Awaitable[None]], ...] = ()
    login: tuple[Callable[[Session, str], Awaitable[None]], ...] = ()
    login_failed: tuple[Callable[[Session, str], Awaitable[None]], ...] = ()
    mail: tuple[Callable[[Session, MailFrom], Awaitable[None]], ...] = ()
    rcpt: tuple[Callable[[Session, RcptTo], Awaitable[None]], ...] = ()
    header: tuple[Callable[[Session, Envelope, bytes], Awaitable[None]], ...] = ()
    content: tuple[Callable[[Session, Envelope, Content], Awaitable[Sequence[tuple[str, str]] | None]], ...] = ()
    fault: tuple[Callable[[Session, float, float], Awaitable[None]], ...] = ()


def resolve_policies(policy: AnyPolicy | None) -> PolicyHooks:
    """The hooks of these policies, of `default_policies` for None.

    Raises:
        TypeError: if one of them is none.
    """
    if policy is None:
        policy = default_policies()
    policies = [policy] if isinstance(policy, Policy) else list(policy)
    for candidate in policies:
        if not isinstance(candidate, Policy):
            raise TypeError(f"a policy is an instance of a subclass of Policy, not {candidate!r}")
    return PolicyHooks(
        **{
            hook.name: tuple(getattr(each, hook.name) for each in policies if hook.name in each.overrides)
            for hook in fields(PolicyHooks)
        }
    )
