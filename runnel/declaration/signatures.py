"""Checks, when a function is declared, that its decorator can call it."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import AsyncIterable, Iterable
from itertools import pairwise
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from runnel.errors import ConfigError
from runnel.events import Batches, Event, Events
from runnel.handlers.callables import is_async, is_generator, named, takes_event
from runnel.record.members import members

_TAKES = {
    "processor": "the events of a partition (`async for record in events.records()`)",
    "on": "one record, or with two, a record and its event",
}


def check_handler(function: Any, decorator: str, stream: str, record: Any) -> None:
    """Raise ConfigError, which names the right decorator or the fix, for a function that
    `decorator` ("processor" or "on") cannot call, or whose code would not run."""
    if isinstance(function, type) or not callable(function):
        raise ConfigError(f"@app.{decorator}({stream}) takes a function, not {named(function)}")
    if is_generator(function):
        raise ConfigError(
            f"{named(function)} is a generator, as there is a `yield` in it, so its code "
            "would not run: take the `yield` out; to send records, await the `send` of a stream"
        )
    _check_arguments(function, decorator, stream)
    if decorator == "processor" and not is_async(function) and not _returns_something(function):
        raise ConfigError(
            f"{named(function)} must be an `async def` that takes events; for a plain function of "
            f"one record use @app.on({stream})"
        )
    hint = _hint(function)
    if decorator == "processor" and _cannot_be_events(hint, record):
        raise ConfigError(
            f"{named(function)} says that it takes {_text(hint)}, but @app.processor gives it the "
            f"events of a partition, Events[{_text(record)}], to iterate over; for a function that "
            f"takes one record at a time use @app.on({stream})"
        )
    if decorator == "on":
        _check_event(function, hint, record)
    if decorator == "on" and _cannot_be_record(hint):
        raise ConfigError(
            f"{named(function)} says that it takes {_text(hint)}, but @app.on gives it one record "
            f"at a time, {_text(record)}; for a function that iterates over events use "
            f"@app.processor({stream})"
        )
    _check_record(function, decorator, stream, hint, record)


def _check_event(function: Any, hint: Any, record: Any) -> None:
    """Raise ConfigError if the annotations of a function of `@app.on` say that its first argument
    is an event, or its second one something else. `hint` is the annotation of the first one."""
    form = f"(record: {_text(record)}, event: Event[{_text(record)}])"
    if all(get_origin(each) is Event or each is Event for each in _parts(hint)):
        raise ConfigError(
            f"{named(function)} says that its first argument is {_text(hint)}, but @app.on gives "
            f"it the record first and, if it takes two arguments, the event second: {form}"
        )
    if not takes_event(function):
        return
    second = _hint(function, 1)
    if all(_is_class(each) and not issubclass(Event, each) for each in _classes(second)):
        raise ConfigError(
            f"{named(function)} says that its second argument is {_text(second)}, but @app.on "
            f"gives it the event: {form}; give an argument of your own a default, or bind it with "
            "functools.partial"
        )
    records = [get_args(each)[0] for each in _parts(second) if get_origin(each) is Event]
    if records and all(_is_another(each, record) for each in records):
        raise ConfigError(
            f"{named(function)} says that its second argument is {_text(second)}, but the stream "
            f"has records of {_text(record)}: {form}"
        )


def _check_record(function: Any, decorator: str, stream: str, hint: Any, record: Any) -> None:
    """Raise ConfigError if the annotation names another record than that of the stream."""
    if decorator == "on":
        wrong, form = _is_another(hint, record), "{}"
    else:
        records = [get_args(each)[0] for each in _parts(hint) if get_origin(each) is Events]
        wrong = bool(records) and all(_is_another(each, record) for each in records)
        form = "Events[{}]"
    if not wrong:
        return
    takes, has = _text(hint), _text(record)
    if takes == has:
        takes, has = (f"{each.__module__}.{each.__qualname__}" for each in (hint, record))
    raise ConfigError(
        f"{named(function)} says that it takes {takes}, but the stream {stream} has records of "
        f"{has}: annotate it with {form.format(has)}, or name the stream that holds what it takes "
        f"in @app.{decorator}(…)"
    )


def check_task(function: Any, kind: str) -> str:
    """The name of a task's function. Raises ConfigError if it cannot be called without arguments,
    or if its code would not run. `kind` is its decorator: "task", "timer" or "crontab"."""
    name = getattr(function, "__name__", None)
    if isinstance(function, type) or not callable(function):
        raise ConfigError(f"@app.{kind} takes a function, not {named(function)}")
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(
            f"{named(function)} has no name of its own, which a {kind} is known by: use a `def`"
        )
    if is_generator(function):
        raise ConfigError(f"{kind} {name} is a generator, as there is a `yield` in it: take it out")
    if not is_async(function) and not _returns_something(function):
        raise ConfigError(f"{kind} {name} must be an `async def` without arguments")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return name
    try:
        signature.bind()
    except TypeError:
        raise ConfigError(
            f"{kind} {name} is called without arguments, and its signature is {signature}"
        ) from None
    return name


def _check_arguments(function: Any, decorator: str, stream: str) -> None:
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # Some functions in C have no signature.
    parameters = list(signature.parameters.values())
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    is_method = needed[:1] == ["self"]
    try:
        if is_method:
            raise TypeError
        signature.bind(*[None] * (2 if decorator == "on" and takes_event(function) else 1))
    except TypeError:
        hint = ""
        if is_method:
            hint = ": it is a method, so declare it on an object, as in " + (
                f"app.{decorator}({stream})(thing.{getattr(function, '__name__', 'method')})"
            )
        elif len(needed) > 1:
            hint = "; give the others a default, or bind them with functools.partial"
        raise ConfigError(
            f"{named(function)} cannot be called with one argument, {_TAKES[decorator]}: its "
            f"signature is {signature}{hint}"
        ) from None


def _returns_something(function: Any) -> bool:
    """May a call of this plain function return an awaitable? Not if it only returns None."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        return True  # An object, or a function in C: unknown before the call.
    for before, each in pairwise(dis.get_instructions(code)):
        if each.opname == "RETURN_CONST" and each.argval is not None:
            return True
        if each.opname == "RETURN_VALUE" and (
            each.is_jump_target or before.opname != "LOAD_CONST" or before.argval is not None
        ):
            return True
    return False


