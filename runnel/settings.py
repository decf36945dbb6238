"""Settings, and the checks of keywords of `App.stream`, `App.processor`, `App.timer` and others.

A setting is a keyword of `App`, else the environment variable ``RUNNEL_<NAME>``, else its default.
All keywords are checked by `check`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Set
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from runnel.connection.durability import Durability
from runnel.connection.environment import DEFAULT, url_of_environment
from runnel.connection.url_text import Url
from runnel.durations import DAY, YEAR
from runnel.errors import ConfigError
from runnel.log import logger_of

logger = logger_of("runnel.settings")

Seconds = Annotated[float, Field(allow_inf_nan=False, le=YEAR)]
GroupSeconds = Annotated[float, Field(allow_inf_nan=False, le=DAY)]


class GivenSettings(TypedDict, total=False):
    """The settings as keywords, for type checkers and editors: see `Settings`. A durability may be
    a text that the program has got from elsewhere."""

    redis_url: str
    session_timeout: float
    rebalance_timeout: float
    rebalance_delay: float
    max_block: float
    shutdown_timeout: float
    prefetch: int
    prefetch_bytes: int
    partition_count: int
    partition_size: int
    max_record_bytes: int
    delivery_timeout: float
    dedupe_window: float
    durability: Durability | str
    retries: int
    backoff: float
    park_limit: int
    backoff_max: float


class Settings(BaseModel):
    """Every setting, with its unit and its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: str = Field(
        DEFAULT,
        description="Where Redis is: redis://, unix://, redis+cluster:// or redis+sentinel://; "
        "rediss… with TLS.",
    )
    session_timeout: GroupSeconds = Field(
        10.0,
        ge=0.5,
        description="Seconds without a heartbeat after which a member loses its partitions. It "
        "sends one every third of this time. Shorter: others take over sooner; longer: it survives "
        "longer pauses. Kafka: `session.timeout.ms`.",
    )
    rebalance_timeout: GroupSeconds = Field(
        30.0,
        ge=0,
        description="Seconds that a member has to release a partition, its current event "
        "included; then the partition is granted to another member anyway. The worker that started "
        "last sets it for the group. Kafka: `rebalance.timeout.ms`.",
    )
    rebalance_delay: GroupSeconds = Field(
        0.2,
        ge=0,
        description="Seconds to wait for more joiners before partitions move. Kafka: "
        "`group.initial.rebalance.delay.ms`.",
    )
    max_block: Seconds = Field(
        60.0,
        ge=0.5,
        description="Seconds that a handler may block the event loop; then the worker sends no "
        "more heartbeats and loses its partitions. Choose more than `session_timeout`. Kafka: "
        "`max.poll.interval.ms`.",
    )
    shutdown_timeout: Seconds = Field(
        30.0,
        ge=0,
        description="Seconds that current events and running tasks have to finish after SIGTERM.",
    )
    prefetch: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Events of a partition that one read fetches; twice as many may be in memory.",
    )
    prefetch_bytes: int = Field(
        64_000_000,
        ge=1_000_000,
        le=64_000_000_000,
        description="Bytes of events that may wait in the memory of a worker, for all its "
        "processors together; one event of each partition is always allowed.",
    )
    partition_count: int = Field(
        16,
        ge=1,
        le=10_000,
        description="Partitions of a new stream: the most workers that a processor can use.",
    )
    partition_size: int = Field(
        50_000,
        ge=2,
        le=1_000_000_000,
        description="Entries a partition may hold before `send` is refused.",
    )
    max_record_bytes: int = Field(
        1_048_576,
        ge=1,
        le=512 * 1_048_576,
        description="Bytes that one encoded record may have, so that no event blocks Redis.",
    )
    delivery_timeout: Seconds = Field(
        10.0,
        ge=0,
        description="Seconds for which `send` repeats a call that Redis did not answer, before it "
        "raises: long enough for a failover. Nothing is sent twice. Kafka: `delivery.timeout.ms`.",
    )
    dedupe_window: Seconds = Field(
        86_400.0,
        ge=1,
        description="Seconds for which a partition remembers the key of `send(dedupe=…)`, at least "
        "twice `delivery_timeout`. Each key takes about 200 bytes in Redis for this time.",
    )
    durability: Durability = Field(
        "primary",
        description="When a send or a commit counts: `primary`, once the primary has it; "
        "`replica`, once a replica has it too, which costs a round trip to it; `fsync`, once it is "
        "on the primary's disk (needs Redis 7.2 and an append-only file). Kafka: `acks`.",
    )
    retries: int = Field(3, ge=0, le=1_000_000, description="How often a failing event is retried.")
    backoff: Seconds = Field(
        0.5, ge=0, description="Seconds before the first retry; doubled for each further one."
    )
    park_limit: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Events of one partition that may be parked, or postponed.",
    )
    backoff_max: Seconds = Field(30.0, ge=0, description="Most seconds between two retries.")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    def source_of(self, name: str) -> str:
        """Where the value of a setting is from, for people."""
        return self._sources.get(name, "default")

    @classmethod
    def make(cls, **given: Any) -> Settings:
        """Settings from keywords and environment. Raises ConfigError, which names a wrong one."""
        origin = "App(redis_url=…) in the code"
        if os.environ.get("RUNNEL_REDIS_URL"):
            origin += ", which goes before RUNNEL_REDIS_URL,"
        found = _checked(given, origin)
        environment = _environment(set(given))
        made = cls.model_construct(**{**environment, **found})
        made._sources = {each: f"RUNNEL_{each.upper()}" for each in environment}
        made._sources |= dict.fromkeys(found, "App(…)")
        return made

    def changed(self, **given: Any) -> Settings:
        """A copy with the given settings. Raises ConfigError, which names a wrong one."""
        found = _checked(given, "App.configure(redis_url=…)")
        made = Settings.model_construct(**{**self.model_dump(), **found})
        made._sources = self._sources | dict.fromkeys(found, "App.configure(…)")
        return made

    def chosen(self, where: str, name: str, value: Any) -> Any:
        """The value of a keyword that has the name of a setting; None means the setting.

        `where` is the declaration, such as ``processor orders``. Raises ConfigError.
        """
        return getattr(self, name) if value is None else check(where, name, value)


