"""Make the limits, timeouts and policies of ``trio-smtp serve`` from its settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypedDict

from trio_smtp.cli.listen import ListenSpec
from trio_smtp.cli.serve_flags import RATES
from trio_smtp.cli.settings import RateValue, ServeSettings
from trio_smtp.mailbox.store import MailStore
from trio_smtp.policy import FaultDelay, Greylist, HeaderLimits, Policy, Rate, RateLimits
from trio_smtp.protocol import Limits
from trio_smtp.server import SharedCounts, Timeouts

__all__ = ["WINDOWS", "limits", "login_limits", "policies_by_listener", "rate_limits", "timeouts"]

WINDOWS: Final = [flag.removeprefix("--") for flag in RATES]
"""The names of the rates. Workers share their counts."""


def limits(settings: ServeSettings) -> Limits:
    """The limits of one connection."""
    return Limits(
        message_size=settings.max_message_size,
        recipients=settings.max_recipients,
        transactions=settings.max_transactions,
        errors=settings.max_errors,
        junk_commands=settings.max_junk_commands,
        auth_failures=settings.max_login_failures,
    )


def timeouts(settings: ServeSettings) -> Timeouts:
    """How long the server waits for each step."""
    return Timeouts(
        handshake=settings.handshake_timeout,
        command=settings.command_timeout,
        data=settings.data_timeout or min(Timeouts().data, settings.command_timeout),
        minimum_rate=settings.minimum_rate,
        session=settings.session_time,
        drain=settings.drain_timeout,
    )


class LoginLimits(TypedDict):
    """Arguments of `StoreAuthenticator`."""

    at_once: int
    waiting: int


def login_limits(settings: ServeSettings) -> LoginLimits:
    """How many passwords one process hashes at a time: its share of the total, and at least one."""
    return {"at_once": max(1, 2 // settings.workers), "waiting": max(1, 64 // settings.workers)}


def policies_by_listener(
    settings: ServeSettings, store: MailStore, counts: SharedCounts | None = None
) -> Callable[[ListenSpec], list[Policy]]:
    """A function that returns the policies of a listener. All listeners share the counts of the policies."""
    everywhere: list[Policy] = [
        rate_limits(settings, counts),
        FaultDelay(settings.fault_delay),
        HeaderLimits(received=settings.max_received, fields=settings.max_header_fields, size=settings.max_header_size),
    ]
    for_strangers = list[Policy]()
    if settings.greylist is not None:
        for_strangers.append(Greylist(store, delay=settings.greylist, everyone=True))
    return lambda spec: everywhere + for_strangers if spec.scheme.greylists else everywhere


def rate_limits(settings: ServeSettings, counts: SharedCounts | None = None) -> RateLimits:
    """The rate limits. A rate that is set by a flag also applies to clients on this machine."""
    rates: dict[str, Any] = {}
    for flag, (argument, _, _) in RATES.items():
        value: RateValue = getattr(settings, flag.removeprefix("--").replace("-", "_"))
        if value != "default":
            rates[argument] = None if value is None else Rate(*value, everyone=True)
    if counts is not None:
        rates |= {"windows": counts.window, "clock": time.monotonic}
    return RateLimits(**rates)