def _hint(function: Any, position: int = 0) -> Any:
    """The annotation of a parameter, the first or the second. `Any` if it is unknown, or if another
    decorator may pass something else."""
    while isinstance(function, functools.partial):
        if function.args:
            return Any
        function = function.func
    if hasattr(function, "__wrapped__"):
        return Any
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        parameters = list(inspect.signature(function).parameters.values())
        if parameters and parameters[0].name == "self":
            parameters = parameters[1:]
        name = parameters[position].name
        return _hints(function, name).get(name, Any)
    except Exception:  # Names that are defined later, or only for type checkers; or no parameter.
        return Any


def _hints(function: Any, parameter: str) -> dict[str, Any]:
    """The annotations of a function; only those of `parameter` if others cannot be resolved."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:
        alone = SimpleNamespace(__annotations__={parameter: function.__annotations__[parameter]})
        return get_type_hints(alone, globalns=function.__globals__, include_extras=True)


def _parts(hint: Any) -> Iterable[Any]:
    """The types that an annotation allows, without None."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _parts(get_args(hint)[0])
    elif origin in (Union, UnionType):
        for each in get_args(hint):
            if each is not NoneType:
                yield from _parts(each)
    else:
        yield hint


def _classes(hint: Any) -> list[Any]:
    """The classes that an annotation allows."""
    return [get_origin(each) or each for each in _parts(hint)]


def _is_another(hint: Any, record: Any) -> bool:
    """Can no record of the stream have the annotated type?"""
    hinted, classes = _classes(hint), members(record)
    return bool(hinted) and all(
        _is_class(each) and not any(_may_be(each, cls) for cls in classes) for each in hinted
    )


def _may_be(hint: Any, cls: Any) -> bool:
    """May a record of this class have the annotated type?"""
    if is_typeddict(hint):
        return False
    generic = getattr(hint, "__pydantic_generic_metadata__", None)
    if generic and Any in generic["args"]:
        hint = generic["origin"]
    try:
        if issubclass(cls, hint) or issubclass(hint, cls):
            return True
    except TypeError:  # `issubclass` does not accept it.
        return True
    # A notebook cell that runs again, or a module that is run and imported, defines a class twice.
    return bool(
        cls.__qualname__ == hint.__qualname__
        and (cls.__module__ == hint.__module__ or "__main__" in (cls.__module__, hint.__module__))
    )


def _cannot_be_events(hint: Any, record: Any) -> bool:
    return hint == record or all(
        _is_class(each) and not issubclass(each, AsyncIterable) and not issubclass(Events, each)
        for each in _classes(hint)
    )


def _cannot_be_record(hint: Any) -> bool:
    wrong = (Events, Event, Batches, list)
    return all(_is_class(each) and issubclass(each, wrong) for each in _classes(hint))


def _is_class(hint: Any) -> bool:
    """Is it a class, other than `Any` and protocols, which say nothing about objects?"""
    return isinstance(hint, type) and hint is not Any and not getattr(hint, "_is_protocol", False)


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
