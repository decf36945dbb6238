"""The command ``runnel check``."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from runnel.cli import exits
from runnel.cli.inspector import Inspector, assumed, choose
from runnel.cli.limits import WRONG, Limits, States
from runnel.cli.names import Names
from runnel.cli.numbers import Seconds
from runnel.cli.output import report
from runnel.cli.urls import REDIS_URL
from runnel.cli.verdict import ForNagios, Verdict, as_nagios, guarded, judged
from runnel.operations import inspection
from runnel.protocol.scripts import Scripts


@click.command(
    cls=ForNagios,
    epilog=exits.epilog(
        "runnel check --redis-url redis://HOST --max-lag 1000",
        "runnel check --app shop --member billing-1",
        "runnel check --app shop --nagios",
        codes=(*exits.ASKS, exits.LAG, exits.NOT_PROCESSING, exits.NO_MEMBER),
    ),
)
@click.argument("target", required=False)
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis. Sufficient without a TARGET.")
@click.option("--app", "app_name", help="Only this app, if no TARGET is given.")
@click.option(
    "--member",
    metavar="ID",
    help="Only whether this worker is a member of its groups: see `runnel worker --name`.",
)
@click.option(
    "--max-lag",
    type=click.IntRange(min=0),
    help="Exit 10 if the lag of a processor is more events.",
)
@click.option(
    "--max-dead",
    type=click.IntRange(min=0),
    help="Exit 10 if more dead letters of a processor are unread.",
)
@click.option(
    "--min-members",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Exit 12 if a processor has fewer live members.",
)
@click.option(
    "--fail-on",
    type=States(),
    multiple=True,
    default=(",".join(WRONG),),
    show_default=True,
    help="Exit 11 if a partition is in one of these states.",
)
@click.option(
    "--stalled-after",
    type=Seconds(0),
    default=inspection.STALLED_AFTER / 1000,
    show_default=True,
    help="Seconds that an event may take before its partition counts as stalled.",
)
@click.option(
    "--nagios",
    is_flag=True,
    help="One line with figures, and the exit codes of Nagios: 1 for lag and dead letters, 2, 3.",
)
def check(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    member: str | None,
    max_lag: int | None,
    max_dead: int | None,
    min_members: int,
    fail_on: tuple[tuple[str, ...], ...],
    stalled_after: float,
    nagios: bool,
) -> None:
    """Tell by exit code whether all is well, and why not.

    `ok, but:` names what needs someone although no limit is exceeded, such as parked events and
    dead letters: give --fail-on parked and --max-dead 0 to fail for these, too.

    Without --member, this judges what `runnel inspect` shows, for a cron job or an alarm. As a
    probe of one worker that would be wrong, since one quarantined partition would end all workers:
    give --member and the --name of the worker, or use `runnel worker --health-port`.

    Without a TARGET no code is imported, which is faster. Without --redis-url and RUNNEL_REDIS_URL,
    too, it asks redis://127.0.0.1:6379.
    """
    url, app = choose(target, redis_url, app_name)
    names = replace(app.names if app else Names(), redis_url=redis_url)
    inspector = Inspector(url, app, app_name, round(stalled_after * 1000))
    if member is not None:
        found = guarded(inspector, _member(inspector, member, app.name if app else app_name))
    else:
        states = {state for chosen in fail_on for state in chosen}
        limits = Limits(states, stalled_after, max_lag, max_dead, min_members)
        found = guarded(inspector, judged(inspector, limits, names))
    sys.exit(as_nagios(found) if nagios else _for_people(found, assumed(url)))


async def _member(inspector: Inspector, member: str, app: str | None) -> Verdict:
    from runnel.operations.group_members import groups_of

    groups = await groups_of(Scripts(inspector.client), member, app)
    if not any(groups.values()):
        where = ", ".join(groups) or f"any group{f' of {app}' if app else ''}"
        return Verdict(exits.NO_MEMBER, [f"{member} is no live member of {where}"])
    joined = [name for name, live in groups.items() if live]
    return Verdict(exits.OK, [], f"{member} is a member of {', '.join(joined)}")


def _for_people(found: Verdict, where: str) -> int:
    """Write the verdict. `where` says which Redis it is, if nobody has."""
    if found.code == exits.OK:
        report(f"ok{', but' if found.but else ''}: {found.told}")
    for reason in found.reasons:
        click.echo(reason, err=True)
    if found.see:
        click.echo(found.see, err=True)
    if where and found.code not in (exits.OK, exits.UNREACHABLE):
        click.echo(f"this was asked{where}: --redis-url names another one", err=True)
    return found.code
