"""Have the image that the Dockerfile in `examples/deploy` begins with: pulled, or else made of this
Python, with the packages that a build inside may install."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.docker.images import Missing, docker

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
NAME = f"python:{VERSION}-slim"
#: What a build and a worker need besides Python.
_PROGRAMS = ("/bin/sh", "/usr/bin/env")
_ZONES = Path("/usr/share/zoneinfo")
_LIBRARIES = (
    "libgcc_s",
    "libstdc++",
    "libdl",
    "libm",
    "libpthread",
    "libresolv",
    "librt",
    "libutil",
)


def ensure_python(wheels: Path) -> str:
    """Make sure that the image is here and return how it came. `wheels` has the packages, for an
    image that is made here: there, pip asks no index. Raises Missing."""
    if docker("pull", "--quiet", NAME, timeout=300).returncode == 0:
        return "was pulled"
    if sys.platform != "linux":
        raise Missing(f"{NAME} cannot be pulled, and only Linux can make it")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _fill(root, wheels)
        changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", f'CMD ["python{VERSION}"]']
        options = [word for change in changes for word in ("--change", change)]
        pack = ["tar", "-C", folder, "-c", "."]
        command = ["docker", "import", *options, "-", NAME]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
            done = subprocess.run(command, stdin=packed.stdout, capture_output=True, check=False)
    if done.returncode or packed.returncode:
        raise Missing(f"docker import of {NAME} failed: {done.stderr.decode().strip()}")
    return f"was made of {sys.base_prefix}"


def _fill(root: Path, wheels: Path) -> None:
    for directory in ("tmp", "root", "usr/local/bin", "etc", "usr/bin"):
        (root / directory).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "bin").symlink_to("usr/bin")
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    unwanted = shutil.ignore_patterns(
        "test", "__pycache__", "site-packages", "dist-packages", "*.a"
    )
    home = root / "usr/local/lib" / stdlib.name
    shutil.copytree(stdlib, home, ignore=unwanted, symlinks=True)
    program = Path(sys.base_prefix) / "bin" / f"python{VERSION}"
    shutil.copy(program, root / "usr/local/bin")
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(f"python{VERSION}")
    for each in _PROGRAMS:
        shutil.copy(Path(each).resolve(), root / "usr/bin" / Path(each).name)
    libraries = {path for file in _binaries(root) for path in _libraries(file)}
    # What Debian has in any case, and packages with compiled parts rely on.
    loaders = {path.parent for path in libraries}
    libraries |= {
        path for folder in loaders for name in _LIBRARIES for path in folder.glob(f"{name}.so.*")
    }
    for library in libraries:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    if _ZONES.exists():
        shutil.copytree(_ZONES, root / _ZONES.relative_to("/"), symlinks=True)
    shutil.copytree(wheels, root / "wheels")
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")


def _binaries(root: Path) -> list[Path]:
    return [
        *(root / "usr/local/bin").glob(f"python{VERSION}"),
        *(root / "usr/bin").iterdir(),
        *root.glob("usr/local/lib/*/lib-dynload/*.so"),
    ]


def _libraries(program: Path) -> list[Path]:
    """The shared libraries that a program loads, by the paths it looks for."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed.stdout)]
