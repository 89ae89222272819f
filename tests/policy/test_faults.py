"""`FaultDelay`: how long a client that makes mistakes has to wait."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from tests.policy.tools import session
from trio_smtp.policy import FaultDelay


@pytest.mark.parametrize(
    ("policy", "errors", "junk", "delay"),
    [
        (FaultDelay(2), 0.05, 0, 0),
        (FaultDelay(2), 0.5, 0.5, 0),
        (FaultDelay(2), 0.75, 0, 1),
        (FaultDelay(2), 0, 0.75, 1),
        (FaultDelay(2), 0.6, 0.9, 1.6),
        (FaultDelay(2), 1, 0, 2),
        (FaultDelay(2), 3, 3, 2),
        (FaultDelay(2, after=0), 0.5, 0, 1),
        (FaultDelay(0), 1, 1, 0),
    ],
)
async def test_the_delay_grows_with_what_is_used_up(
    policy: FaultDelay, errors: float, junk: float, delay: float, autojump_clock: trio.testing.MockClock
) -> None:
    before = trio.current_time()
    await policy.fault(session(), errors, junk)
    assert trio.current_time() - before == pytest.approx(delay)


@pytest.mark.parametrize(("most", "after"), [(-1, 0.5), (math.nan, 0.5), (1, 1), (1, -0.1), (1, math.nan)])
def test_settings_that_make_no_sense(most: float, after: float) -> None:
    with pytest.raises(ValueError, match="FaultDelay needs a time"):
        FaultDelay(most, after=after)


@pytest.mark.parametrize("name", ["most", "after"])
def test_settings_that_are_no_numbers(name: str) -> None:
    arguments: dict[str, Any] = {name: "0.5"}
    with pytest.raises(TypeError, match=f"^{name} must be of type int or float, not '0.5'$"):
        FaultDelay(**arguments)
