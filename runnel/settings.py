"""Settings: keyword of `App`, else environment variable ``RUNNEL_<NAME>``, else the default.

What a keyword of `App.stream`, `App.processor`, `App.timer` and the like may be is said here too,
beside the settings of the same names, and checked in one way: see `check`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Set
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runnel.connection.durability import Durability
from runnel.connection.url_text import Url
from runnel.errors import ConfigError
from runnel.log import logger_of

logger = logger_of("runnel.settings")

#: A setting or a keyword that is seconds may be a year long, so that it fits every clock.
_YEAR = 31_536_000.0

#: What a group is told may be a day, which the script `sync` allows.
_DAY = 86_400.0

Seconds = Annotated[float, Field(allow_inf_nan=False, le=_YEAR)]
GroupSeconds = Annotated[float, Field(allow_inf_nan=False, le=_DAY)]


class Settings(BaseModel):
    """Every setting with its unit and the reason for its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: str = Field(
        Url("redis://127.0.0.1:6379"),
        description="Where Redis is: redis://, unix://, redis+cluster:// or redis+sentinel://; "
        "rediss… with TLS.",
    )
    session_timeout: GroupSeconds = Field(
        10.0,
        ge=0.5,
        description="Seconds a silent member keeps its partitions. Shorter takes over sooner; "
        "longer rides out pauses. A heartbeat goes out every third of it.",
    )
    rebalance_timeout: GroupSeconds = Field(
        30.0,
        ge=0,
        description="Seconds a member may take to give a partition back, with the event in hand "
        "finished; then it is given to the next one all the same. The worker that started last "
        "says so for all.",
    )
    rebalance_delay: GroupSeconds = Field(
        0.2, ge=0, description="Seconds to wait for more joiners before partitions move."
    )
    max_block: Seconds = Field(
        60.0,
        ge=0.5,
        description="Seconds a handler may block the event loop before the worker sends no more "
        "heartbeats and loses its partitions. Longer than a session.",
    )
    shutdown_timeout: Seconds = Field(
        30.0, ge=0, description="Seconds to finish what is in hand on SIGTERM."
    )
    prefetch: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Events of a partition that one read brings; twice as many may be in memory.",
    )
    prefetch_bytes: int = Field(
        64_000_000,
        ge=1_000_000,
        le=64_000_000_000,
        description="Bytes of events that may wait in the memory of a worker, over all its "
        "processors; but one event of each partition in any case.",
    )
    partition_count: int = Field(
        16, ge=1, le=10_000, description="Partitions of a new stream: the most workers it can use."
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
        description="Bytes of one encoded record: one event must not block Redis.",
    )
    delivery_timeout: Seconds = Field(
        10.0,
        ge=0,
        description="Seconds for which `send` asks again, once Redis did not answer, before it "
        "raises: long enough for a failover. Nothing is sent twice.",
    )
    durability: Durability = Field(
        "primary",
        description="When a send or a commit counts: `primary`, once the primary has it; "
        "`replica`, once a replica has it too, at the price of a round trip to it; `fsync`, once "
        "it is on the primary's disk (Redis 7.2, an append-only file).",
    )
    retries: int = Field(
        3, ge=0, le=1_000_000, description="Times a failing event is tried again, in place."
    )
    backoff: Seconds = Field(0.5, ge=0, description="Seconds before the first retry; then doubled.")
    backoff_max: Seconds = Field(30.0, ge=0, description="Seconds between retries at the most.")

    @classmethod
    def make(cls, **given: Any) -> Settings:
        """Settings from keywords and environment. Raises ConfigError naming the wrong one."""
        origin = "App(redis_url=…) in the code"
        if os.environ.get("RUNNEL_REDIS_URL"):
            origin += ", which goes before RUNNEL_REDIS_URL,"
        found = _checked(given, origin)
        return cls.model_construct(**{**_environment(set(given)), **found})

    def changed(self, **given: Any) -> Settings:
        """These, but for what is given. Raises ConfigError naming the wrong one."""
        found = _checked(given, "App.configure(redis_url=…)")
        return Settings.model_construct(**{**self.model_dump(), **found})

    def chosen(self, where: str, name: str, value: Any) -> Any:
        """What a declaration says for a setting; None stands for the setting itself.

        `where` is the declaration, such as ``processor orders``. Raises ConfigError.
        """
        return getattr(self, name) if value is None else check(where, name, value)


