"""Settings and keywords: which values are accepted, and how others are refused."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, get_type_hints

import pytest

from runnel import App, Events, Record
from runnel import settings as settings_module
from runnel.codec.compressors import LZ4
from runnel.codec.serializers import JSONSerializer
from runnel.connection.url_text import Url
from runnel.errors import ConfigError
from runnel.processor import Processor
from runnel.settings import GivenSettings, Settings, wanted

INF, NAN = float("inf"), float("nan")

#: Values that are no number at all, or not finite.
NO_NUMBER = (INF, -INF, NAN, True, "3", "", None, b"3", [3], 10**30, -(10**30))


class Item(Record):
    key: str


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which variables this process has reported."""
    monkeypatch.setattr(settings_module, "_reported", set())


class Size(IntEnum):
    FOUR = 4


async def reads(events: Events[Item]) -> None:
    """A handler."""


def declare(app: App, **keywords: Any) -> Processor:
    """A processor of a stream, declared with some keywords of either."""
    of_stream = ("partition_count", "partition_size", "compress_over")
    given = {name: keywords.pop(name) for name in of_stream if name in keywords}
    stream = app.stream("items", record=Item, partition_by="key", **given)
    app.processor(stream, name="reader", **keywords)(reads)
    return app.processors["reader"]


def timer(app: App, **keywords: Any) -> None:
    """A timer."""
    app.timer(**keywords)


def on(app: App, **keywords: Any) -> None:
    """A processor of one record at a time."""
    stream = app.stream("items", record=Item, partition_by="key")
    app.on(stream, name="reader", **keywords)(lambda record: None)


@pytest.mark.parametrize(
    ("how", "where", "name", "values"),
    [
        (declare, "stream items", "partition_count", (0, -1, 2.5, 10_001)),
        (declare, "stream items", "partition_size", (0, 1, -1, 2.5)),
        (declare, "stream items", "compress_over", (-1, 0.5)),
        (declare, "processor reader", "prefetch", (0, -1, 1.5, 10_001)),
        (declare, "processor reader", "retries", (-1, 1.5)),
        (declare, "processor reader", "backoff", (-1, -0.001)),
        (declare, "processor reader", "backoff_max", (-1,)),
        (declare, "processor reader", "commit", ("none", "", None, True, "AUTO")),
        (declare, "processor reader", "start", (0, "1-0", None, "")),
        (on, "processor reader", "prefetch", (0, -1)),
        (on, "processor reader", "commit", ("none",)),
        (timer, "a timer", "interval", (0, -1, "1")),
    ],
)
def test_a_wrong_keyword_is_refused_where_it_is_declared(
    how: Callable[..., object], where: str, name: str, values: tuple[Any, ...]
) -> None:
    optional = name in Settings.model_fields
    number = name not in ("commit", "start")
    for value in (*values, *(NO_NUMBER if number else ())):
        if value is None and optional:
            continue  # It stands for the setting.
        with pytest.raises(ConfigError) as caught:
            how(App("a"), **{name: value})
        assert str(caught.value) == f"{where}: {name} must be {wanted(name)}, not {value!r}"


@pytest.mark.parametrize("value", ["yes", 1, None, 0])
def test_on_leader_is_true_or_false(value: Any) -> None:
    app = App("a")
    problem = "on_leader must be True or False"
    with pytest.raises(ConfigError, match=problem):
        app.task(on_leader=value)
    with pytest.raises(ConfigError, match=problem):
        app.timer(interval=1, on_leader=value)
    with pytest.raises(ConfigError, match=problem):
        app.crontab("* * * * *", on_leader=value)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_exclude_unset_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigError, match="exclude_unset must be True or False"):
        App("a").stream("s", record=Item, partition_by="key", exclude_unset=value)


def test_the_ends_of_a_range_are_in_it() -> None:
    app = App(
        "a",
        session_timeout=0.5,
        shutdown_timeout=0,
        rebalance_timeout=86_400,
        max_block=31_536_000,
        prefetch=1,
    )
    assert (app.settings.session_timeout, app.settings.shutdown_timeout, app.settings.prefetch) == (
        0.5,
        0.0,
        1,
    )
    made = declare(
        app,
        partition_count=Size.FOUR,
        partition_size=2,
        compress_over=0,
        retries=0,
        backoff=0,
        backoff_max=0,
        prefetch=10_000,
    )
    assert made.stream.partition_count == 4
    assert (made.retries, made.backoff, made.prefetch) == (0, 0.0, 10_000)