class Keywords(BaseModel):
    """Keywords of declarations that are not settings."""

    interval: Seconds = Field(gt=0, description="Seconds between two runs of a timer.")
    expire: int = Field(
        ge=1, le=10**9, description="Seconds after which a key of a table is removed."
    )
    catch_up: Seconds = Field(ge=0, description="Seconds for which a missed instant can run later.")
    max_age: float = Field(
        ge=1,
        le=100 * YEAR,
        description="Seconds after which committed events leave a stream, although there is room.",
    )
    retain: Literal["always", "until_full"]
    timeout: Seconds = Field(gt=0, description="Seconds that one event, or batch, may take.")
    concurrency: int = Field(
        ge=1, le=1000, description="Events of a partition that run at the same time, by key."
    )
    compress_over: int = Field(
        ge=0, le=512 * 1_048_576, description="Bytes above which a payload is compressed."
    )
    on_leader: bool
    exclude_unset: bool
    commit: Literal["auto", "each"]
    start: Literal["earliest", "latest", "0", "$"]


_FIELDS = {**Keywords.model_fields, **Settings.model_fields}


def check(where: str, name: str, value: Any) -> Any:
    """Check the value of a setting or of one of `Keywords`, and return it.

    Types are strict: neither True nor "3" is a number. `where` is the declaration, such as
    ``processor orders``. Raises ConfigError, which names the keyword and the values that it may
    have.
    """
    try:
        return _adapter(name).validate_python(value, strict=True)
    except ValidationError:
        keyword = f"setting {name}" if where == "setting" else f"{where}: {name}"
    # Not inside `except`: the cause would show the value, which may have a password.
    raise ConfigError(f"{keyword} must be {wanted(name)}, not {_shortened(name, value)}")


