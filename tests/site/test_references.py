"""The references are complete: each setting, option, command and public name has a text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

import runnel
from runnel import App, testing
from runnel.settings import Settings
from tests.site import api_page, commands_page, settings_page
from tests.site.pages import ROOT
from tests.site.setting_texts import TEXTS
from tests.unit.test_public_names import FUNCTIONS

COMMANDS = {context.command_path: (context, each) for context, each in commands_page.commands()}
LEAVES = {name for name, (_, each) in COMMANDS.items() if not isinstance(each, click.Group)}
API = api_page.text()


def test_the_reference_has_every_command() -> None:
    assert {"runnel worker", "runnel dead replay", "runnel table snapshot"} <= LEAVES
    page = commands_page.text()
    assert {f"runnel {each}" for each in re.findall(r"^###? runnel (.*)$", page, re.M)} == {
        *COMMANDS
    } - {"runnel"}
    for code in (0, 2, 11, 130):
        assert f"| {code} |" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    context, command = COMMANDS[name]
    assert len((command.help or "").strip()) > 20
    if name in LEAVES:
        found = commands_page.examples(command)
        assert any(name in each for each in found)
    for option in commands_page.options(command):
        assert len((option.help or "").strip()) > 5, option.opts
        entry = commands_page.entry(context, option)
        assert entry.startswith(f"`{option.opts[0]}")
        if option.show_default and not option.is_flag:
            default = option.get_default(context)
            text = ",".join(default) if isinstance(default, tuple) else default
            assert f"Default: `{text}" in entry, entry


def test_the_variable_of_an_option_is_the_one_that_click_reads() -> None:
    context, command = COMMANDS["runnel dead replay"]
    option = next(each for each in commands_page.options(command) if "--key" in each.opts)
    entry = commands_page.entry(context, option)
    variable = re.search(r"\*(RUNNEL_\w+)\*", entry)
    assert variable
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable[1], "customer-7")
        assert option.resolve_envvar_value(context) == "customer-7"


def test_the_reference_has_every_setting() -> None:
    page = settings_page.text()
    for name, field in Settings.model_fields.items():
        cells = (
            f"| `{name}`<br>`RUNNEL_{name.upper()}` | `{field.default}` | {field.description}<br>"
        )
        assert cells in page


@pytest.mark.parametrize("heading", settings_page.DECLARATIONS)
def test_each_keyword_of_a_declaration_has_a_meaning(heading: str) -> None:
    function, _ = settings_page.DECLARATIONS[heading]
    names = {each.name for each in settings_page.keywords(function)}
    assert names
    assert not {name for name in names if not settings_page.meaning(heading, name)}
    assert {name for where, name in TEXTS if where == heading} <= names, "it is no keyword"


def test_each_function_that_declares_something_is_there() -> None:
    """`on` has the keywords of `processor`."""
    shown = {function.__name__ for function, _ in settings_page.DECLARATIONS.values()}
    made = {
        name
        for name, each in inspect.getmembers(App, inspect.isfunction)
        if not name.startswith("_")
        and any(p.kind is p.KEYWORD_ONLY for p in inspect.signature(each).parameters.values())
    }
    assert made - shown == {"on", "producer", "worker", "run"}
    processor, on = (inspect.signature(each).parameters for each in (App.processor, App.on))
    assert list(processor) == list(on)


@pytest.mark.parametrize("name", [*runnel.__all__, *testing.__all__])
def test_the_reference_has_each_public_name(name: str) -> None:
    assert API.count(f" {{#{name}}}\n") == 1


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - api_page.INTERNAL))
def test_the_reference_has_each_public_method(name: str) -> None:
    owner, _, method = name.partition(".")
    if method == "__init__":
        return
    bases = (getattr(runnel, owner) if owner in runnel.__all__ else getattr(testing, owner)).__mro__
    places = [f"#### {base.__name__}.{method} " for base in bases]
    (section,) = (API.partition(each)[2].partition("\n#")[0] for each in places if each in API)
    text = re.sub(r"```.*?```", "", section, flags=re.S).partition("\n")[2].strip()
    documented, _ = FUNCTIONS[name]
    assert text, "it has no text"
    assert (documented.__doc__ or "").split()[0].strip("`*") in text


#: The changelog may name what is gone.
PAGES = [
    *(each for each in ROOT.glob("*.md") if each.name != "CHANGELOG.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("lua/*.md"),
]


def commands_on(page: Path) -> set[str]:
    """The commands of Runnel that a page shows, in sentences and in blocks."""
    text = page.read_text()
    inline = re.findall(r"`(runnel [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    shown = re.findall(r"^(?:\$ )?(runnel [a-z-].*)$", text, re.M)
    return {" ".join(each.partition(" #")[0].split()) for each in (*inline, *shown)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    for line in commands_on(page):
        words = re.split(r"[ |;&]+", line)
        if words[1].isupper() or "·" in words:  # A placeholder; what a worker prints first.
            continue
        name = "runnel"
        while isinstance(COMMANDS[name][1], click.Group) and len(words) > len(name.split()):
            word = words[len(name.split())]
            if word.startswith(("-", "…")):
                break
            name = f"{name} {word}"
            assert name in COMMANDS, f"{page.name}: {line}"
        known = {each for option in COMMANDS[name][1].params for each in option.opts}
        known |= {*COMMANDS["runnel"][1].get_help_option_names(COMMANDS["runnel"][0]), "--version"}
        used = re.findall(r"(?<=[ \[(])(--[a-z][a-z-]*)", line.partition(" | ")[0])
        assert set(used) <= known, f"{page.name}: {line}"