class Keywords(BaseModel):
    """Keywords of declarations that are no settings."""

    interval: Seconds = Field(gt=0, description="Seconds between two runs of a timer.")
    catch_up: Seconds = Field(ge=0, description="Seconds for which a missed instant is made up.")
    timeout: Seconds = Field(gt=0, description="Seconds that one event, or batch, may take.")
    compress_over: int = Field(
        ge=0, le=512 * 1_048_576, description="Bytes above which a payload is compressed."
    )
    on_leader: bool
    exclude_unset: bool
    commit: Literal["auto", "each"]
    start: Literal["earliest", "latest", "0", "$"]


_FIELDS = {**Keywords.model_fields, **Settings.model_fields}


def check(where: str, name: str, value: Any) -> Any:
    """The value of a keyword, if it may have it: one of the settings or `Keywords`.

    Types are taken strictly: True is no number, and neither is "3". `where` is the declaration,
    such as ``processor orders``. Raises ConfigError, which names all of it and says what is right.
    """
    try:
        return _adapter(name).validate_python(value, strict=True)
    except ValidationError:
        place = f"setting {name}" if where == "setting" else f"{where}: {name}"
    # Outside, so that the cause, which shows what may be a password, does not go with it.
    raise ConfigError(f"{place} must be {wanted(name)}, not {_told(name, value)}")


def wanted(name: str) -> str:
    """What a keyword may be, in words."""
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
    least = f"above {limits['gt']}, up" if "gt" in limits else f"from {limits['ge']:g}"
    return f"{noun} {least} to {limits['le']:.0f}"


def _checked(given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """What keywords say. Raises ConfigError naming a wrong one."""
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Settings.model_fields, 1)
        hint = f"; did you mean {near[0]}" if near else ""
        raise ConfigError(
            f"there is no setting {unknown[0]!r}{hint}; settings are "
            f"{', '.join(Settings.model_fields)}"
        )
    found = {name: check("setting", name, value) for name, value in given.items()}
    if "redis_url" in found:  # Who made a Url of it knows better than this who said it.
        url = given["redis_url"]
        found["redis_url"] = url if isinstance(url, Url) else Url(url, origin)
    return found


def url_of_environment() -> Url | None:
    """What RUNNEL_REDIS_URL says, if it is set. Raises ConfigError if it is empty."""
    url: Url | None = _environment(Settings.model_fields.keys() - {"redis_url"}).get("redis_url")
    return url


#: Variables of Runnel's that are no settings, and the commands whose options others stand for.
_NO_SETTINGS = ("RUNNEL_SERVER_BIN", "RUNNEL_WORKER_LOG_LEVEL", "RUNNEL_WORKER_LOG_FORMAT")
_COMMANDS = "WORKER|SEND|SENDMANY|INSPECT|PROCESSOR|STREAM|SERVER|DEMO|TEST"
#: What Kubernetes sets for a service that is named runnel, or runnel-something.
_KUBERNETES = r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
_OTHERS = re.compile(rf"RUNNEL_(({_COMMANDS})_\w+|{_KUBERNETES})")


#: The variables that were told of.
_strays: set[str] = set()


def warn_of_strays(say: Callable[[str], object]) -> None:
    """Say once which variables look like settings and are none. They are not refused, as another
    program may have set them."""
    known = [*(f"RUNNEL_{name.upper()}" for name in Settings.model_fields), *_NO_SETTINGS]
    for name, value in sorted(os.environ.items()):
        if not name.startswith("RUNNEL_") or name in known or _OTHERS.fullmatch(name):
            continue
        if name in _strays or (name.endswith("_PORT") and "://" in value):  # As Kubernetes sets it.
            continue
        _strays.add(name)
        near = difflib.get_close_matches(name.upper(), known, 1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        say(f"the environment variable {name} has no effect, as there is no such setting{hint}")


def _environment(without: Set[str]) -> dict[str, Any]:
    """The settings that the environment names. Raises ConfigError naming a wrong variable."""
    warn_of_strays(logger.warning)
    found: dict[str, Any] = {}
    for name in Settings.model_fields.keys() - without:
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
                f"{_told(name, text)}"
            ) from None
    if "redis_url" in found:
        found["redis_url"] = Url(found["redis_url"], "RUNNEL_REDIS_URL in the environment")
    return found


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = _FIELDS[name]
    kind: Any = Annotated[(field.annotation, *field.metadata, None)]
    return TypeAdapter(kind)


def _told(name: str, value: Any) -> str:
    """A value in a message, not too long. A URL, whatever it came as, may hold a password."""
    if name == "redis_url":
        return f"a value of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