def wanted(name: str) -> str:
    """The values that a keyword may have, in words."""
    kind: object = _FIELDS[name].annotation
    if name == "redis_url":
        return "a URL such as redis://127.0.0.1:6379"
    if kind is bool:
        return "True or False"
    if get_origin(kind) is Literal:
        return " or ".join(f'"{each}"' for each in get_args(kind))
    noun = "a whole number" if kind is int else "a number of seconds"
    limits = {
        end: getattr(each, end)
        for each in _FIELDS[name].metadata
        for end in ("gt", "ge", "le")
        if getattr(each, end, None) is not None
    }
    least = f"above {limits['gt']}, up" if "gt" in limits else f"from {limits['ge']}"
    return f"{noun} {least} to {limits['le']:.0f}"


def _checked(given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The settings in keywords, checked. Raises ConfigError, which names a wrong one."""
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Settings.model_fields, 1)
        hint = f"; did you mean {near[0]}" if near else ""
        raise ConfigError(
            f"there is no setting {unknown[0]!r}{hint}; settings are "
            f"{', '.join(Settings.model_fields)}"
        )
    found = {name: check("setting", name, value) for name, value in given.items()}
    if "redis_url" in found:  # A Url knows its origin already.
        url = given["redis_url"]
        found["redis_url"] = url if isinstance(url, Url) else Url(url, origin)
    return found


#: Variables of Runnel that are not settings, and commands whose options have variables.
_NO_SETTINGS = ("RUNNEL_SERVER_BIN", "RUNNEL_WORKER_LOG_LEVEL", "RUNNEL_WORKER_LOG_FORMAT")
_COMMANDS = (
    "WORKER|SEND|SENDMANY|TAIL|SHOW|INSPECT|CHECK|PROCESSOR|DEAD|STREAM|TABLE|SERVER|DEMO|TEST|"
    "CONFORMANCE|LUA|DOCTOR|INIT|COMPLETION|"
    "PARTITION(?=_(APP_NAME|STREAM_NAME|REDIS_URL|AS_JSON)$)"  # Settings begin so, too.
)
#: Variables that Kubernetes sets for a service with the name runnel or runnel-something.
_KUBERNETES = r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
_OTHERS = re.compile(rf"RUNNEL_(({_COMMANDS})_\w+|{_KUBERNETES})")


#: The variables that were reported.
_reported: set[str] = set()


def warn_of_unknown(say: Callable[[str], object]) -> None:
    """Report once each variable that looks like a setting but is not one. It is no error, because
    another program may have set it."""
    known = [*(f"RUNNEL_{name.upper()}" for name in Settings.model_fields), *_NO_SETTINGS]
    for name, value in sorted(os.environ.items()):
        if not name.startswith("RUNNEL_") or name in known or _OTHERS.fullmatch(name):
            continue
        if name in _reported or (name.endswith("_PORT") and "://" in value):  # By Kubernetes.
            continue
        _reported.add(name)
        near = difflib.get_close_matches(name.upper(), known, 1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        say(f"the environment variable {name} has no effect, as there is no such setting{hint}")


def _environment(without: Set[str]) -> dict[str, Any]:
    """The settings in the environment. Raises ConfigError, which names a wrong variable."""
    warn_of_unknown(logger.warning)
    found: dict[str, Any] = {}
    for name in Settings.model_fields.keys() - without - {"redis_url"}:
        variable = f"RUNNEL_{name.upper()}"
        text = os.environ.get(variable)
        if text is None:
            continue
        if not text.strip():
            raise ConfigError(
                f"the environment variable {variable} is {'blank' if text else 'empty'}: unset it, "
                f"or give it {wanted(name)}"
            )
        try:
            found[name] = _adapter(name).validate_python(text.strip())
        except ValidationError:
            raise ConfigError(
                f"the environment variable {variable} must be {wanted(name)}, not "
                f"{_shortened(name, text)}"
            ) from None
    if "redis_url" not in without and (url := url_of_environment()) is not None:
        found["redis_url"] = url
    return found


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = _FIELDS[name]
    kind: Any = Annotated[(field.annotation, *field.metadata, None)]
    return TypeAdapter(kind)


def _shortened(name: str, value: Any) -> str:
    """A value for a message, shortened. A URL is not shown: it may have a password."""
    if name == "redis_url":
        return f"a value of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
