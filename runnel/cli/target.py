"""Finds the app, stream or processor that a ``module:attribute`` names."""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from runnel.app import App
from runnel.cli import codeless_target, exits
from runnel.errors import ConfigError
from runnel.processor import Processor
from runnel.settings import warn_of_unknown
from runnel.stream import Stream
from runnel.table import Table


def load_app(target: str) -> App:
    """An app, or the app of a stream. Exits with code 2 and a hint for another target."""
    module, attribute = load_module(target)
    found = find(module, attribute, App)
    if isinstance(found, Stream):
        found = found.app
    if isinstance(found, App):
        found.module = module.__name__
        return found
    refuse(target, found, "an App", module, App)


def load_stream(target: str) -> Stream[Any]:
    """A stream. Exits with code 2 and a hint for another target."""
    module, attribute = load_module(target)
    found = find(module, attribute, Stream)
    if isinstance(found, Stream):
        return found
    refuse(target, found, "a stream", module, Stream)


def load_table(target: str) -> Table[Any]:
    """A table. Exits with code 2 and a hint for another target."""
    module, attribute = load_module(target)
    found = find(module, attribute, Table)
    if isinstance(found, Table):
        return found
    refuse(target, found, "a table", module, Table)


def load_processor(target: str, must_exist: bool = True) -> tuple[App, Processor]:
    """A processor and its app, by its function or by its name; or by APP/STREAM@PROCESSOR, where
    there is no Python code: then Redis must know it, unless it need not exist.

    Exits with code 2 and a hint for another target.
    """
    if codeless_target.matches(target):
        return codeless_target.load(target, must_exist)
    module, attribute = load_module(target)
    if found := processor_in(module, attribute):
        return found
    known = [each for app in apps_in(module) for each in app.processors.values()]
    names = ", ".join(f"{module.__name__}:{each.name}" for each in known) or "none"
    if hasattr(module, attribute):
        kind = describe(getattr(module, attribute))
        exits.fail(f"{target} is {kind}, not a processor; there is {names}", exits.USAGE)
    exits.fail(f"there is no processor {target}; there is {names}", exits.USAGE)


def processor_in(module: ModuleType, attribute: str) -> tuple[App, Processor] | None:
    """The processor of a module with this name, or with the function of this name; and its app."""
    function = getattr(module, attribute, None)
    for app in apps_in(module):
        for processor in app.processors.values():
            if processor.name == attribute or (function and processor.function is function):
                return app, processor
    return None


def apps_in(module: ModuleType) -> list[App]:
    """The apps in the module, and the apps of its streams, each once."""
    values = [each.app if isinstance(each, Stream) else each for each in vars(module).values()]
    return list({id(each): each for each in values if isinstance(each, App)}.values())


def load_module(target: str) -> tuple[ModuleType, str]:
    """Import the module of a target. Returns it and the name of the attribute.

    Exits with code 2 and a hint if the target is malformed or the import fails.
    """
    name, colon, attribute = target.partition(":")
    if not colon or not name or not attribute:
        exits.fail(f"{target!r} must have the form module:attribute, such as example:app", 2)
    if name.endswith(".py") or "/" in name:
        exits.fail(f"{name} must be named as a module: {_as_module(name, attribute)}", exits.USAGE)
    if name.startswith("."):
        exits.fail(f"{name} must be named from the current directory, without dots", exits.USAGE)
    # Before the app makes its settings: its logging may write to stdout.
    warn_of_unknown(lambda text: exits.say(text, "warning"))
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name), attribute
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            here = [each.stem for each in Path().glob("*.py")]
            hint = near(name, here) or _below(name)
            exits.fail(f"there is no module {error.name!r} here{hint}", exits.USAGE)
        exits.fail(f"importing {name}: {error}", exits.USAGE)
    except ConfigError as error:
        exits.fail(f"importing {name}: {error}", exits.USAGE)
    except Exception:
        exits.say(traceback.format_exc(), "error")
        exits.fail(f"importing {name} failed, see above", exits.USAGE)
    except exits.Signalled:
        raise
    except SystemExit as exit:  # For example from a program that runs when it is imported.
        code = exit.code if isinstance(exit.code, int) else exits.UNEXPECTED
        message = f"importing {name} ended with sys.exit({exit.code!r})"
        exits.fail(message, exits.USAGE if exit.code in (None, 0) else code)


def _as_module(path: str, attribute: str) -> str:
    """How the user must name the module of a file."""
    file = Path(os.path.abspath(path.removesuffix(".py")))
    if file.is_relative_to(Path.cwd()):
        return f"write {'.'.join(file.relative_to(Path.cwd()).parts)}:{attribute}"
    return f"in {file.parent}, write {file.name}:{attribute}"


def find(module: ModuleType, attribute: str, wanted: type) -> Any:
    """The attribute, whose name may have dots. Exits with code 2 and a hint if it is missing."""
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            hint = near(name, dir(found)) or others_in(module, wanted)
            exits.fail(f"{module.__name__} has no attribute {name!r}{hint}", exits.USAGE)
        found = getattr(found, name)
    return found


def refuse(target: str, found: Any, wanted: str, module: ModuleType, kind: type) -> NoReturn:
    """Exit with a message that says what the target is, and names right ones."""
    hint = others_in(module, kind)
    exits.fail(f"{target} is {describe(found)}, not {wanted}{hint}", exits.USAGE)


def others_in(module: ModuleType, kind: type) -> str:
    """A hint that names the objects of a kind in a module, empty if there are none."""
    right = [name for name, each in vars(module).items() if isinstance(each, kind)]
    names = ", ".join(f"{module.__name__}:{name}" for name in right)
    return f"; there is {names}" if right else ""


def describe(found: Any) -> str:
    """The kind of an object, with its article."""
    if isinstance(found, App):
        return "an App"
    if isinstance(found, Stream):
        return "a stream"
    if isinstance(found, Table):
        return "a table"
    name = type(found).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _below(name: str) -> str:
    """A hint that the module is in a directory of this one."""
    # A name of a module has no characters that mean something in a pattern.
    found = sorted(Path().glob(f"*/{name}.py")) if name.isidentifier() else []
    return f": it is {found[0]}, so `cd {shlex.quote(str(found[0].parent))}` first" if found else ""


def near(name: str, names: list[str]) -> str:
    """A hint that names the closest of the names, empty if none is close."""
    found = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {found[0]!r}?" if found else ""
