"""The example in lua/README.md, one lease by hand: running it prints what the page shows."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from runnel.protocol.scripts import folder
from tests.servers import Server

#: Ids, grants and epochs: they begin with the server's time.
_TIME = re.compile(r"\b\d{13}\b")


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="there is no redis-cli here")
def test_the_example_in_the_readme_prints_what_it_shows(server: Server) -> None:
    page = (folder() / "README.md").read_text()
    script, _, rest = page.partition("```bash\n")[2].partition("```")
    written = rest.partition("```text\n")[2].partition("```")[0]
    here = f'redis-cli() {{ command redis-cli -p {server.port} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euc", here + script],
        cwd=folder().parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [_TIME.sub("TIME", line.rstrip()) for line in done.stdout.splitlines()]
    assert said == _TIME.sub("TIME", written).splitlines()
