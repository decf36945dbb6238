"""The URL of Redis in the environment."""

from __future__ import annotations

import pytest

from runnel.connection.environment import url_of_environment
from runnel.errors import ConfigError


def test_the_url_knows_that_it_is_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_REDIS_URL", " redis://db:6379 ")
    url = url_of_environment()
    assert url == "redis://db:6379"
    assert url is not None
    assert url.origin == "RUNNEL_REDIS_URL in the environment"


def test_without_the_variable_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNEL_REDIS_URL", raising=False)
    assert url_of_environment() is None


@pytest.mark.parametrize(("text", "problem"), [("", "is empty"), (" \t", "is blank")])
def test_an_empty_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setenv("RUNNEL_REDIS_URL", text)
    with pytest.raises(ConfigError, match=f"RUNNEL_REDIS_URL {problem}: unset it"):
        url_of_environment()
