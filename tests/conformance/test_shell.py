"""A shell with redis-cli checks every entry of lua/conformance, and sees what is wrong there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from tests.conformance.test_vectors import ENTRIES, READABLE
from tests.conformance.vectors import FILES, FOLDER, text_of
from tests.servers import Server, free_port

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-cli"), reason="there is no redis-cli on this machine"
)
Lines = list[dict[str, Any]]
CANONICAL = [each["name"] for each in READABLE if each.get("canonical")]


class Shell:
    """Runs ``entries.sh`` in a copy of what it needs."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.port = server.port
        self.folder = folder
        shutil.copytree(FOLDER / "entries", folder / "entries")
        for name in ("entries.sh", "entries.jsonl"):
            shutil.copy(FOLDER / name, folder / name)

    def run(self, lines: Lines | None = None) -> dict[str, str]:
        """For each entry what is wrong with it, or ``ok``."""
        if lines is not None:
            (self.folder / "entries.jsonl").write_text(text_of(lines))
        done = self.call(self.port)
        found = re.findall(
            r"^(not ok|ok) \d+ - (.*)(?:\n# entries.jsonl:\d+: (.*))?$", done.stdout, re.M
        )
        said = {name: wrong or word for word, name, wrong in found}
        assert done.returncode == (0 if set(said.values()) == {"ok"} else 1), done.stdout
        return said

    def call(self, port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "entries.sh"), "127.0.0.1", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def shell(case_server: Server, tmp_path: Path) -> Shell:
    return Shell(case_server, tmp_path)


def test_a_shell_reads_every_entry_and_writes_nothing(shell: Shell, case_server: Server) -> None:
    assert list(shell.run().items()) == [(each["name"], "ok") for each in ENTRIES]
    with case_server.client() as client:
        assert client.dbsize() == 0


def changed(lines: Lines, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Lines:
    return [each | change(each) for each in lines]


@pytest.mark.parametrize(
    ("lines", "change", "said"),
    [
        (READABLE, lambda line: {"values": {**line["values"], "x": 1}}, "it has other values"),
        (READABLE, lambda line: {"headers": {"x": "1"}}, "it has other headers"),
        (READABLE, lambda line: {"refused": True}, "it must be refused"),
        (READABLE, lambda line: {"entry": line["entry"][:1]}, "it must be read: "),
        (ENTRIES, lambda line: {"sorted": True}, "nobody knows its member sorted"),
        (
            [each for each in ENTRIES if "refused" in each],
            lambda line: {"entry": READABLE[0]["entry"]},
            "it must be refused",
        ),
        (
            [each for each in READABLE if each["name"] in CANONICAL and "json" in each["name"]],
            lambda line: {"entry": [line["entry"][0], line["entry"][1] + "20"]},
            "these values are written with other bytes",
        ),
    ],
)
def test_a_planted_change_in_a_vector_is_seen(
    shell: Shell, lines: Lines, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    found = shell.run(changed(lines, change))
    assert len(found) == len(lines)
    assert [wrong for wrong in found.values() if not wrong.startswith(said)] == []


@pytest.mark.parametrize("serializer", [MsgpackSerializer, JSONSerializer])
def test_a_planted_change_of_the_form_of_an_entry_is_seen(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, serializer: type[Any]
) -> None:
    dumps: Callable[[Any, dict[str, Any]], bytes] = serializer.dumps

    def reversed_names(self: Any, value: dict[str, Any]) -> bytes:
        return dumps(self, dict(reversed(value.items())))

    monkeypatch.setattr(serializer, "dumps", reversed_names)
    found = shell.run(list(FILES["entries.jsonl"]()))
    of_it = [each for each in CANONICAL if each.startswith(f"{serializer.name}, ")]
    wrong = {name for name, said in found.items() if said != "ok"}
    assert wrong == {each for each in of_it if "empty" not in each}


#: A module, what stands in it, what is planted, and an entry that sees it.
PLANTED = [
    ("bytes", "if not count or", "if false and", "json that is not UTF-8"),
    ("bytes", "if count > #bytes", "if false and count > #bytes", "an lz4 frame that is cut off"),
    ("bytes", "error({refused = reason})", "error(reason)", "half a field"),
    ("json", "math.abs(value) == math.huge", "false", "json with a number that is too large"),
    ("json", "(high - 0xd800) * 0x400", "high * 0x400", "msgpack, flat"),
    (
        "json",
        "value = token ==",
        "value = tostring(tonumber(token)), was = token ==",
        "json, limits",
    ),
    ("msgpack", "bytes, sign = negated(bytes), '-'", "sign = '-'", "msgpack, negative"),
    ("msgpack", "{kind = 'bytes', value", "{kind = 'text', value", "msgpack, bytes"),
    ("msgpack", "'>d'", "'<d'", "msgpack, floats"),
    ("msgpack", "  input.finish()\n", "", "msgpack with bytes behind its end"),
    ("msgpack", "{2 ^ 8, '\\204', 1}, ", "", "msgpack, positive"),
    ("lz4", "2654435761", "2654435762", "msgpack, lz4 frame"),
    ("lz4", "band(token, 15)) + 4", "band(token, 15)) + 3", "json, lz4 frame"),
    ("lz4", "  input.finish()\n", "", "an lz4 frame with bytes behind its end"),
    ("gzip", "~= crc32(found)", "== nil", "gzip with a wrong checksum"),
    ("gzip", "bits(4) + 4", "bits(4) + 3", "msgpack, gzip"),
    ("vectors", "'^@(.*)$'", "'^#(.*)$'", "headers"),
    ("vectors", "payload ~= '1'", "false", "a primitive form that is not known"),
]


@pytest.mark.parametrize(("module", "right", "wrong", "vector"), PLANTED)
def test_a_decoder_that_is_wrong_fails(
    shell: Shell, module: str, right: str, wrong: str, vector: str
) -> None:
    path = shell.folder / f"entries/{module}.lua"
    source = path.read_text()
    assert source.count(right) >= 1
    path.write_text(source.replace(right, wrong))
    assert shell.run()[vector] != "ok"


def test_a_check_that_did_not_run_has_not_passed(shell: Shell) -> None:
    gone = shell.call(free_port())
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "Could not connect" in gone.stderr
    path = shell.folder / "entries/lz4.lua"
    path.write_text(path.read_text() + "end")
    broken = shell.call(shell.port)
    assert broken.returncode == 2
    assert f"Bail out! Redis has not checked the {len(ENTRIES)} lines: ERR" in broken.stdout
