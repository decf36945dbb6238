"""Different things never share a key, the keys of a script share a slot, and the patterns of an app
cover its keys alone."""

from __future__ import annotations

import fnmatch
import itertools
from typing import Any

import pytest

from runnel import keys
from runnel.errors import ConfigError

#: Names that could be mistaken for one another.
NAMES = ("a", "a.b", "b", "a-b", "0", "log", "state")


def of_partition(app: str, stream: str, number: int, source: str) -> list[str]:
    prefix = keys.partition(app, source, number, stream)
    log = keys.log(prefix)
    states = [keys.state(prefix, processor) for processor in NAMES]
    senders = [keys.producers(prefix), keys.numbers(prefix)]
    senders += [keys.dedupe(prefix, each) for each in (*NAMES, "a:log", "}:b:log")]
    return [log, keys.meta(prefix), *senders, keys.barrier(log), *states]


def of_group(app: str, stream: str, processor: str) -> list[str]:
    group = keys.group(app, stream, processor)
    return [keys.plan(group), keys.members(group), keys.sessions(group), keys.wake(group)]


def of_app(app: str) -> list[str]:
    scope = keys.app_scope(app)
    leading = [keys.leader(app), keys.ticks(app), keys.wake(scope)]
    return [*leading, keys.streams(app), keys.processors(app)]


def slot(key: str) -> str:
    """The part of a key that decides about its slot."""
    return key.partition("{")[2].partition("}")[0]


def test_different_things_never_share_a_key() -> None:
    found = [keys.apps()]
    for app in NAMES:
        found += of_app(app)
        for stream, processor in itertools.product(NAMES, NAMES):
            found += of_group(app, stream, processor)
        for stream, source, number in itertools.product(NAMES, NAMES, (0, 1, 10)):
            found += of_partition(app, stream, number, source)
    assert len(set(found)) == len(found)


def test_keys_that_one_script_uses_share_a_slot() -> None:
    partition = of_partition("shop", "orders", 3, "orders")
    derived = of_partition("shop", "orders.work.dead", 3, "orders")
    assert {slot(key) for key in (*partition, *derived)} == {"shop:orders:3"}
    assert {slot(key) for key in of_group("shop", "orders", "work")} == {"shop:orders@work"}
    assert {slot(key) for key in of_app("shop")} == {"shop"}


def test_the_patterns_of_an_app_cover_its_keys_and_none_of_other_apps() -> None:
    def covered(key: str) -> bool:
        return any(fnmatch.fnmatchcase(key, each) for each in keys.patterns("a"))

    for app in NAMES:
        for key in (
            *of_partition(app, "a", 1, "b"),
            *of_group(app, "a", "b"),
            *of_app(app),
        ):
            assert covered(key) is (app == "a"), key
    assert covered(keys.apps())


@pytest.mark.parametrize("name", ["a", "A9_.-", "0", "x" * keys.MAX_NAME])
def test_a_name_without_special_characters_is_accepted(name: str) -> None:
    assert keys.check_name("stream", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", ".a", "_a", "a b", "a:b", "a@b", "{a}", "a\n", "ä", "x" * 101, None, 5, b"a"],
)
def test_a_name_that_a_key_cannot_have_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^stream name .* is not usable"):
        keys.check_name("stream", name)
