"""A primary that is cut off from the others for real: its container leaves their network."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError, TimeoutError

from runnel import App
from tests.docker.containers import ClusterContainers, SentinelContainers, started
from tests.docker.images import IMAGES, Image, Missing, ensure
from tests.load import KEYS, STRAY, Item, Load
from tests.nodes import SLOTS, ask

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        sys.platform != "linux", reason="no Docker engine whose containers have routes from here"
    ),
]


@pytest.fixture(params=IMAGES, ids=lambda image: image.kind)
def image(request: pytest.FixtureRequest, docker_compose_command: str) -> Image:
    """What the containers are made of."""
    image: Image = request.param
    try:
        ensure(image)
    except Missing as error:
        pytest.skip(str(error))
    return image


@pytest.fixture
def sentinels(
    image: Image, docker_compose_command: str, docker_compose_project_name: str, tmp_path: Path
) -> Iterator[SentinelContainers]:
    project = f"{docker_compose_project_name}sentinel"
    with started(docker_compose_command, "sentinel.yml", project, image, tmp_path):
        yield SentinelContainers(project)


@pytest.fixture
def cluster_of_containers(
    image: Image, docker_compose_command: str, docker_compose_project_name: str, tmp_path: Path
) -> Iterator[ClusterContainers]:
    project = f"{docker_compose_project_name}cluster"
    with started(docker_compose_command, "cluster.yml", project, image, tmp_path):
        yield ClusterContainers(project)


@pytest.mark.fault(13, 16, 22)
async def test_a_primary_cut_off_from_its_sentinels_takes_nothing_acknowledged_with_it(
    sentinels: SentinelContainers, app_name: str
) -> None:
    load = Load(app_name, sentinels.url)
    async with load.running():
        await load.goes_on()
        with sentinels.primary.cut_off():
            await asyncio.to_thread(sentinels.await_failover)
            # Clients on its side of the cut still see a primary, and what they send there will be
            # lost. Only a client that waits for a replica gets an error.
            assert "role:master" in ask(sentinels.beyond, "INFO", "replication")
            await send_beyond(app_name, sentinels.beyond.url, "primary")
            with pytest.raises(TimeoutError, match="no replica has it"):
                await send_beyond(app_name, sentinels.beyond.url, "replica")
        await load.goes_on()
        assert "role:slave" in ask(sentinels.primary, "INFO", "replication")


async def send_beyond(app_name: str, url: str, durability: str) -> None:
    """An event of a key of its own, which must not be in the log in the end."""
    app = App(app_name, redis_url=url, durability=durability, delivery_timeout=0.0)
    items = app.stream("items", record=Item, partition_by="key", partition_count=6)
    try:
        await items.send(Item(key=STRAY, number=0))
    finally:
        await app.close()


@pytest.mark.fault(22, 39)
async def test_a_master_cut_off_from_its_cluster_takes_nothing_acknowledged_with_it(
    cluster_of_containers: ClusterContainers, app_name: str
) -> None:
    cluster = cluster_of_containers
    load = Load(app_name, cluster.url)
    async with load.running():
        await load.goes_on()
        with cluster.masters[0].cut_off():
            await asyncio.to_thread(cluster.await_failover)
            # What the other masters have is not held up. Its replica waits for one of its own.
            await load.goes_on(*(key for key in KEYS if load.slot(key) >= SLOTS // 3))
            with pytest.raises(ResponseError, match=r"CLUSTERDOWN|cluster is down"):
                ask(cluster.beyond, "SET", "a key", "of the first slots")
        await load.goes_on()
        assert "role:slave" in ask(cluster.masters[0], "INFO", "replication")
