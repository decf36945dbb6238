"""What Runnel needs of a record class, whatever library it is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from runnel.errors import EncodeError, RecordError
from runnel.record.native import NativeForm
from runnel.record.problems import exactly, explain
from runnel.record.same import difference

R = TypeVar("R")


class RecordType(Generic[R]):
    """The face of a record class: plain values out, checked records in.

    `primitive` says whether its fields are stored natively; `native` is how. `place_of_bytes`
    names the first field that holds bytes, which JSON cannot. `dumps_lists` is false where plain
    values may have tuples, which come back as lists.
    """

    dumps_lists = True

    def __init__(self, cls: type[R]) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.primitive = False
        self.native = NativeForm()
        self.place_of_bytes: str | None = None
        #: Is it certain, without a look, that `load` makes the same of what `dump` gave? None if
        #: that is certain of no record of the class.
        self.surely_comes_back: Callable[[R], bool] | None = None

    def dump(self, record: R) -> dict[str, Any]:
        """The record as a map of plain values: text, numbers, booleans, None, bytes, lists, maps.

        Values without a plain type (datetime, Decimal, UUID, enum) become their canonical text.
        Raises EncodeError if `record` is of another class, a subclass too, or has no such form.
        Whether it can be read again is another question: see `check`.
        """
        if type(record) is not self.cls:
            raise EncodeError(self._not_mine(record))
        try:
            return self._dump(record)
        except Exception as error:  # Whatever the class's own serializers raise.
            raise EncodeError(f"{self.name} cannot be written: {self._explain(error)}") from error

    def load(self, values: Mapping[str, Any]) -> R:
        """A checked record. Raises DecodeError naming each field that does not fit."""
        raise NotImplementedError

    def check(self, sent: R, back: R) -> None:
        """Raises EncodeError, naming the field, unless what came back is what was sent."""
        try:
            told = difference(sent, back, self.name)
        except Exception as error:  # Whatever values raise that are compared.
            told = f"it cannot be compared with what comes back: {explain(self.name, error)}"
        if told:
            raise EncodeError(f"{self.name} cannot be written: {told}")

    def from_json(self, text: str | bytes) -> R:
        """A checked record from JSON text. Raises RecordError naming each bad field."""
        try:
            return self._from_json(text)
        except RecordError:
            raise
        except Exception as error:
            raise RecordError(self._explain(error)) from error

    def has_field(self, name: str) -> bool:
        """Does the class declare this field?"""
        return name in self._fields()

    def _not_mine(self, record: Any) -> str:
        kind = type(record).__name__
        if isinstance(record, self.cls):
            return (
                f"the stream carries {self.name} records, and this {kind} would come back as one "
                f"of these: send it as {self.name}"
            )
        return f"the stream carries {self.name} records, not {kind}: {exactly(record)}"

    def _explain(self, error: Exception, values: Any = None) -> str:
        """One sentence on what is wrong with which fields."""
        return explain(self.name, error)

    def _dump(self, record: R) -> dict[str, Any]:
        raise NotImplementedError

    def _from_json(self, text: str | bytes) -> R:
        raise NotImplementedError

    def _fields(self) -> set[str]:
        raise NotImplementedError
