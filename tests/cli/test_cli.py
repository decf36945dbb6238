"""The command line as a whole: wrong words, help, completion."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from runnel import __all__ as public
from runnel.cli import COMMANDS, main
from runnel.connection.url_text import Url
from tests.cli.commands import APP, NO_SECONDS, ORDERS, PRINTER, one_sentence
from tests.cli.conftest import GOOD, ROOT, Run


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["send", "tests.cli.shop:order", GOOD], 2, "did you mean 'orders'?"),
        (
            ["send", "tests.cli.shop:zzz", GOOD],
            2,
            "no attribute 'zzz'; there is tests.cli.shop:ord",
        ),
        (["send", "tests.cli.shop:other", GOOD], 2, "is an int, not a stream; there is"),
        (["send", APP, GOOD], 2, "is an App, not a stream; there is tests.cli.shop:orders"),
        (["send", PRINTER, GOOD], 2, "is a function, not a stream"),
        (["send", "tests.cli.shp:orders", GOOD], 2, "there is no module 'tests.cli.shp'"),
        (["send", "exemple:orders", GOOD], 2, "there is no module 'exemple' here"),
        (["send", "example.py:orders", GOOD], 2, "write example:orders"),
        (["send", "./shop/example.py:orders", GOOD], 2, "write shop.example:orders"),
        (["send", f"{ROOT}/shop/example.py:orders", GOOD], 2, "write shop.example:orders"),
        (["send", "/srv/example.py:orders", GOOD], 2, "in /srv, write example:orders"),
        (["send", "../example:orders", GOOD], 2, f"in {ROOT.parent}, write example:orders"),
        (["send", ".example:orders", GOOD], 2, "named from the current directory, without dots"),
        (["send", "examples/example.py:orders", GOOD], 2, "write examples.example:orders"),
        (["send", "bank:orders", GOOD], 2, "it is examples/bank.py, so `cd examples` first"),
        (["send", "exam ple:or{ders}", GOOD], 2, "there is no module 'exam ple'"),
        (["send", "orders", GOOD], 2, "module:attribute"),
        (["send", ":orders", GOOD], 2, "module:attribute"),
        (["send", "tests.cli.shop:", GOOD], 2, "module:attribute"),
        (["send", "tests.cli.braces:orders", GOOD], 2, "stream name 'or{ders}' is not usable"),
        (["worker", "tests.cli.spaces:app"], 2, "app name 'my shop' is not usable"),
        (["sendmany", ORDERS, "absent.jsonl"], 2, "cannot read absent.jsonl: No such file"),
        (["sendmany", ORDERS, "tests"], 2, "cannot read tests: Is a directory"),
        (["worker", APP, "--processors", "prinr"], 2, "it has printer"),
        (["worker", APP, "--name", "a b"], 2, "name 'a b' is not usable"),
        (["worker", "tests.cli.shop:other"], 2, "is an int, not an App; there is tests.cli.shop:"),
        (["worker", "tests.cli.shop:bare"], 2, "declares no processors"),
        (["worker", APP, "--redis-url", "reds://h"], 2, "did you mean redis://"),
        (["inspect", "--redis-url", "localhost:6379"], 2, "write redis://localhost:6379"),
        (["inspect", "--redis-url", "redis://h:x"], 2, "has a port"),
        (["inspect", "--app", "shoop"], 2, "there is no app 'shoop'"),
        (["processor", "reset", PRINTER, "--start", "soon"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "18446744073709551616"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "1795916178568-\u00b2"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "1795916178568-"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "0"], 1, "is not registered"),
        (["processor", "pause", PRINTER], 1, "runnel processor add"),
        (["processor", "resume", PRINTER, "--skip"], 1, "is not registered"),
        (["processor", "resume", PRINTER, "--partition", "4"], 2, "0 to 3, not 4"),
        (["processor", "pause", PRINTER, "--partition", "0-9"], 2, "0 to 3, not 9"),
        (
            ["processor", "reset", PRINTER, "--start", "0", "--partition", "2", "--partition", "7"],
            2,
            "0 to 3, not 7",
        ),
        (["processor", "pause", APP], 2, "is an App, not a processor; there is tests.cli.shop:pr"),
        (["processor", "pause", "tests.cli.shop:print"], 2, "there is no processor"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    run: Run, arguments: list[str], code: int, says: str
) -> None:
    done = run(*arguments)
    assert done.code == code, done.stderr
    assert says in one_sentence(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("group", ["processor", "stream"])
def test_a_list_of_commands_cuts_nothing_off(run: Run, group: str) -> None:
    listed = run(group, "--help").stdout.partition("Commands:")[2].partition("Example")[0]
    assert listed
    assert "..." not in listed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wrker"], "No such command 'wrker'; did you mean 'worker'?"),
        (["nonsense"], "No such command 'nonsense'"),
        (["send"], "Missing argument 'TARGET'"),
        (["send", ORDERS], "Missing argument 'RECORD'"),
        (["inspect", APP, "--app", "shop"], "give a TARGET or --app, not both"),
        (["inspect", APP, "--watch", "0"], "--watch"),
        (["inspect", APP, "--max-lag", "x"], "not a valid integer"),
        *((["inspect", APP, "--watch", no], "--watch") for no in NO_SECONDS),
        *((["inspect", APP, "--stalled-after", no], "--stalled-after") for no in NO_SECONDS),
        (["inspect", APP, "--stalled-after", "-1"], "--stalled-after"),
        (["inspect", APP, "--max-lag", "-1"], "--max-lag"),
        (["inspect", APP, "--max-dead", "-1"], "--max-dead"),
        (["inspect", APP, "--min-members", "-1"], "--min-members"),
        (["worker", APP, "--burst", "--processors", ""], "--processors"),
        (["worker", APP, "--burst", "--processors", ","], "--processors"),
        (["processor", "reset", PRINTER], "Missing option '--start'"),
        (["processor", "nonsense"], "No such command"),
    ],
)
def test_wrong_usage_is_reported_with_the_command_for_help(
    run: Run, arguments: list[str], says: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert says in done.stderr
    assert "--help" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_without_any_address_the_default_is_used_and_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, redis_url: str, command: str
) -> None:
    for name in ("tests.cli.shop:printer", "tests.cli.shop:strict"):
        assert run("processor", "add", name).code == 0
    default = Url(redis_url)
    monkeypatch.setattr("runnel.cli.inspector.DEFAULT", default)
    done = run(command, url=None)
    assert f"at {redis_url}, the default" in done.stdout + done.stderr
    assert (done.code, done.stderr[:5]) == {"inspect": (0, ""), "check": (12, "shop/")}[command]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_group_names_all_its_commands(name: str) -> None:
    found = main.get_command(click.Context(main), name)
    if isinstance(found, click.Group):
        words = {each.strip(",.:") for each in COMMANDS[name][1].split()}
        assert set(found.commands) <= words


def test_help_has_commands_exit_codes_and_examples(run: Run) -> None:
    text = run("--help").stdout
    for word in (*COMMANDS, "12", "live members", "$ runnel worker example:app", "Completion"):
        assert word in text


@pytest.mark.parametrize(
    "command",
    [[name] for name in COMMANDS]
    + [["processor", each] for each in ("add", "reset", "pause", "resume", "remove")]
    + [["dead", each] for each in ("list", "show", "replay", "drop")]
    + [["stream", "delete"]],
    ids=" ".join,
)
def test_each_commands_help_has_an_example_and_the_exit_codes(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    assert "Example" in done.stdout
    assert "$ runnel" in done.stdout or "| runnel" in done.stdout
    found = main.get_command(click.Context(main), command[0])
    is_group = isinstance(found, click.Group) and len(command) == 1
    assert ("Exit codes:" in done.stdout) != is_group, "its commands have their own"
    short = COMMANDS[command[0]][1]
    if len(command) == 1:  # What `runnel --help` says is how the command's own help begins.
        text = " ".join(done.stdout.split("\n\n")[1].split())
        assert [each.strip(",:.") for each in text.split()[:3]] == [
            each.strip(",:.") for each in short.split()[:3]
        ]


def test_the_words_of_the_command_line_are_completed(spawn: Run) -> None:
    env = {"_RUNNEL_COMPLETE": "bash_complete", "COMP_WORDS": "runnel se", "COMP_CWORD": "1"}
    assert spawn(env=env).stdout.split() == ["plain,send", "plain,sendmany", "plain,server"]


def test_help_and_completion_import_neither_redis_nor_pydantic() -> None:
    script = (
        "import sys, runnel\n"
        "from runnel.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([each for each in ('redis', 'pydantic', 'asyncio', 'rich') if each in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_table_of_commands_is_right(run: Run) -> None:
    context = main.make_context("runnel", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_the_names_of_the_package_are_those_that_type_checkers_see() -> None:
    stub = (ROOT / "runnel" / "__init__.pyi").read_text()
    names: dict[str, object] = {}
    exec(stub, names)
    assert sorted(public) == sorted(names["__all__"])  # type: ignore[call-overload]
    import runnel

    assert set(public) <= set(dir(runnel))
    for name in public:
        assert getattr(runnel, name) is names[name]
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        runnel.Nothing  # type: ignore[attr-defined]  # noqa: B018
