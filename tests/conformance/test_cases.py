"""The transcripts and scenarios of lua/conformance: every runner runs each of them, and they show
everything that the manifest says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runnel.protocol.scripts import folder
from tests.conformance import scenarios, transcripts
from tests.conformance.__main__ import main
from tests.conformance.reports import CASES, RUNNERS, missing
from tests.conformance.runner import Connection, Runner, Wrong, matches
from tests.lua.manifest import MANIFEST
from tests.servers import Server

pytestmark = pytest.mark.timeout(240)
SCRIPTS: dict[str, dict[str, Any]] = {
    each["name"]: each for each in json.loads(MANIFEST.read_text())["scripts"]
}
CALLS = [(case.name, call) for case in transcripts.cases() for call in case.calls]
ALL_CALLS = [*CALLS, *((case.name, call) for case in scenarios.cases() for call in case.calls)]


@pytest.fixture(scope="module")
def reports(case_server: Server) -> dict[str, dict[str, str]]:
    """What each runner finds wrong in each case."""
    return {
        name: run(case_server, folder(), "") for name, run in RUNNERS.items() if not missing(name)
    }


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_runner_runs_every_case_and_each_passes(
    reports: dict[str, dict[str, str]], runner: str
) -> None:
    if program := missing(runner):
        pytest.skip(f"there is no {program} here")
    assert {name: wrong for name, wrong in reports[runner].items() if wrong} == {}
    assert list(reports[runner]) == list(CASES), "a case was not run"


def test_the_files_are_what_is_defined(tmp_path: Path) -> None:
    main(["--check"])
    with pytest.raises(SystemExit, match=r"routing.jsonl is not .* run scripts/lua-conformance"):
        main(["--check"], tmp_path)
    main([], tmp_path)
    main(["--check"], tmp_path)
    path = tmp_path / "scenarios.jsonl"
    path.write_text(path.read_text().replace(":1", ":2", 1))
    with pytest.raises(SystemExit, match=r"scenarios.jsonl is not what is defined"):
        main(["--check"], tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_transcripts_have_every_error_of_a_script(script: str) -> None:
    shown = {
        call.reply[0][1:].split()[0]
        for _, call in CALLS
        if call.script == script and call.reply and call.reply[0].startswith("-")
    }
    assert shown == {each["word"] for each in SCRIPTS[script]["errors"]}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_transcripts_have_a_repeat_of_a_script_that_recognises_it(script: str) -> None:
    kind = SCRIPTS[script]["idempotence"]["kind"]
    shown = any(call.repeats for _, call in CALLS if call.script == script)
    assert shown or kind == "reads"


@pytest.mark.parametrize("script", SCRIPTS)
def test_calls_that_succeed_have_the_keys_arguments_and_replies_of_the_manifest(
    script: str,
) -> None:
    described, found = SCRIPTS[script], 0
    for where, call in ALL_CALLS:
        if call.script != script or (call.reply and call.reply[0].startswith("-")):
            continue
        found += 1
        for given, of in ((call.keys, "keys"), (call.args, "args")):
            fixed = [each for each in described[of] if not each.get("repeated")]
            more = len(fixed) < len(described[of])
            assert len(given) >= len(fixed) if more else len(given) == len(fixed), (where, of)
        replies = described["replies"]
        open_ended = script in ("describe", "describe_group", "due", "sync", "check_acl")
        assert open_ended or len(call.reply) == len(replies), where
        if not open_ended:
            for each, value in zip(replies, call.reply, strict=True):
                assert value[0] == (":" if each["type"] == "int" else "$"), (where, each["name"])
    assert found


def test_names_of_cases_are_unique_and_plain() -> None:
    names = [case.name for case in (*transcripts.cases(), *scenarios.cases())]
    assert len(set(names)) == len(names)
    assert names == list(CASES)
    assert not [name for name in names if "#" in name or not name.isascii()]


def test_a_wrong_reply_is_told(case_server: Server) -> None:
    steps = [["case", "x"], ["note", "it is empty"], ["redis", "DBSIZE"], ["reply", ":1"]]
    with Connection("127.0.0.1", case_server.port) as connection:
        with pytest.raises(
            Wrong, match=r"step 3, it is empty: the reply is \[':0'\], not \[':1'\]"
        ):
            Runner(connection, folder()).run(steps)
        with pytest.raises(Wrong, match="there is no step rediss"):
            Runner(connection, folder()).run([["rediss", "DBSIZE"]])
        rises = [["redis", "ECHO", "2-1"], ["reply", "$<a>"], ["rises", "1-9", "<a>", "2-1"]]
        with pytest.raises(Wrong, match="do not rise"):
            Runner(connection, folder()).run(rises)


@pytest.mark.parametrize(
    ("expected", "value", "same"),
    [
        ("$a", "$a", True),
        ("$1", ":1", False),
        (":<n>", ":17", True),
        ("$<n>", "$17-3", True),
        ("$<n>", "$x", False),
        ("$<n>", "$", False),
        (":<1..5>", ":5", True),
        (":<1..5>", ":6", False),
        (":<-5..5>", ":-5", True),
        ("-FULL <...>", "-FULL x=1", True),
        ("$a <n> b", "$a 5 b", True),
        ("$a <n> b", "$a b", False),
        ("$<known>", "$7-1", True),
        ("$<known+2>", "$7-3", True),
        ("$<known+2>", "$7-1", False),
        ("$<known> <n>", "$7-1 4", True),
    ],
)
def test_placeholders(expected: str, value: str, same: bool) -> None:
    names = {"known": "7-1"}
    assert matches(expected, value, names) is same
    assert names["known"] == "7-1"


def test_the_commands_of_the_page_run_as_printed(case_server: Server) -> None:
    page = (folder() / "conformance/README.md").read_text()
    commands = re.findall(r"^\$ ((?:lua|node).*?)(?:  +#.*)?$", page, re.M)
    assert commands.pop(4) == "lua/conformance/routing.sh"  # `test_vectors` runs it.
    assert commands.pop() == "lua/conformance/entries.sh 127.0.0.1 7777"  # And `test_shell` this.
    assert [each.split()[0] for each in commands] == ["lua/conformance/run.sh", "node"] * 2
    for command in commands[2:]:  # The first two run all cases, as `reports` does.
        if not shutil.which("redis-cli" if command.startswith("lua") else "node"):
            pytest.skip("there is no redis-cli or no node here")
        with case_server.client() as client:
            client.flushall()
        done = subprocess.run(
            ["bash", "-c", command.replace("7777", str(case_server.port))],
            cwd=folder().parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "quarantine: the partition stops until an operator resumes it" in done.stdout


@pytest.mark.parametrize("runner", ["run.sh", "run.mjs"])
def test_a_server_with_data_is_left_alone(case_server: Server, runner: str) -> None:
    program = "redis-cli" if runner == "run.sh" else "node"
    if not shutil.which(program):
        pytest.skip(f"there is no {program} here")
    path, port = str(folder() / "conformance" / runner), str(case_server.port)
    command = [path] if runner == "run.sh" else ["node", path]
    with case_server.client() as client:
        client.flushall()
        client.set("precious", "1")
        done = subprocess.run(
            [*command, "127.0.0.1", port], capture_output=True, text=True, check=False
        )
        assert client.get("precious") == b"1"
        client.flushall()
    assert done.returncode == 2
    assert f"There is no empty Redis at 127.0.0.1 {port}: DBSIZE says 1" in done.stderr
