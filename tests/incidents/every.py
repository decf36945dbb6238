"""Every incident by its number. The order tells nobody what a number is."""

from __future__ import annotations

from tests.incidents.clock import Clock
from tests.incidents.dead_letters import DeadLetters
from tests.incidents.dead_redis import DeadRedis
from tests.incidents.failover import Failover
from tests.incidents.full_partition import FullPartition
from tests.incidents.incident import Incident
from tests.incidents.lost_workers import LostWorkers
from tests.incidents.parked_keys import ParkedKeys
from tests.incidents.poison import Poison
from tests.incidents.stuck_handler import StuckHandler
from tests.incidents.trimmed import Trimmed
from tests.incidents.unread_stream import UnreadStream
from tests.incidents.wrong_deploy import WrongDeploy

INCIDENTS: dict[int, type[Incident]] = {
    1: ParkedKeys,
    2: DeadRedis,
    3: StuckHandler,
    4: FullPartition,
    5: Poison,
    6: LostWorkers,
    7: UnreadStream,
    8: WrongDeploy,
    9: Failover,
    10: DeadLetters,
    11: Trimmed,
    12: Clock,
}


def find(wanted: str) -> Incident | None:
    """The incident of a name or number, or None if there is none."""
    for number, kind in INCIDENTS.items():
        if wanted in (str(number), kind.name):
            return kind()
    return None
