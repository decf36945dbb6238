"""Every script does what its header says, and the check of that finds planted faults."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.errors import BY_WORD
from runnel.protocol.scripts import folder, sources
from tests.lua.headers import problems

PREFIX = keys.partition("APP", "SOURCE", "N", "STREAM")  # type: ignore[arg-type]
GROUP = keys.group("APP", "STREAM", "PROCESSOR")
SNAPSHOT = keys.snapshot(PREFIX, "SNAPSHOT", "PROCESSOR")
PATTERNS = {
    keys.log(PREFIX),
    keys.meta(PREFIX),
    keys.producers(PREFIX),
    keys.numbers(PREFIX),
    keys.dedupe(PREFIX, "KEY"),
    keys.delayed(PREFIX),
    keys.delayed_request(PREFIX, "KEY"),
    keys.delayed_wake("APP", "STREAM"),
    keys.state(PREFIX, "PROCESSOR"),
    keys.table(PREFIX, "NAME"),
    keys.outbox(PREFIX, "PROCESSOR"),
    keys.parked(PREFIX, "PROCESSOR"),
    keys.parked_keys(PREFIX, "PROCESSOR"),
    keys.replay(PREFIX, "PROCESSOR"),
    keys.postponed(PREFIX, "PROCESSOR"),
    keys.expiry(PREFIX, "NAME"),
    SNAPSHOT,
    keys.table(SNAPSHOT, "NAME"),
    keys.table(keys.restoring(SNAPSHOT), "NAME"),
    keys.outbox(PREFIX, "PROCESSOR"),
    keys.plan(GROUP),
    keys.members(GROUP),
    keys.sessions(GROUP),
    keys.wake(GROUP),
    keys.wake(keys.app_scope("APP")),
    keys.leader("APP"),
    keys.ticks("APP"),
}
SCRIPTS = {name: source.decode() for name, source in sources().items()}


def check(source: str) -> list[str]:
    return problems(source, set(BY_WORD), PATTERNS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_what_its_header_says(name: str) -> None:
    assert check(SCRIPTS[name]) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("commit", "local log, meta, state = KEYS", "local log, state, meta = KEYS"),
        ("commit", "'FENCED epoch=", "'FENCE epoch="),
        ("commit", "-- ERROR    CONFLICT", "-- ERROR    STALE_GRANT"),
        ("commit", "-- KEYS[3]", "-- KEYS[4]"),
        ("commit", "local paused = ", "paused = "),
        ("commit", "if release == '1' then", "if release == '1' then leaked = 1"),
        ("append", "local name = string", "name = string"),
        ("append", "for _, reply in ipairs", "for _, reply in iparis"),
        ("tick", "return {1, 0}", "return {1, tonumbr(0)}"),
        ("tick", "return {1, 0}", "return {1, 0"),
        ("claim", "local member, grant,", "local grant, member,"),
        ("claim", "local member, grant,", "local who, grant,"),
        ("claim", "-- ARGV[3]  hash ", "-- ARGV[3]  hasher "),
        ("claim", "= ARGV[1], ARGV[2], ARGV[3]", "= ARGV[1], ARGV[3], ARGV[2]"),
        ("commit", "prev, next_id, count", "next_id, prev, count"),
        ("transact", "unpack(ARGV, 1, 7)", "unpack(ARGV, 2, 8)"),
        ("commit", "release = unpack(ARGV, 1, 7)", "release = ARGV[1], ARGV[9]"),
        ("append", "KEYS[1], KEYS[2], KEYS[3]", "KEYS[1], KEYS[2], KEYS[4]"),
        ("append", ":STREAM:producers", ":STREAM:senders"),
        ("describe_group", "flags=no-writes,", "flags="),
        ("tick", "return redis.error_reply('BADARG field=instant')", "error('BADARG instant')"),
        ("sync", "-- BOUND ", "-- BOUNDS"),
        ("sync", "-- REPEAT ", "-- REPEATS"),
        ("sync", ":wake\n", ":wakes\n"),
        ("sync", "-- PUBLISHES runnel:{APP:STREAM@PROCESSOR}:wake\n", ""),
        ("revoke", "redis.pcall('PUBLISH'", "redis.pcall('SPUBLISH'"),
    ],
)
def test_a_planted_fault_is_found(name: str, old: str, new: str) -> None:
    assert old in SCRIPTS[name]
    assert check(SCRIPTS[name].replace(old, new, 1))


BLOCKS = Path(__file__).parents[2] / "scripts" / "lua-blocks"


def test_shared_blocks_are_copied_into_the_scripts_that_have_them(tmp_path: Path) -> None:
    shutil.copytree(folder(), tmp_path / "lua")
    (tmp_path / "scripts").mkdir()
    shutil.copy(BLOCKS, tmp_path / "scripts")
    program = [sys.executable, str(tmp_path / "scripts" / "lua-blocks")]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)

    assert run("--check").returncode == 0
    clock = tmp_path / "lua" / "shared" / "clock.lua"
    clock.write_text(clock.read_text() + "-- more\n")
    stale = run("--check")
    assert stale.returncode == 1
    assert "tick.lua" in stale.stderr
    assert "check_acl.lua" not in stale.stderr, "it has no such block"
    assert run().returncode == run("--check").returncode == 0
    assert "-- more\n-- <<< clock\n" in (tmp_path / "lua" / "tick.lua").read_text()
    clock.unlink()
    assert "there is no lua/shared/clock.lua" in run().stderr
    clock.write_text("")
    (tmp_path / "lua" / "shared" / "idle.lua").write_text("")
    assert "no script has the block lua/shared/idle.lua" in run().stderr


@pytest.mark.parametrize("name", SCRIPTS)
async def test_redis_names_a_script_by_the_sha1_of_its_file(redis: Redis, name: str) -> None:
    source = sources()[name]
    loaded = await redis.script_load(source.decode())
    digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    assert (loaded.decode() if isinstance(loaded, bytes) else loaded) == digest


def test_every_error_word_has_an_exception_and_every_exception_is_raised_by_a_script() -> None:
    raised = {word for source in SCRIPTS.values() for word in BY_WORD if f"'{word}" in source}
    assert raised == set(BY_WORD)


def test_the_protocol_page_lists_every_error_and_every_script() -> None:
    page = (folder() / "README.md").read_text()
    words = set(re.findall(r"^\| ([A-Z_]{4,}) \|", page, re.M))
    assert words == set(BY_WORD)
    assert {name for name in SCRIPTS if f"`{name}`" not in page} == set()


def test_every_script_has_a_file_of_tests() -> None:
    folder_of_tests = Path(__file__).parent
    assert [name for name in SCRIPTS if not (folder_of_tests / f"test_{name}.py").exists()] == []
