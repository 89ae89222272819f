"""What a server lets clients do before the application is asked: objects that compose, each with its own few rules.

A policy is an object of a `Policy` subclass, shared by all connections of one server, or of several. It says no by
raising `Refuse`; the first that does has decided. `default_policies` are in force where a server is told of none.
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
    """What a server has in force that is told nothing else; new objects at each call, for servers of their own."""
    return [RateLimits(), FaultDelay(), HeaderLimits()]
