"""What `@app.on` and `@app.processor` accept, for type checkers and editors.

A function keeps its own type, and is flagged if it cannot take the records of its stream. `Takes`
does both with one argument: its first overload compares the function with what it will be given,
the second one finds out its parameters. mypy cannot do that for parameters without names, as those
of a ``Callable[[Order], None]``: the overloads with a plain `Callable` are for these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from runnel.event import Event
from runnel.events import Events

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Awaitable[Any])
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


class Takes(Protocol[R_contra, P, T_co]):
    """A function that can be called with one argument of a type."""

    @overload
    def __call__(self, given: R_contra, /) -> T_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...


class TakesWithEvent(Protocol[R_contra, P, T_co]):
    """A function that can be called with a record and its event."""

    @overload
    def __call__(self, record: R_contra, event: Event[R_contra], /) -> T_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...


class OnDecorator(Protocol[R]):
    """What `App.on` returns: it takes a function of a record, or of a record and its `Event`, async
    or plain, and returns the same function."""

    @overload
    def __call__(self, function: Takes[R, P, T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, function: TakesWithEvent[R, P, T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, function: Callable[[R], T], /) -> Callable[[R], T]: ...
    @overload
    def __call__(self, function: Callable[[R, Event[R]], T], /) -> Callable[[R, Event[R]], T]: ...


class ProcessorDecorator(Protocol[R_co]):
    """What `App.processor` returns: it takes an async function of `Events`, and returns the same
    function."""

    @overload
    def __call__(self, function: Takes[Events[R_co], P, A], /) -> Callable[P, A]: ...
    @overload
    def __call__(self, function: Callable[[Events[R_co]], A], /) -> Callable[[Events[R_co]], A]: ...
