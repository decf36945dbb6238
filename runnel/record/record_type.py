"""`RecordType`: the interface to the records of a stream, for every library of record classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from runnel.errors import EncodeError, RecordError
from runnel.record.difference import difference
from runnel.record.messages import exactly, explain, one_line
from runnel.record.primitive import PrimitiveForm

R = TypeVar("R")


class RecordType(ABC, Generic[R]):
    """Converts the records of a stream to plain values, and plain values to checked records. The
    records may be of several classes.

    `primitive`: is each field stored as a field of the entry? Then `primitive_form` writes and
    reads them. `is_map`: is the plain form a map of fields? It is, unless a class is a RootModel.
    `bytes_field` is the first field that holds bytes, which JSON cannot. `dumps_lists` is False if
    plain values may have tuples, which come back as lists.
    """

    dumps_lists = True

    def __init__(self, form: Any, classes: Sequence[type[Any]]) -> None:
        #: What was declared.
        self.form = form
        self.classes = tuple(classes)
        self.name = " | ".join(each.__name__ for each in classes)
        self.primitive = False
        self.primitive_form = PrimitiveForm()
        self.is_map = True
        self.bytes_field: str | None = None
        #: Returns the plain values of a record that is known to round-trip without decoding it, and
        #: None for any other record. None if no record of the class is known to.
        self.dump_exact: Callable[[R], dict[str, Any] | None] | None = None

    def dump(self, record: R) -> dict[str, Any]:
        """The record as a map of plain values: text, numbers, booleans, None, bytes, lists, maps.

        Values of other types (datetime, Decimal, UUID, enum) become their canonical text. Raises
        EncodeError, which names the field, if `record` is of another class (also a subclass), or
        has no plain form. `check` is for whether it can be read back.
        """
        if type(record) not in self.classes:
            raise EncodeError(self._wrong_class(record))
        try:
            return self._dump(record)
        except Exception as error:  # From the serializers of the class.
            where = self._faulty_field(record)
            raise EncodeError(
                f"{self.name} cannot be written: {where}: {one_line(error)}"
            ) from error

    @abstractmethod
    def load(self, values: Any) -> R:
        """A checked record. Fields that its class does not declare are left out, unless it keeps
        them.

        Raises DecodeError, which names each wrong field.
        """

    def check(self, sent: R, back: R) -> None:
        """Raise EncodeError, which names the field, unless `back` equals `sent`."""
        try:
            problem = difference(sent, back, self.name)
        except Exception as error:  # From comparing values.
            problem = f"it cannot be compared with what comes back: {explain(self.name, error)}"
        if problem:
            raise EncodeError(f"{self.name} cannot be written: {problem}")

    def from_json(self, text: str | bytes, ignore_unknown: bool = False) -> R:
        """A checked record from JSON text. Raises RecordError, which names each wrong field, and
        each undeclared field unless `ignore_unknown`."""
        try:
            return self._from_json(text, ignore_unknown)
        except RecordError:
            raise
        except Exception as error:
            raise RecordError(explain(self.name, error)) from error

    def without_field(self, name: str) -> list[type[Any]]:
        """The classes that do not declare this field."""
        return [each for each in self.classes if name not in self._fields(each)]

    def _wrong_class(self, record: Any) -> str:
        kind = type(record).__name__
        if isinstance(record, self.classes):
            base = next(each for each in self.classes if isinstance(record, each))
            return (
                f"the stream carries {self.name} records, and this {kind} would come back as one "
                f"of these: send it as {base.__name__}"
            )
        for each in self.classes:
            if each.__qualname__ == type(record).__qualname__:
                return _namesake(each, type(record))
        return f"the stream carries {self.name} records, not {kind}: {exactly(record)}"

    @abstractmethod
    def _dump(self, record: R) -> dict[str, Any]:
        """The plain values of a record. Errors of the class pass through."""

    @abstractmethod
    def _faulty_field(self, record: R) -> str:
        """The path of the field that has no plain form."""

    @abstractmethod
    def _from_json(self, text: str | bytes, ignore_unknown: bool) -> R:
        """A checked record. Raises RecordError; other errors of the class pass through."""

    @abstractmethod
    def _fields(self, cls: type[Any]) -> set[str]:
        """The names of the fields that one of the classes declares."""


def _namesake(declared: type[Any], other: type[Any]) -> str:
    """Why a record's class is not the declared class of the same name: a notebook cell was run
    again, or a module was loaded again or under two names."""
    name, ours, theirs = declared.__qualname__, declared.__module__, other.__module__
    if ours == theirs:
        return (
            f"the class {name} was defined again after the stream had been declared with it: "
            "declare the stream again, too; in a notebook, run its cell"
        )
    return (
        f"the stream carries {ours}.{name} records, not {theirs}.{name}: if that is one file, it "
        "was imported under two names"
    )
