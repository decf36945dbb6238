"""Settings: keyword of `App`, else environment variable ``RUNNEL_<NAME>``, else the default."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runnel.durability import Durability
from runnel.errors import ConfigError


class Settings(BaseSettings):
    """Every setting with its unit and the reason for its default."""

    model_config = SettingsConfigDict(env_prefix="RUNNEL_", extra="forbid", frozen=True)

    redis_url: str = Field(
        "redis://127.0.0.1:6379",
        description="Where Redis is: redis://, unix://, redis+cluster:// or redis+sentinel://; "
        "rediss… with TLS.",
    )
    session: float = Field(
        10.0,
        ge=0.5,
        description="Seconds a silent member keeps its partitions. Shorter takes over sooner; "
        "longer rides out pauses. A heartbeat goes out every third of it.",
    )
    drain: float = Field(
        30.0, ge=0, description="Seconds a member may take to give a partition back."
    )
    collect: float = Field(
        0.2, ge=0, description="Seconds to wait for more joiners before partitions move."
    )
    max_block: float = Field(
        60.0,
        ge=0.5,
        description="Seconds a handler may block the event loop before the worker stops vouching "
        "for itself and loses its partitions. Longer than a session.",
    )
    grace: float = Field(30.0, ge=0, description="Seconds to finish what is in hand on SIGTERM.")
    prefetch: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Events of a partition that one read brings; twice as many may be in memory.",
    )
    partition_count: int = Field(
        16, ge=1, le=10_000, description="Partitions of a new stream: the most workers it can use."
    )
    partition_size: int = Field(
        50_000, ge=2, description="Entries a partition may hold before `send` is refused."
    )
    max_record_bytes: int = Field(
        1_048_576, ge=1, description="Bytes of one encoded record: one event must not block Redis."
    )
    resend: float = Field(
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
    retries: int = Field(3, ge=0, description="Times a failing event is tried again, in place.")
    backoff: float = Field(0.5, ge=0, description="Seconds before the first retry; then doubled.")
    backoff_max: float = Field(30.0, ge=0, description="Seconds between retries at the most.")

    @classmethod
    def make(cls, **given: Any) -> Settings:
        """Settings from keywords and environment. Raises ConfigError naming the wrong one."""
        unknown = sorted(set(given) - set(cls.model_fields))
        if unknown:
            raise ConfigError(
                f"there is no setting {unknown[0]!r}; settings are {', '.join(cls.model_fields)}"
            )
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"setting {name} (or RUNNEL_{name.upper()}): {first['msg']}, got {first['input']!r}"
            ) from error
