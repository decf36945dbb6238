"""Find what ``module:attribute`` names."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from typing import Any

import click

from runnel.app import App
from runnel.cli import exits
from runnel.errors import ConfigError
from runnel.processor import Processor
from runnel.producer import Stream


def load(target: str) -> tuple[Any, str]:
    """The object and its attribute name. Exits with code 2 and a hint if there is none."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        exits.fail(f"{target!r} must have the form module:attribute, such as example:app", 2)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            exits.fail(f"there is no module {error.name!r} here or on sys.path", exits.USAGE)
        exits.fail(f"importing {module_name}: {error}", exits.USAGE)
    except ConfigError as error:
        exits.fail(f"importing {module_name}: {error}", exits.USAGE)
    except Exception:
        click.echo(traceback.format_exc(), err=True)
        exits.fail(f"importing {module_name} failed, see above", exits.USAGE)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            exits.fail(f"{module_name} has no attribute {name!r}{hint}", exits.USAGE)
        found = getattr(found, name)
    return found, attribute.rpartition(".")[2]


def load_app(target: str) -> App:
    """An app."""
    found, _ = load(target)
    if isinstance(found, App):
        return found
    if isinstance(found, Stream) and isinstance(found.app, App):
        return found.app
    exits.fail(f"{target} is a {type(found).__name__}, not an App", exits.USAGE)


def load_stream(target: str) -> Stream[Any]:
    """A stream."""
    found, _ = load(target)
    if isinstance(found, Stream):
        return found
    exits.fail(f"{target} is a {type(found).__name__}, not a stream of an App", exits.USAGE)


def load_processor(target: str) -> tuple[App, Processor]:
    """A processor and its app, from the function that it was declared on."""
    found, attribute = load(target)
    module = importlib.import_module(target.partition(":")[0])
    for app in (each for each in vars(module).values() if isinstance(each, App)):
        for processor in app.processors.values():
            if processor.function is found or processor.name == attribute:
                return app, processor
    exits.fail(f"{target} is not a processor of an App in that module", exits.USAGE)
