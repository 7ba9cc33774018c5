"""Options, profiles and the last lines of a parity run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from parity.bridge import Bridge

_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
# The same examples at every run, so that a change breaks tests and chance does not; "thorough" looks for new ones.
settings.register_profile("fast", max_examples=10, derandomize=True, **_QUIET)
settings.register_profile("default", max_examples=40, derandomize=True, **_QUIET)
settings.register_profile("thorough", max_examples=250, **_QUIET)

_BRIDGE = pytest.StashKey[Bridge]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity")
    group.addoption("--r", choices=("live", "recorded", "auto"), default="auto", help="run lme4, or use its records")
    group.addoption("--slow-r", action="store_true", help="run the slow models of the catalogue in R as well")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_r: asks R about data that no record is about")
    config.stash[_BRIDGE] = Bridge(config.getoption("--r"), slow_live=config.getoption("--slow-r"))
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile(os.environ.get("INTERLACE_PARITY_PROFILE", "default"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a running R can answer; the recorded random models stand in for it."""
    if config.stash[_BRIDGE].live:
        return
    needs_r = [item for item in items if item.get_closest_marker("needs_r")]
    config.hook.pytest_deselected(items=needs_r)
    items[:] = [item for item in items if item not in needs_r]


@pytest.fixture(scope="session")
def bridge(request: pytest.FixtureRequest) -> Bridge:
    """lme4, live or recorded."""
    return request.config.stash[_BRIDGE]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"parity: {config.stash[_BRIDGE].describe()}")
