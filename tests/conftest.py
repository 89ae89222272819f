"""Hypothesis profiles, and passwords that are cheap to hash.

``default`` is quick, for a person at work; ``ci`` draws the same examples in every run, so that only the change under
test can make a run fail; ``property`` is the long search of ``nox -s property``.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests import passwords  # noqa: F401 - imported for its effect, before all tests

# A shared machine is slow at times: no test is judged by the time it takes.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("default", UNTIMED, max_examples=50, stateful_step_count=30)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None, print_blob=True)
settings.register_profile("property", UNTIMED, max_examples=5000, stateful_step_count=100, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
