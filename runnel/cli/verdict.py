"""The verdict of `runnel check` and `runnel inspect --nagios` on a report."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.cli import exits, runbooks
from runnel.cli.event_loop import Runner
from runnel.cli.inspector import Inspector, assumed
from runnel.cli.limits import Limits, exceeded, tolerated
from runnel.cli.names import Names
from runnel.cli.output import report
from runnel.cli.running import explained
from runnel.cli.view import lag_text
from runnel.errors import RunnelError

#: Exit codes of Nagios and its kin.
_WARNING, _CRITICAL, _UNKNOWN = 1, 2, 3
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_AS_NAGIOS = {exits.OK: 0, exits.LAG: _WARNING}
_AS_NAGIOS |= dict.fromkeys((exits.UNREACHABLE, exits.NOT_PROCESSING, exits.NO_MEMBER), _CRITICAL)


@dataclass(frozen=True)
class Verdict:
    """What a check has found: the exit code, why, a summary with its figures, and where to read
    on. `but` is what needs someone although no limit is exceeded."""

    code: int
    reasons: list[str]
    summary: str = ""
    figures: str = ""
    see: str = ""
    but: Sequence[str] = ()

    @property
    def told(self) -> str:
        """The summary, after what needs someone."""
        return f"{'; '.join(self.but)} ({self.summary})" if self.but else self.summary


def guarded(inspector: Inspector, work: Coroutine[Any, Any, Verdict]) -> Verdict:
    """The verdict, also if Redis cannot be asked."""
    with Runner() as loop:
        try:
            return loop.run(work)
        except (RunnelError, RedisError, OSError) as error:
            message, code = explained(error, inspector.url)
            return Verdict(code, [f"error: {message}"])
        except KeyboardInterrupt:
            sys.exit(exits.INTERRUPTED)
        finally:
            loop.run(inspector.close())


async def judged(inspector: Inspector, limits: Limits, names: Names) -> Verdict:
    """The verdict on a report; its commands have these names. Raises as `Inspector.inspect`."""
    seen = await inspector.inspect()
    found = exceeded(seen, limits, names)
    but = [] if found else tolerated(seen, limits, names)
    totals, number = seen["totals"], len(seen["processors"])
    lag, dead, members = (totals[each] for each in ("lag_events", "dead_letters", "members"))
    sections = runbooks.of_report(seen) if found or but else []
    return Verdict(
        max((code for code, _ in found), default=exits.OK),
        [reason for _, reason in found],
        f"{number} processor{'' if number == 1 else 's'}, lag {lag_text(seen)}, "
        f"{members} worker{'' if members == 1 else 's'}{assumed(inspector.url)}",
        f"lag={_figure(lag)} dead_letters={_figure(dead)} parked={totals['parked']} "
        f"members={members}",
        runbooks.see(*sections) if sections else "",
        but,
    )


def as_nagios(found: Verdict) -> int:
    """Write the line that Nagios reads. Returns its exit code."""
    code = _AS_NAGIOS.get(found.code, _UNKNOWN)
    text = "; ".join(found.reasons) or f"{'but: ' if found.but else ''}{found.told}"
    text = " ".join(text.replace("|", "/").split())  # Nagios reads one line, up to a bar.
    report(f"RUNNEL {_WORDS[code]} - {text}{f' | {found.figures}' if found.figures else ''}")
    return code


class ForNagios(click.Command):
    """A command whose option --nagios always gets its line and its code, also if options are wrong
    or the app cannot be imported. The codes of other errors mean something else to Nagios."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """See `click.Command.make_context`, which reads the options."""
        if "--nagios" not in args:
            return super().make_context(info_name, args, parent, **extra)
        with _unknown_otherwise():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Command.invoke`."""
        if not ctx.params.get("nagios"):
            return super().invoke(ctx)
        with _unknown_otherwise():
            return super().invoke(ctx)


@contextmanager
def _unknown_otherwise() -> Iterator[None]:
    """Turn an error into the line for Nagios, and end the process with the code of UNKNOWN."""
    try:
        yield
        return
    except click.exceptions.Exit:
        raise  # After --help.
    except click.ClickException as error:
        text = error.format_message()
    except exits.Failed as failed:
        text = failed.message
    except RunnelError as error:
        text = str(error)
    except Exception as error:
        exits.say(traceback.format_exc(), "error")
        text = f"{type(error).__name__}, see stderr"
    sys.exit(as_nagios(Verdict(exits.USAGE, [f"error: {text}"])))


def _figure(value: int | None) -> str:
    """A figure; U is the word of Nagios for one that is unknown."""
    return "U" if value is None else str(value)
