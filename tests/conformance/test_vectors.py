"""The Python client passes the vectors of lua/conformance, which other clients must pass, too."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import XXH64, key_bytes
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import DecodeError, PartitionKeyError
from runnel.record import Record, adapt
from tests.conformance.vectors import (
    FILES,
    FOLDER,
    key_of,
    refused_entries,
    routing,
    tagged,
    text_of,
    untagged,
)


class Anything(Record):
    """A record that every map of fields is."""


CODEC = EntryCodec(adapt(Anything), MsgpackSerializer())
SERIALIZERS: dict[bytes, Serializer] = {b"msgpack": MsgpackSerializer(), b"json": JSONSerializer()}


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


ROUTING = lines_of("routing.jsonl")
KEYS = [each for each in ROUTING if "refused" not in each]
ENTRIES = lines_of("entries.jsonl")
READABLE = [each for each in ENTRIES if "refused" not in each]


def entry_of(line: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in line["entry"]]


@pytest.mark.parametrize("line", KEYS, ids=lambda line: repr(line["key"]["value"])[:40])
def test_a_key_goes_to_its_partition(line: dict[str, Any]) -> None:
    data = key_bytes(key_of(kind=line["key"]["type"], text=line["key"]["value"]))
    number = XXH64()(data)
    assert (data.hex(), str(number)) == (line["bytes"], line["hash"])
    assert {count: number % int(count) for count in line["partition"]} == line["partition"]


@pytest.mark.parametrize("line", [each for each in ROUTING if "refused" in each], ids=str)
def test_what_is_no_key_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(PartitionKeyError):
        key_bytes(key_of(line["key"]["type"], line["key"]["value"]))


@pytest.mark.parametrize("line", READABLE, ids=lambda line: line["name"])
def test_an_entry_is_read(line: dict[str, Any]) -> None:
    entry = entry_of(line)
    if line.get("primitive"):
        assert dict(zip(entry[2::2], entry[3::2], strict=True)) == {
            name.encode(): text.encode() for name, text in line["values"].items()
        }
        return
    assert CODEC.plain(entry) == untagged(line["values"])
    assert CODEC.headers(entry) == line.get("headers", {})


@pytest.mark.parametrize(
    "line", [each for each in READABLE if each.get("canonical")], ids=lambda line: line["name"]
)
def test_an_entry_is_written_byte_for_byte(line: dict[str, Any]) -> None:
    tag, payload = entry_of(line)
    assert SERIALIZERS[tag].dumps(untagged(line["values"])) == payload


@pytest.mark.parametrize(
    "line", [each for each in ENTRIES if "refused" in each], ids=lambda line: line["name"]
)
def test_a_broken_entry_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(entry_of(line))


def test_the_files_have_every_vector() -> None:
    assert (FOLDER / "routing.jsonl").read_text() == text_of(routing()), (
        "run scripts/lua-conformance"
    )
    # A compressor of another version may write other bytes.
    assert [each["name"] for each in ENTRIES] == [each["name"] for each in FILES["entries.jsonl"]()]
    assert len([each for each in ENTRIES if "refused" in each]) == len(list(refused_entries()))


def test_values_that_json_cannot_say_are_tagged() -> None:
    values = {"most": 2**64 - 1, "data": b"\x00", "plain": [1, None, True, {"x": -(2**63)}]}
    assert tagged(values) == {
        "most": {"$int": "18446744073709551615"},
        "data": {"$bytes": "00"},
        "plain": [1, None, True, {"x": {"$int": "-9223372036854775808"}}],
    }
    assert untagged(json.loads(json.dumps(tagged(values)))) == values


def _routing_in_a_shell(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [str(folder / "conformance/routing.sh")], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_a_shell_finds_every_partition() -> None:
    status, lines = _routing_in_a_shell(FOLDER.parent)
    numbers = range(1, len(ROUTING) + 1)
    assert [line.split(" - ")[0] for line in lines] == [f"ok {n}" for n in numbers] + [lines[-1]]
    assert (status, lines[-1]) == (0, f"1..{len(ROUTING)}")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("165667C5", "165667C4", "its hash is not"),  # A prime.
        ("2 + ($1 & 1)", "2", "partitions, it is not in"),  # A bit of the unsigned number.
        ("state[i]=$found", "state[0]=$found", "its hash is not"),  # For 32 bytes and more.
        ('"${2,,}"', '"$2"', "its bytes are not"),
        ("*) return 1 ;;", '*) text "$2" ;;', "it must be refused"),
    ],
)
def test_a_shell_that_is_wrong_fails(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    copy = tmp_path / "conformance"
    shutil.copytree(FOLDER, copy)
    script = copy / "routing.sh"
    assert right in script.read_text()
    script.write_text(script.read_text().replace(right, wrong))
    status, lines = _routing_in_a_shell(tmp_path)
    assert status == 1
    assert any(said in line for line in lines)
