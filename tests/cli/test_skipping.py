"""`runnel processor resume --skip` shows what it gives up, and asks."""

from __future__ import annotations

import json

from runnel.cli.skipping import lines
from runnel.operations.readable import Reader
from runnel.operations.skipping import Failed
from tests.cli.conftest import GOOD, Run
from tests.cli.shop import vessel

STRICT = "tests.cli.shop:strict"


def states(run: Run) -> list[str]:
    seen = json.loads(run("inspect", "tests.cli.shop:app", "--json").stdout)["processors"]
    (found,) = (each for each in seen if each["name"] == "strict")
    return [each["state"] for each in found["partitions"]]


def test_a_skip_shows_the_events_and_asks(run: Run, spawn: Run) -> None:
    sent: dict[str, str] = {}
    for key in range(1, 50):
        partition, event = run(
            "send", "tests.cli.shop:vessel", GOOD.replace("1,", f"{key},", 1)
        ).stdout.split()
        sent.setdefault(partition, event)
        if len(sent) == 2:
            break
    assert spawn("worker", "tests.cli.shop:app", "--processors", "strict", "--burst").code == 11
    resume = ("processor", "resume", STRICT, "--skip")

    nobody = run(*resume)
    assert nobody.code == 2
    assert "nothing was skipped or resumed, as nobody answered: --yes" in nobody.stderr
    for partition, event in sent.items():
        assert f"partition {partition}: event {event}, key " in nobody.stdout
    assert nobody.stdout.count('  record: {"order_id": ') == 2
    assert "2 partitions of strict have a failed event: --partition N chooses" in nobody.stderr
    assert "They become dead letters in vessel.strict.dead" in nobody.stderr
    assert "Skip these 2 events? [y/N]" in nobody.stderr
    first = next(iter(sent))
    no = run(*resume, "--partition", first, stdin="n\n")
    assert no.code == 1
    assert "Skip this event? [y/N]" in no.stderr
    assert "chooses one" not in no.stderr
    assert states(run).count("quarantined") == 2

    yes = run(*resume, "--partition", first, stdin="y\n")
    assert yes.code == 0, yes.stderr
    assert f"event {sent[first]} kept as a dead letter in vessel.strict.dead" in yes.stdout
    assert states(run).count("quarantined") == 1
    assert run("processor", "resume", STRICT).code == 0, "without --skip there is no question"
    assert "quarantined" not in states(run)


def test_an_event_that_cannot_be_decoded_is_shown_with_its_fields() -> None:
    reader = Reader(vessel.spec, {vessel.name: vessel.spec})
    shown = lines(reader, 3, Failed("7-0", 1, "DecodeError: x\ny", [b"name", b"\xffmal\x1b[m"]))
    assert shown[0] == "partition 3: event 7-0, failed 1 time: DecodeError: x y"
    assert shown[1].startswith("  unreadable: ")
    assert shown[2] == r'  fields: {"name": "\\xffmal\u001b[m"}'
    gone = lines(reader, 3, Failed("7-0", 4, "ValueError: x", None))
    assert gone == [
        "partition 3: event 7-0, failed 4 times: ValueError: x",
        "  the event itself is gone",
    ]
