"""Rules that a server applies to clients before it asks the application: composable objects with a few rules each.

A policy is an instance of a `Policy` subclass, shared by all connections of one server or of several. It refuses by
raising `Refuse`; the first refusal decides. A server that is given no policies uses `default_policies`.
"""

from __future__ import annotations

from trio_smtp.policy.base import Content, Policy
from trio_smtp.policy.faults import FaultDelay
from trio_smtp.policy.greylist import Greylist
from trio_smtp.policy.headers import HeaderLimits
from trio_smtp.policy.peers import is_loopback, peer_network
from trio_smtp.policy.rates import Rate, RateLimits
from trio_smtp.policy.refusals import Refusals
from trio_smtp.policy.windows import SlidingWindow

__all__ = [
    "Content",
    "FaultDelay",
    "Greylist",
    "HeaderLimits",
    "Policy",
    "Rate",
    "RateLimits",
    "Refusals",
    "SlidingWindow",
    "default_policies",
    "is_loopback",
    "peer_network",
]


def default_policies() -> list[Policy]:
    """The policies of a server that is given none. Each call makes new objects, so servers do not share counts."""
    return [RateLimits(), FaultDelay(), HeaderLimits()]
