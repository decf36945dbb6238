"""Servers in containers that belong together, and the cutting off of one from the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_docker.plugin import DockerComposeExecutor
from redis import Redis

from runnel.connection.connect import connect_sync
from tests.docker.images import Image, docker
from tests.fleet import DOWN_AFTER, SentinelFleet
from tests.nodes import acquaint, ask, form_cluster, state_of, until

HERE = Path(__file__).parent
#: The networks of the Compose files: what the servers call each other by, and the second way.
SERVERS, SIDE = "10.201.77", "10.201.78"


@dataclass(frozen=True)
class Container:
    """A service of a Compose project, and where it answers."""

    project: str
    service: str
    address: str
    port: int = 6379

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://{self.address}:{self.port}/0"

    def client(self) -> Redis:
        """A synchronous client; the caller closes it."""
        return connect_sync(self.url)

    def log(self) -> str:
        """What it has said so far."""
        return docker("logs", self._id(), timeout=30).stdout

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Disconnect it from the network of the servers for a while. It keeps running."""
        network, container = _find("network ls", self.project, "network=servers"), self._id()
        _must("network", "disconnect", network, container)
        try:
            yield
        finally:
            _must("network", "connect", "--ip", self.address, network, container)

    def _id(self) -> str:
        return _find("ps --all", self.project, f"service={self.service}")


class SentinelContainers:
    """A primary with a replica under three sentinels."""

    def __init__(self, project: str) -> None:
        self.primary = Container(project, "primary", f"{SERVERS}.11")
        #: The primary again, where it can be reached while it is cut off.
        self.beyond = Container(project, "primary", f"{SIDE}.11")
        self.replica = Container(project, "replica", f"{SERVERS}.12")
        self.sentinels = [
            Container(project, f"sentinel{n}", f"{SERVERS}.2{n}", 26379) for n in (1, 2, 3)
        ]
        for node in (self.primary, self.replica):
            until(node, lambda each: ask(each, "PING"))
        ask(self.replica, "REPLICAOF", self.primary.address, self.primary.port)
        acquaint(self.sentinels, replicas=1)

    @property
    def url(self) -> str:
        """The URL that names all sentinels."""
        addresses = ",".join(f"{each.address}:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{addresses}/{SentinelFleet.NAME}"

    def await_failover(self) -> None:
        """Wait until the sentinels name the replica as primary."""
        for sentinel in self.sentinels:
            until(sentinel, lambda each: state_of(each)[b"ip"].decode() == self.replica.address)


class ClusterContainers:
    """Three masters, each with a replica."""

    def __init__(self, project: str) -> None:
        nodes = [
            Container(project, f"{role}{number}", f"{SERVERS}.{first + number}")
            for role, first in (("master", 30), ("replica", 33))
            for number in (1, 2, 3)
        ]
        self.masters, self.replicas = nodes[:3], nodes[3:]
        #: The first master again, where it can be reached while it is cut off.
        self.beyond = Container(project, "master1", f"{SIDE}.31")
        for node in nodes:
            until(node, lambda each: ask(each, "PING"))
        form_cluster(self.masters, self.replicas, self._meet)

    def _meet(self, node: Container) -> None:
        ask(self.masters[0], "CLUSTER MEET", node.address, node.port)

    @property
    def url(self) -> str:
        """Names two nodes; a client finds the others."""
        return "redis+cluster://" + ",".join(f"{each.address}:6379" for each in self.masters[:2])

    def await_failover(self) -> None:
        """Wait until all that can know have the first master replaced by its replica."""
        for node in (*self.masters[1:], *self.replicas):
            until(node, lambda each: self.replicas[0].address in _owner_of_slot_0(each))


def _owner_of_slot_0(node: Container) -> str:
    slots = {first: owner for first, _, owner, *_ in ask(node, "CLUSTER SLOTS")}
    return slots[0][0].decode() if 0 in slots else ""


@contextmanager
def started(compose: str, file: str, project: str, image: Image, folder: Path) -> Iterator[None]:
    """The services of a Compose file, as containers of `image`. Into `folder` goes what they read:
    IMAGE, PROGRAM and FOLDER for Compose, and the configuration of the sentinels."""
    lines = (f"IMAGE={image.name}", f"PROGRAM={image.program}", f"FOLDER={folder}")
    (folder / "environment").write_text("\n".join(lines) + "\n")
    for number in (1, 2, 3):
        _write_sentinel(folder / f"sentinel{number}")
    command = f'{compose} --env-file "{folder}/environment"'
    services = DockerComposeExecutor(command, str(HERE / file), project)
    _clear_up()
    try:
        services.execute("up -d")
        yield
    finally:
        services.execute("down -v -t 0")


def _clear_up() -> None:
    """Remove what holds the networks of these files: left by a run that was killed, which could not
    do so itself. Two runs at a time would share the addresses anyway."""
    for network in _must("network", "ls", "--quiet", "--filter=driver=bridge").split():
        description = _must("network", "inspect", network)
        if f'"{SERVERS}.0/24"' in description or f'"{SIDE}.0/24"' in description:
            containers = _must("ps", "--all", "--quiet", f"--filter=network={network}").split()
            if containers:
                _must("rm", "--force", *containers)
            _must("network", "rm", network)


def _write_sentinel(folder: Path) -> None:
    lines = [
        "protected-mode no",
        f"sentinel monitor {SentinelFleet.NAME} {SERVERS}.11 6379 2",
        f"sentinel down-after-milliseconds {SentinelFleet.NAME} {DOWN_AFTER}",
        f"sentinel failover-timeout {SentinelFleet.NAME} 5000",
    ]
    folder.mkdir()
    file = folder / "sentinel.conf"
    file.write_text("\n".join(lines) + "\n")
    # The official image leaves root for a user of its own, who writes what it learns into it.
    folder.chmod(0o777)
    file.chmod(0o666)


def _find(listing: str, project: str, label: str) -> str:
    """The id of what Compose has made for this."""
    labels = (f"project={project}", label)
    filters = [f"--filter=label=com.docker.compose.{each}" for each in labels]
    return _must(*listing.split(), "--quiet", *filters).strip()


def _must(*command: str) -> str:
    done = docker(*command, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
