"""The command ``runnel init``."""

from __future__ import annotations

import keyword
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from runnel.cli import exits
from runnel.cli.output import report

#: What is written, and from which template.
_FILES = {
    "{name}.py": "app.py.txt",
    "test_{name}.py": "test_app.py.txt",
    "compose.yaml": "compose.yaml.txt",
}
#: Other modules import these: in place of each they would get the app.
_KNOWN = {*sys.stdlib_module_names, "runnel", "test", "__main__"}


class ModuleName(click.ParamType):  # type: ignore[type-arg]
    """The name of a module, which becomes the name of the app, too."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, if Python can import a module of that name."""
        text = str(value).removesuffix(".py")
        if keyword.iskeyword(text):
            self.fail(f"{text!r} is a reserved word of Python: no module can have it.", param, ctx)
        if not text.isascii() or not text.isidentifier():
            self.fail(
                f"{value!r} is no name of a module: use letters, digits and _, such as shop.",
                param,
                ctx,
            )
        if text in _KNOWN:
            self.fail(
                f"a module {text} would hide the one that Python has by this name: choose another "
                "one, such as my_shop.",
                param,
                ctx,
            )
        return text


@click.command(
    epilog=exits.epilog(
        "runnel init shop", "runnel init shop --folder services/shop", codes=exits.LOCAL
    )
)
@click.argument("name", type=ModuleName())
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Where to write; it is made if it is missing.",
)
def init(name: str, folder: Path) -> None:
    """Write a small project: an app, its test, and a compose file.

    NAME is that of the module and of the app. No file that exists is changed.
    """
    texts = {
        path.format(name=name): files("runnel.cli")
        .joinpath("project", template)
        .read_text()
        .replace("NAME", name)
        for path, template in _FILES.items()
    }
    if hidden := _installed(name, folder):
        exits.fail(
            f"a module {name} would hide {hidden}, which is installed: choose another name, such "
            f"as my_{name}. Nothing was written.",
            exits.USAGE,
        )
    there = [path for path in texts if (folder / path).exists()]
    if there:
        exist = "exists" if len(there) == 1 else "exist"
        exits.fail(
            f"{', '.join(str(folder / each) for each in there)} {exist} already: choose another "
            "name or --folder. Nothing was written.",
            exits.USAGE,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            (folder / path).write_text(text)
    except OSError as error:
        exits.fail(f"cannot write to {folder}: {error.strerror}", exits.USAGE)
    report("\n".join(f"wrote {folder / path}" for path in texts))
    inside = "" if folder == Path() else f"cd {folder}\n"
    report(
        f"\nNext:\n{inside}runnel server                 # in its own terminal\n"
        f"runnel worker {name}:app --reload     # needs runnel[reload]\n"
        f'runnel send {name}:orders \'{{"customer": "ada", "amount": 5}}\'\n'
        f"runnel table get {name}:totals ada"
    )


def _installed(name: str, folder: Path) -> str | None:
    """The file of an installed module of this name, which a module in the folder would hide. What
    is in the folder, or in the current one, is not installed; nor is a folder without code."""
    found = find_spec(name)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin)
    within = file.parent.parent if file.stem == "__init__" else file.parent
    return None if within.resolve() in (folder.resolve(), Path.cwd()) else str(file)
