"""A record class of one field, and the record that a reader gets."""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.record import Record, adapt


def there_and_back(record: Any) -> Any:
    codec = EntryCodec(adapt(type(record)), MsgpackSerializer())
    return codec.decode(codec.encode(record))


def with_field(field: Any, primitive: bool = False, **config: Any) -> type[Any]:
    """A record class `Made` with one field, `it`: an annotation, or one with its default."""
    return create_model(
        "Made",
        __base__=Record,
        __cls_kwargs__={"primitive": primitive, **config},
        it=field if isinstance(field, tuple) else (field, ...),
    )
