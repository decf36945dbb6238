"""What Runnel needs of a record class, whatever library it is made with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from runnel.errors import EncodeError, RecordError
from runnel.record.difference import difference
from runnel.record.messages import exactly, explain, one_line
from runnel.record.primitive import NativeForm

R = TypeVar("R")


class RecordType(ABC, Generic[R]):
    """The face of what a stream carries, of one class or of several: plain values out, checked
    records in.

    `primitive` says whether its fields are stored natively; `native` is how. `is_map` says whether
    its plain form is a map of fields, as all but that of a RootModel is. `place_of_bytes` names the
    first field that holds bytes, which JSON cannot. `dumps_lists` is false where plain values may
    have tuples, which come back as lists.
    """

    dumps_lists = True

    def __init__(self, form: Any, classes: Sequence[type[Any]]) -> None:
        #: What was declared.
        self.form = form
        self.classes = tuple(classes)
        self.name = " | ".join(each.__name__ for each in classes)
        self.primitive = False
        self.native = NativeForm()
        self.is_map = True
        self.place_of_bytes: str | None = None
        #: What `dump` gives if it is certain, without a look, that `load` makes the same of it, and
        #: None of any other record; None if that is certain of no record of the class.
        self.surely: Callable[[R], dict[str, Any] | None] | None = None

    def dump(self, record: R) -> dict[str, Any]:
        """The record as a map of plain values: text, numbers, booleans, None, bytes, lists, maps.

        Values without a plain type (datetime, Decimal, UUID, enum) become their canonical text.
        Raises EncodeError, naming the field, if `record` is of another class, a subclass too, or
        has no such form. Whether it can be read again is another question: see `check`.
        """
        if type(record) not in self.classes:
            raise EncodeError(self._not_mine(record))
        try:
            return self._dump(record)
        except Exception as error:  # Whatever the class's own serializers raise.
            place = self._place_of_fault(record)
            raise EncodeError(
                f"{self.name} cannot be written: {place}: {one_line(error)}"
            ) from error

    @abstractmethod
    def load(self, values: Any) -> R:
        """A checked record; what its class does not declare is left out, unless the class keeps it.

        Raises DecodeError naming each field that does not fit.
        """

    def check(self, sent: R, back: R) -> None:
        """Raises EncodeError, naming the field, unless what came back is what was sent."""
        try:
            told = difference(sent, back, self.name)
        except Exception as error:  # Whatever values raise that are compared.
            told = f"it cannot be compared with what comes back: {explain(self.name, error)}"
        if told:
            raise EncodeError(f"{self.name} cannot be written: {told}")

    def from_json(self, text: str | bytes, ignore_unknown: bool = False) -> R:
        """A checked record from JSON text. Raises RecordError naming each bad field, and each that
        is not declared, unless these are to be ignored."""
        try:
            return self._from_json(text, ignore_unknown)
        except RecordError:
            raise
        except Exception as error:
            raise RecordError(explain(self.name, error)) from error

    def without_field(self, name: str) -> list[type[Any]]:
        """The classes that do not declare this field."""
        return [each for each in self.classes if name not in self._fields(each)]

    def _not_mine(self, record: Any) -> str:
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
        """The plain values of a record; raises whatever its class raises."""

    @abstractmethod
    def _place_of_fault(self, record: R) -> str:
        """Where that stands which has no plain form."""

    @abstractmethod
    def _from_json(self, text: str | bytes, ignore_unknown: bool) -> R:
        """A checked record; raises RecordError, or whatever its class raises."""

    @abstractmethod
    def _fields(self, cls: type[Any]) -> set[str]:
        """The names of the fields that one of the classes declares."""


def _namesake(declared: type[Any], other: type[Any]) -> str:
    """Why a record is of another class than that of the same name: a cell of a notebook was run
    again, a module was loaded again, or under two names."""
    name, ours, theirs = declared.__qualname__, declared.__module__, other.__module__
    if ours == theirs:
        return (
            f"the class {name} was defined again after the stream had been declared with it: make "
            "the app and the stream again, too"
        )
    return (
        f"the stream carries {ours}.{name} records, not {theirs}.{name}: if that is one file, it "
        "was imported under two names"
    )
