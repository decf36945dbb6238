"""Have the images of the Docker tests: already here, pulled, or else built from local servers.

A local image holds one server program of this machine and its libraries, under the name of the
official image, so that the Compose file is the same everywhere. Run as
``python -m tests.docker.images``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runnel.embedded.binary import Binary, binaries


@dataclass(frozen=True, slots=True)
class Image:
    """An image and which server program may stand in for it."""

    name: str
    kind: str
    major: int

    @property
    def program(self) -> str:
        """The command that the official image has for its server."""
        return f"{self.kind}-server"


IMAGES = (Image("redis:7", "redis", 7), Image("valkey/valkey:9", "valkey", 9))


class Missing(Exception):
    """An image that can neither be pulled nor built here."""


def ensure(image: Image) -> str:
    """Make sure that the image is here and return how it came. Raises Missing."""
    if docker("image", "inspect", image.name, timeout=30).returncode == 0:
        return "is here"
    pulled = docker("pull", "--quiet", image.name, timeout=300)
    if pulled.returncode == 0:
        return "was pulled"
    for binary in binaries():
        if binary.kind == image.kind and binary.version[0] == image.major:
            _build(image, binary)
            return f"was built from {binary.path} ({binary})"
    raise Missing(
        f"no server program for {image.name} on this machine, and it cannot be pulled: "
        f"{pulled.stderr.strip().splitlines()[-1:]}"
    )


def _build(image: Image, binary: Binary) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for directory in ("data", "tmp", "usr/local/bin"):
            (root / directory).mkdir(parents=True)
        shutil.copy(binary.path, root / "usr/local/bin" / image.program)
        for library in _libraries(binary.path):
            target = root / library.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        archive = root / "tmp" / "root.tar"
        subprocess.run(
            ["tar", "-C", folder, "-cf", archive, "--exclude=./tmp/root.tar", "."], check=True
        )
        changes = ["ENV PATH=/usr/local/bin", "WORKDIR /data", f'CMD ["{image.program}"]']
        options = [word for change in changes for word in ("--change", change)]
        imported = docker("import", *options, str(archive), image.name, timeout=120)
        if imported.returncode:
            raise Missing(f"docker import of {image.name} failed: {imported.stderr.strip()}")


def _libraries(program: Path) -> list[Path]:
    """The shared libraries that the program loads, by the paths it looks for; none if static."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed.stdout)]


def docker(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """A command of Docker's, to its end."""
    command = ["docker", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {timeout:.0f} s")


def main() -> int:
    """Ensure every image and say how; 0 if all are here."""
    complete = True
    for image in IMAGES:
        try:
            print(f"{image.name} {ensure(image)}")
        except Missing as error:
            print(error, file=sys.stderr)
            complete = False
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