@pytest.mark.parametrize("name", ["session_timeout", "rebalance_timeout", "rebalance_delay"])
def test_times_of_a_group_are_limited_as_in_its_script(name: str) -> None:
    most: dict[str, Any] = {name: 86_400}
    assert getattr(App("a", **most).settings, name) == 86_400
    with pytest.raises(ConfigError, match=f"{name} must be a number of seconds from .* to 86400"):
        App("a", **{**most, name: 86_401})


def test_a_missing_keyword_has_the_value_of_its_setting() -> None:
    made = declare(App("a", retries=7, backoff=1, partition_count=3), prefetch=None)
    assert (made.retries, made.backoff, made.prefetch, made.stream.partition_count) == (
        7,
        1,
        200,
        3,
    )


@pytest.mark.parametrize("name", [each for each in Settings.model_fields if each != "redis_url"])
def test_a_wrong_setting_is_named_with_what_it_may_be(name: str) -> None:
    for value in (INF, NAN, True, "3", None, b"x", 10**30, -1):
        given: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError) as caught:
            App("a", **given)
        assert str(caught.value) == f"setting {name} must be {wanted(name)}, not {value!r}"
        with pytest.raises(ConfigError, match=f"setting {name} must be"):
            App("a").configure(**given)


@pytest.mark.parametrize("name", list(Settings.model_fields))
@pytest.mark.parametrize(("text", "problem"), [("", "empty"), ("  ", "blank"), ("\t\n", "blank")])
def test_an_empty_variable_is_named(
    name: str, text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"RUNNEL_{name.upper()}"
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError) as caught:
        App("a")
    assert str(caught.value) == (
        f"the environment variable {variable} is {problem}: unset it, or give it {wanted(name)}"
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RUNNEL_SESSION_TIMEOUT", "nan"),
        ("RUNNEL_SESSION_TIMEOUT", "10s"),
        ("RUNNEL_SHUTDOWN_TIMEOUT", "inf"),
        ("RUNNEL_PREFETCH", "0"),
        ("RUNNEL_PREFETCH", "true"),
        ("RUNNEL_PARTITION_COUNT", "1e1"),
        ("RUNNEL_RETRIES", "9" * 20),
        ("RUNNEL_DURABILITY", "Primary"),
    ],
)
def test_a_wrong_variable_is_named(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError) as caught:
        App("a")
    name = variable.removeprefix("RUNNEL_").lower()
    assert str(caught.value) == (
        f"the environment variable {variable} must be {wanted(name)}, not {text!r}"
    )


def test_variables_are_read_as_text_and_keywords_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_SESSION_TIMEOUT", " 7 ")
    monkeypatch.setenv("RUNNEL_PREFETCH", "16")
    monkeypatch.setenv("RUNNEL_DURABILITY", "fsync")
    monkeypatch.setenv("RUNNEL_SHUTDOWN_TIMEOUT", "")  # Nobody asks it.
    monkeypatch.setenv("RUNNEL_PORT", "tcp://10.0.0.1:6379")  # As Kubernetes makes them.
    settings = App("a", shutdown_timeout=4).settings
    assert (settings.session_timeout, settings.prefetch, settings.shutdown_timeout) == (
        7.0,
        16,
        4.0,
    )
    assert settings.durability == "fsync"


