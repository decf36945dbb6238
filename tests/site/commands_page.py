"""The reference of the commands, from what click knows of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from runnel.cli import exits, main
from tests.site.prose import prose

_HEAD = """# Commands

Every command with its arguments, options and examples, as `runnel COMMAND --help` says it. This
page is made from the commands themselves. The [guide](../guide.md) and
[operations](../operations.md) say when to use which.

- A TARGET has the form `module:attribute`, such as `example:app`; the current directory is
  importable. Where there is no Python code, APP/STREAM takes the place of a stream, such as
  `shop/orders`, and APP/STREAM@PROCESSOR that of a processor, such as `shop/orders@billing`.
- Commands that change something and could lose events only say what they would do, until you add
  `--execute` or `--yes`.
- Each option can be given by an environment variable as well, which is named beside it. What is
  typed goes first.
- Errors are one sentence on stderr. No output has colours where `NO_COLOR` is set.
"""


def commands(
    command: click.Command = main, context: click.Context | None = None
) -> Iterator[tuple[click.Context, click.Command]]:
    """Every command that does something, with its context; a group before its commands."""
    context = context or click.Context(main, info_name="runnel", auto_envvar_prefix="RUNNEL")
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, click.Context(inner, parent=context, info_name=name))


def text() -> str:
    """The page, in Markdown."""
    parts = [_HEAD, "## Exit codes\n", exit_codes()]
    for context, command in commands():
        if command is not main:
            parts.append(section(context, command))
    return "\n".join(parts)


def exit_codes() -> str:
    """A table of them."""
    rows = [f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items()]
    return "| code | meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def section(context: click.Context, command: click.Command) -> str:
    """What a command does, its usage, options and examples."""
    level = "##" if context.parent and context.parent.parent is None else "###"
    parts = [f"{level} {context.command_path}\n", helped(command)]
    if isinstance(command, click.Group):
        return "\n".join(parts)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts.append(f"```text\n{usage}\n```\n")
    found = examples(command)
    if found:
        parts.append("```console\n" + "\n".join(f"$ {each}" for each in found) + "\n```\n")
    parts.append(f"Exit codes: {', '.join(exit_codes_of(command))}.\n")
    parts += [entry(context, option) for option in options(command)]
    return "\n".join(parts)


def helped(command: click.Command) -> str:
    """The help of a command, in paragraphs."""
    blocks = inspect.cleandoc(command.help or "").split("\n\n")
    made = []
    for block in blocks:
        verbatim = block.startswith("\b\n")
        made.append(f"```text\n{block[2:]}\n```" if verbatim else prose(block))
    return "\n\n".join(made) + "\n"


def examples(command: click.Command) -> list[str]:
    """The commands that its help gives as examples."""
    return re.findall(r"^ +\$ (.*)$", command.epilog or "", re.M)


def exit_codes_of(command: click.Command) -> list[str]:
    """The exit codes that its help lists."""
    return re.findall(r"^  (\d+) ", (command.epilog or "").partition("Exit codes:")[2], re.M)


def options(command: click.Command) -> list[click.Option]:
    """Its options, in the order of its help."""
    return [each for each in command.params if isinstance(each, click.Option) and not each.hidden]


def entry(context: click.Context, option: click.Option) -> str:
    """An option: what it means, its values, its default, its variable."""
    names = " / ".join([*option.opts, *option.secondary_opts])
    metavar = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    notes = []
    record = option.get_help_record(context)
    if record and (extra := re.search(r"\[(default: )?([^\[\]]*)\]$", record[1])):
        notes.append(f"{(extra[1] or '').capitalize()}`{extra[2]}`.")
    if option.multiple:
        notes.append("May be repeated.")
    if option.required:
        notes.append("Required.")
    variable = f"{context.auto_envvar_prefix}_{(option.name or '').upper()}"
    told = prose((option.help or "").rstrip("."))
    line = " ".join([f"{told}.", *[each for each in notes if each.rstrip(".") not in told]])
    return f"`{names}{metavar}`\n:   {line} *{variable}*\n"
