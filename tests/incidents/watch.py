"""The one who has the night watch: reads the first screen, and types what it says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field

from runnel.cli import runbooks
from tests.incidents.scene import Scene

#: A command on a screen: indented, and perhaps with a comment behind it.
_COMMAND = re.compile(r"^ +((?:runnel|kill) .*?)(?: +# .*)?$", re.M)


@dataclass(frozen=True)
class Screen:
    """What a command has printed, and its exit code."""

    text: str
    code: int
    #: The commands that it names, in their order.
    commands: list[str] = field(default_factory=list)

    @property
    def sections(self) -> list[str]:
        """The sections of the runbooks that it names."""
        named = re.findall(rf"see {re.escape(runbooks.PAGE)}((?:#[\w-]+(?:, )?)+)", self.text, re.I)
        return [each for line in named for each in re.findall(r"#([\w-]+)", line)]


class Watch:
    """Types commands in the directory of the shop. `options` are those of `inspect` and `check`."""

    def __init__(self, scene: Scene, *options: str) -> None:
        self._scene = scene
        self._options = options

    def inspect(self, *arguments: str) -> Screen:
        """The screen of `runnel inspect`; each section that it names is one of ours."""
        return self._look("inspect", *arguments, *self._options)

    def check(self, *arguments: str) -> Screen:
        """What `runnel check` says."""
        return self._look("check", *arguments, *self._options)

    def type(self, command: str, answer: str = "") -> Screen:
        """Run a command that a screen has named, with what the runbooks have for MODULE:APP."""
        words = shlex.split(command.replace("MODULE:APP", "shop:app"))
        if words[0] == "kill":
            os.kill(int(words[1]), signal.SIGTERM)
            return Screen("", 0)
        if words[1] == "worker":
            self._scene.workers.start(*words[3:])
            return Screen("", 0)
        return self._run(*words[1:], answer=answer)

    def python(self, program: str) -> None:
        """Run a program of the shop, to its end."""
        subprocess.run(
            [sys.executable, program], cwd=self._scene.folder, env=self._environment, check=True
        )

    def _look(self, *arguments: str) -> Screen:
        screen = self._run(*arguments)
        assert set(screen.sections) <= set(runbooks.SECTIONS), screen.text
        return screen

    def _run(self, *arguments: str, answer: str = "") -> Screen:
        done = subprocess.run(
            [sys.executable, "-m", "runnel", *arguments],
            cwd=self._scene.folder,
            env=self._environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout + done.stderr
        return Screen(text, done.returncode, _COMMAND.findall(text))

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "RUNNEL_REDIS_URL": self._scene.url}