def test_an_unknown_variable_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {
        "RUNNEL_SESION": "5",
        "RUNNEL_retries": "1",
        "RUNNEL_LOG_LEVEL": "debug",
        "RUNNEL_QUX": "x%s",
        "RUNNEL_PARTITION_CONT": "8",
        # What others set, or commands take for their options.
        "RUNNEL_PORT": "tcp://10.0.0.1:6379",
        "RUNNEL_REDIS_SERVICE_HOST": "10.0.0.1",
        "RUNNEL_SERVICE_PORT_HTTP": "80",
        "RUNNEL_PORT_6379_TCP_ADDR": "10.0.0.1",
        "RUNNEL_WORKER_BURST": "1",
        "RUNNEL_TAIL_NUMBER": "1",
        "RUNNEL_TABLE_LIST_JSON_LINES": "1",
        "RUNNEL_PARTITION_AS_JSON": "1",
        "RUNNEL_SERVER_BIN": "/nowhere",
        "RUNNELS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("a", "b"):
        App(name)
    no_effect = "has no effect, as there is no such setting"
    assert [each.getMessage() for each in caplog.records] == [
        f"the environment variable RUNNEL_LOG_LEVEL {no_effect}; did you mean "
        "RUNNEL_WORKER_LOG_LEVEL?",
        f"the environment variable RUNNEL_PARTITION_CONT {no_effect}; did you mean "
        "RUNNEL_PARTITION_COUNT?",
        f"the environment variable RUNNEL_QUX {no_effect}",
        f"the environment variable RUNNEL_SESION {no_effect}; did you mean RUNNEL_SESSION_TIMEOUT?",
        f"the environment variable RUNNEL_retries {no_effect}; did you mean RUNNEL_RETRIES?",
    ]


@pytest.mark.parametrize("url", [b"redis://:SECRET@h", None, 5, ["redis://:SECRET@h"], {"SECRET"}])
def test_what_is_no_url_is_refused_without_showing_it(url: Any) -> None:
    with pytest.raises(ConfigError, match="setting redis_url must be a URL such as") as caught:
        App("a", redis_url=url)
    assert "SECRET" not in str(caught.value)


def origin(app: App) -> str:
    """The origin of the app's URL."""
    url = app.settings.redis_url
    assert isinstance(url, Url)
    return url.origin


def test_a_url_knows_where_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNEL_REDIS_URL", raising=False)
    assert origin(App("a")) == ""
    assert origin(App("a", redis_url="redis://j")) == "App(redis_url=…) in the code"
    monkeypatch.setenv("RUNNEL_REDIS_URL", "redis://h")
    app = App("a")
    assert origin(app) == "RUNNEL_REDIS_URL in the environment"
    app.configure(shutdown_timeout=1)
    assert origin(app) == "RUNNEL_REDIS_URL in the environment"
    app.configure(redis_url="redis://i")
    assert origin(app) == "App.configure(redis_url=…)"
    app = App("a", redis_url="redis://j")
    assert origin(app) == "App(redis_url=…) in the code, which goes before RUNNEL_REDIS_URL,"


def test_an_unknown_setting_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match="no setting 'session_timeot'; did you mean session_timeout; settings"
    ):
        App("a", session_timeot=3)  # type: ignore[call-arg]


class Halves:
    """Has a name, but no method of a serializer or compressor."""

    name = "halves"


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("partition_by", 5, "partition_by must be the name of a field or a function"),
        ("partition_by", None, "partition_by must be the name of a field or a function"),
        ("serializer", "json", "serializer must be an object with name, dumps, loads, not 'json'"),
        ("serializer", JSONSerializer, r"the class JSONSerializer (call it: JSONSerializer())"),
        ("serializer", Halves(), "serializer must be an object with name, dumps, loads"),
        ("compressor", LZ4, "the class LZ4 (call it: LZ4())"),
        ("compressor", JSONSerializer(), "compressor must be an object with name, compress"),
        ("hasher", "md5", "hasher must be an object with name, __call__, not 'md5'"),
        ("hasher", hash, "hasher must be an object with name, __call__"),
        ("codecs", 5, "codecs must be a list, not 5"),
        ("codecs", "json", "codecs must be a list, not 'json'"),
        ("codecs", [LZ4], "must be serializers and compressors, and the class LZ4"),
    ],
)
def test_an_object_that_a_stream_cannot_use_is_refused(
    keyword: str, value: Any, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        App("a").stream("items", record=Item, **{"partition_by": "key", keyword: value})
    assert str(caught.value).startswith("stream items: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("middleware", [5, True, "x", object()])
def test_middleware_that_is_no_list_is_refused(middleware: Any) -> None:
    with pytest.raises(ConfigError, match="processor reader: middleware must be a list of"):
        declare(App("a"), middleware=middleware)


@pytest.mark.parametrize(("spec", "zone"), [(5, "UTC"), (None, "UTC"), ("* * * * *", None)])
def test_a_crontab_of_anything_but_text_is_refused(spec: Any, zone: Any) -> None:
    with pytest.raises(ConfigError, match="a crontab takes its expression"):
        App("a").crontab(spec, timezone=zone)


def test_editors_know_every_setting() -> None:
    """`GivenSettings` has the names of `Settings`, and the types that a keyword may have."""
    known, given = get_type_hints(Settings), get_type_hints(GivenSettings)
    assert list(given) == list(Settings.model_fields)
    assert {name: kind for name, kind in given.items() if name != "durability"} == {
        name: known[name] for name in given if name != "durability"
    }
