"""Each incident is on the first screen of `runnel inspect`, and what that names ends it.

The commands are typed as they stand there. What only people can do, such as mending a file, is done
as the section of the runbooks that the screen names says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.exceptions import ResponseError

from tests.fleet import SentinelFleet
from tests.incidents.clock import LIBRARY
from tests.incidents.dead_letters import CATALOGUE
from tests.incidents.every import INCIDENTS, find
from tests.incidents.incident import Incident
from tests.incidents.parked_keys import RATES
from tests.incidents.scene import Scene
from tests.incidents.stuck_handler import StuckHandler
from tests.incidents.watch import Watch
from tests.nodes import ask


@contextmanager
def incident(name: str) -> Iterator[tuple[Incident, Scene, Watch]]:
    """An incident that has begun."""
    found = find(name)
    assert found is not None
    options: tuple[str, ...] = ()
    if isinstance(found, StuckHandler):
        found.stalled_after = 0.5
        options = ("--stalled-after", "0.5")
    found.pace = 0.03
    with found.scene() as scene:
        found.begin(scene)
        yield found, scene, Watch(scene, *options)


def test_there_are_twelve() -> None:
    names = {each.name for each in INCIDENTS.values()}
    assert len(names) == len(INCIDENTS) == 12
    assert find("of no such name") is None


def test_a_poison_event_is_skipped() -> None:
    with incident("poison-event") as (found, scene, watch):
        screen = watch.inspect()
        assert "is quarantined: ValueError" in screen.text
        assert "order 900001 has a total of -1900 cents" in screen.text
        assert watch.check().code == watch.inspect("--fail-on", "quarantined").code == 11
        assert found.complaints(scene, 0)
        (resume,) = (each for each in screen.commands if " resume " in each)
        assert watch.type(f"{resume} --skip", "y\n").code == 0
        assert not found.complaints(scene)


def test_a_dead_server_is_started_again() -> None:
    with incident("dead-redis") as (found, scene, watch):
        for screen in (watch.inspect(), watch.check()):
            assert screen.code == 3
            assert "No Redis at" in screen.text
            assert screen.sections == ["redis-does-not-answer"]
        scene.server.start()
        assert not found.complaints(scene)
        with scene.redis() as redis:
            redis.flushall()
        # An empty server looks well as soon as the workers have registered again.
        scene.until(
            lambda: (
                [each[-28:] for each in found.complaints(scene, 0)]
                == ["server runs without its data"]
            ),
            "the missing data is the only complaint",
        )


def test_a_full_partition_is_freed_of_the_processor_that_nobody_runs() -> None:
    with incident("full-partition") as (found, scene, watch):
        screen = watch.inspect()
        assert "shop/orders is full" in screen.text
        assert "a-partition-is-full" in screen.sections
        assert watch.inspect("--fail-on", "full").code == 11
        assert watch.check().code == 12
        (remove,) = (each for each in screen.commands if " remove " in each)
        assert watch.type(remove, "y\n").code == 0
        assert not found.complaints(scene)
        assert watch.check().code == 0


def test_lost_workers_are_started_again() -> None:
    with incident("lost-worker") as (found, scene, watch):
        screen = watch.inspect()
        assert "shop/billing is down" in screen.text
        assert screen.sections == ["no-worker-runs"]
        assert watch.check().code == 12
        watch.type(screen.commands[0])
        assert not found.complaints(scene)


def test_a_worker_with_a_stuck_handler_is_ended() -> None:
    with incident("stuck-handler") as (found, scene, watch):
        screen = watch.inspect()
        assert "shop/billing is stalled" in screen.text
        assert screen.sections[0] == "a-handler-is-stuck"
        assert watch.check().code == 11
        (kill,) = (each for each in screen.commands if each.startswith("kill "))
        watch.type(kill)
        assert not found.complaints(scene)


def test_lost_events_are_named_and_sent_again() -> None:
    with incident("loss-by-trimming") as (found, scene, watch):
        screen = watch.inspect()
        assert "events were LOST before they were processed" in screen.text
        assert screen.sections == ["events-were-lost"]
        assert found.complaints(scene, 0)
        assert watch.inspect("--fail-on", "lost").code == watch.check().code == 11
        watch.python("again.py")
        (acknowledge,) = screen.commands
        assert "acknowledged" in watch.type(acknowledge).text
        assert not found.complaints(scene)
        assert watch.check().code == 0


def test_a_wrong_deploy_is_taken_back() -> None:
    with incident("wrong-deploy") as (found, scene, watch):
        screen = watch.inspect()
        assert "shop/billing is down" in screen.text
        watch.type(screen.commands[0])
        assert scene.workers.processes[-1].wait() == 4
        code = watch.inspect("shop:app")
        assert code.code == 4
        assert "was made with partition_count=4, the code says 8" in code.text
        assert code.sections == ["a-wrong-deploy"]
        shutil.copy(scene.folder / "releases/41/shop.py", scene.folder)
        watch.type(screen.commands[0])
        assert not found.complaints(scene)


def test_parked_keys_are_replayed() -> None:
    with incident("parked-keys") as (found, scene, watch):
        screen = watch.inspect()
        assert "of 1 key parked" in screen.text
        assert screen.sections == ["events-were-set-aside"]
        assert watch.inspect("--fail-on", "parked").code == 11
        checked = watch.check()
        assert (checked.code, checked.text[:23]) == (0, "ok, but: shop/billing: ")
        shown, replay = screen.commands
        assert "rates.json has no rate for CHF" in watch.type(shown).text
        (scene.folder / "rates.json").write_text(json.dumps({**RATES, "CHF": 1.1}))
        assert "add --execute" in watch.type(replay).text
        assert found.complaints(scene, 0)
        assert watch.type(f"{replay} --execute").code == 0
        assert not found.complaints(scene)


def test_dead_letters_are_replayed() -> None:
    with incident("dead-letters") as (found, scene, watch):
        screen = watch.inspect()
        assert "no room in orders.billing.dead" in screen.text
        assert "and no processor reads the stream" in screen.text
        assert screen.sections[:2] == ["events-were-set-aside", "a-partition-is-full"]
        assert " has failed " not in screen.text
        assert watch.inspect("--max-dead", "0").code == 10
        checked = watch.check()
        assert checked.code == 11
        assert "wait for room (runnel inspect shop/billing " in checked.text.replace(
            "waits", "wait"
        )
        assert " failing" not in checked.text
        shown, replay = (each for each in screen.commands if " dead" in each)
        assert "catalogue.json has no vase" in watch.type(shown).text
        (scene.folder / "catalogue.json").write_text(json.dumps({**CATALOGUE, "vase": 29}))
        assert watch.type(f"{replay} --execute").code == 0
        assert not found.complaints(scene)


def test_a_stream_that_nobody_reads_gets_its_processor() -> None:
    with incident("unread-stream") as (found, scene, watch):
        screen = watch.inspect()
        assert "shop/receipts is read by nobody" in screen.text
        # The orders may be full as well by now, because the receipts are.
        streams = ("nobody-reads-a-stream", "a-partition-is-full")
        assert next(each for each in screen.sections if each in streams) == streams[0]
        assert "an-event-keeps-failing" not in screen.sections
        assert "runnel processor add" not in screen.text
        assert watch.inspect("--fail-on", "unread").code == 11
        assert watch.check().code == 12
        (start,) = {each for each in screen.commands if "--processors post" in each}
        watch.type(start)
        assert not found.complaints(scene)
        assert watch.check().code == 0


def test_a_failover_that_does_not_come_gets_its_sentinels() -> None:
    with incident("failover") as (found, scene, watch):
        screen = watch.inspect()
        assert screen.code == watch.check().code == 3
        assert screen.sections == ["a-failover-does-not-come"]
        assert "SENTINEL CKQUORUM mymaster" in screen.text
        assert "(1 of 3 answers; " in screen.text
        fleet = scene.servers
        assert isinstance(fleet, SentinelFleet)
        with pytest.raises(ResponseError, match="NOQUORUM"):
            ask(fleet.sentinels[0], "SENTINEL CKQUORUM", "mymaster")
        for sentinel in fleet.sentinels[1:]:
            sentinel.start()
        assert not found.complaints(scene, 40.0)


@pytest.mark.skipif(LIBRARY is None, reason="the Debian package faketime is not installed")
def test_a_clock_that_was_set_back_is_put_right() -> None:
    with incident("clock") as (found, scene, watch):
        screen = watch.inspect()
        assert "the clock of the server was set back" in screen.text
        assert screen.sections == ["the-clock"]
        assert watch.check().code == 11
        (doctor,) = screen.commands
        assert "s behind this machine's" in watch.type(doctor).text
        assert found.complaints(scene, 0)
        scene.run_tool("set-clock", "+0")
        assert not found.complaints(scene)
        assert watch.check().code == 0
