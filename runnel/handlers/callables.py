"""Makes handlers of the functions of users: async or plain, of events or of one record."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from runnel.errors import ConfigError, NothingRan
from runnel.events import Events
from runnel.handlers.threads import Threads

Handler = Callable[[Any], Awaitable[None]]
Function = Callable[..., Any]


def of_events(function: Function) -> Handler:
    """The handler for a function of the events of a partition (`@app.processor`)."""
    if inspect.iscoroutinefunction(function):
        return function  # Without a wrapper around each of its awaits.

    async def handler(events: Events[Any]) -> None:
        result = function(events)
        if not inspect.isawaitable(result):
            raise NothingRan(
                f"{named(function)} returned {type(result).__name__} instead of an awaitable: it "
                "must be an `async def`; for a plain function of one record use @app.on"
            )
        await settled(result, function)

    return handler


def of_nothing(function: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    """The async function that a worker awaits for a task."""

    async def task() -> None:
        result = function()
        if not inspect.isawaitable(result):
            raise NothingRan(
                f"{named(function)} returned {type(result).__name__} instead of an awaitable: it "
                "must be an `async def`"
            )
        await settled(result, function)

    return task


def of_records(function: Function) -> Handler:
    """The handler for a function of one record, or of a record and its event (`@app.on`)."""
    if not is_async(function):
        return _of_plain(function)
    call, with_event = call_of(function), takes_event(function)

    async def handler(events: Events[Any]) -> None:
        async for item in items_of(events, with_event):
            if (result := await call(item)) is not None:
                await settled(result, function)

    return handler


def _of_plain(function: Function) -> Handler:
    threads, with_event = Threads(), takes_event(function)
    call, call_in_thread = call_of(function), in_threads(function, threads)

    async def settle(result: Any) -> None:
        await settled(result, function)

    async def handler(events: Events[Any]) -> None:
        ahead = events.ahead(threads, call, unsettled, with_event)
        if ahead is not None:
            await ahead.run(settle)
            return
        async for item in items_of(events, with_event):
            with events.uncancellable():
                result = await call_in_thread(item)
            if result is not None:
                await settle(result)

    return handler


def takes_event(function: Function) -> bool:
    """Does a function of `@app.on` take two arguments, the record and its `Event`?

    It does if it needs two. A second parameter with a default is not filled. A wrapper that passes
    all its arguments on (``*args``) takes what the function inside needs, unless that says that its
    second argument is something else than an event, which then the wrapper must give.
    """
    try:
        outer = inspect.signature(function, follow_wrapped=False)
        inner = inspect.signature(function)
        if len(_needed(outer)) > 1:
            return True
        outer.bind(None, None)
    except (TypeError, ValueError):  # Some functions in C have no signature.
        return False
    # So it can be called with two, and does not need two.
    passes_on = any(each.kind is each.VAR_POSITIONAL for each in outer.parameters.values())
    if not passes_on or len(needed := _needed(inner)) < 2:
        return False
    hint = needed[1].annotation
    return hint is inspect.Parameter.empty or bool(re.search(r"\bEvent\b", str(hint)))


def _needed(signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters that a call must fill by position."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        each
        for each in signature.parameters.values()
        if each.kind in by_position and each.default is each.empty
    ]


def items_of(events: Events[Any], with_event: bool) -> AsyncIterator[Any]:
    """What a function of `@app.on` is called for, one at a time: the arguments of `call_of`. With
    `with_event` it takes the event, too."""
    return aiter(events) if with_event else events.records()


def call_of(function: Function) -> Function:
    """Calls a function of `@app.on` with one item of `items_of`: a record, or an `Event` if the
    function takes both."""
    if not takes_event(function):
        return function  # Without a wrapper around each call.
    return lambda event: function(event.record, event)


def in_threads(function: Function, threads: Threads | None = None) -> Function:
    """An async function that calls a plain function of `@app.on` in a thread, with one item of
    `items_of`. Its result may be an awaitable."""
    call = functools.partial(_called, call_of(function))
    return functools.partial((threads or Threads()).run, call)


def _called(call: Function, item: Any) -> Any:
    try:
        return call(item)
    except StopIteration as stop:  # A future cannot hold it, and would never be done.
        raise RuntimeError("the handler raised StopIteration") from stop


async def settled(result: Any, function: Callable[..., Any]) -> None:
    """Await what a handler returned, and the result of that, until it is not an awaitable.

    Raises NothingRan for a generator, or a list of awaitables: their code has not run.
    """
    while result is not None:
        if isinstance(result, concurrent.futures.Future):
            result = asyncio.wrap_future(result)
        if inspect.isawaitable(result):
            result = await result
            continue
        if isinstance(result, (list, tuple, set)) and any(map(inspect.isawaitable, result)):
            raise NothingRan(
                f"{named(function)} returned a {type(result).__name__} of awaitables, which nobody "
                "awaits: await them in an `async def`"
            )
        if inspect.isasyncgen(result) or inspect.isgenerator(result) or isinstance(result, map):
            kind = "map" if isinstance(result, map) else "generator"
            raise NothingRan(
                f"{named(function)} returned a {kind}, which nobody iterates over: return an "
                "awaitable or nothing"
            )
        return


def unsettled(result: Any) -> bool:
    """Must the result of a handler go through `settled`?"""
    if isinstance(result, (list, tuple, set)):
        return any(map(inspect.isawaitable, result))
    return (
        isinstance(result, (concurrent.futures.Future, map))
        or inspect.isawaitable(result)
        or inspect.isasyncgen(result)
        or inspect.isgenerator(result)
    )


def is_async(function: Any) -> bool:
    """Does a call only create a coroutine, so that it needs no thread?"""
    return any(inspect.iscoroutinefunction(each) for each in _bodies(function))


def is_generator(function: Any) -> bool:
    """Does a call only create a generator, so that no code of the function runs?"""
    return any(
        inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each)
        for each in _bodies(function)
    )


def _bodies(function: Any) -> tuple[Any, ...]:
    """The functions with the code of a callable: itself, or the `__call__` of its class."""
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function, getattr(type(function), "__call__", None)  # noqa: B004


def name_of(function: Any, given: str | None, decorator: str) -> str:
    """The processor's name: `given`, or the name of the function.

    Raises ConfigError for a lambda, a partial or an object, which have no name.
    """
    if given is not None:
        return given
    name = getattr(function, "__name__", None)
    if isinstance(name, str) and name.isidentifier():
        return name
    raise ConfigError(
        f"{named(function)} has no name of its own to call the processor by: say one, as in "
        f'@app.{decorator}(orders, name="mail")'
    )


def module_of(function: Any) -> str:
    """The name of the module that defines a function."""
    body = _bodies(function)[0]
    home = body if inspect.isroutine(body) else type(body)
    name = str(getattr(home, "__module__", None) or "MODULE")
    return _name_of_program() if name == "__main__" else name


def _name_of_program() -> str:
    """What commands call the program that runs: it is not `__main__` for them."""
    program = sys.modules["__main__"]
    if spec := getattr(program, "__spec__", None):
        return str(spec.name)
    file = getattr(program, "__file__", None)
    return Path(file).stem if file else "MODULE"


def named(thing: object) -> str:
    """An argument of a user, in words for a message."""
    name = getattr(thing, "__name__", None)
    if isinstance(thing, type):
        return f"the class {name} (call it: {name}())"
    if name == "<lambda>":
        return "a lambda"
    if isinstance(thing, classmethod):
        return f"the classmethod {name}, which only its class can call"
    if isinstance(thing, functools.partial):
        return f"a functools.partial of {named(thing.func)}"
    if isinstance(name, str):
        return f"the function {name}"
    return repr(thing)
