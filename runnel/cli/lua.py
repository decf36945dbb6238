"""The commands ``runnel lua list``, ``show``, ``verify`` and ``acl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from runnel import keys
from runnel.cli import exits, lua_view
from runnel.cli.output import report
from runnel.cli.running import with_scripts
from runnel.cli.target import load_app, near
from runnel.cli.urls import REDIS_URL
from runnel.connection.durability import Durability
from runnel.connection.environment import url_of_environment
from runnel.connection.url import parse
from runnel.connection.url_text import redacted
from runnel.operations import loaded_scripts
from runnel.preflight.roles import ROLES, Role, rule
from runnel.protocol.manifest import manifest
from runnel.protocol.scripts import PROTOCOL, Scripts, sources, version
from runnel.settings import Settings

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_APP = click.option("--app", "app_name", help="The app, if no TARGET is given.")


@click.group(
    epilog=exits.epilog(
        "runnel lua list",
        "runnel lua show commit",
        "runnel lua verify --redis-url redis://HOST",
        "runnel lua acl --app shop",
        codes=(),
    )
)
def lua() -> None:
    """Look at the Lua scripts: what they are, what Redis has of them, what users need for them."""


@lua.command(
    "list",
    short_help="Show the scripts of this installation.",
    epilog=exits.epilog(
        "runnel lua list", "runnel lua list --json | jq .script_set", codes=exits.LOCAL
    ),
)
@_JSON
def list_(as_json: bool) -> None:
    """Show the scripts of this installation: name, SHA-1, scope, and what each is for.

    The script set identifies all of them together; `runnel inspect` shows that of each member.
    SCOPE says whose keys a script touches: those of one partition, of one group, or of an app.
    """
    found = manifest()["scripts"]
    if as_json:
        report(json.dumps({"script_set": version(), "protocol": PROTOCOL, "scripts": found}))
    else:
        report("\n".join(lua_view.listed(found, version(), PROTOCOL)))


@lua.command(
    short_help="Print a script.",
    epilog=exits.epilog(
        "runnel lua show commit | less",
        "runnel lua show commit | sha1sum",
        codes=(*exits.LOCAL, exits.NO_VALUE),
    ),
)
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Print a script, to the byte: its SHA-1 is the name that Redis calls it by.

    The lines at its beginning say what its keys, arguments, replies and errors mean. With --json
    they are printed as `runnel lua list --json` has them.
    """
    name = name.removesuffix(".lua")
    if name not in sources():
        hint = near(name, list(sources())) or f"; there is {', '.join(sources())}"
        exits.fail(f"there is no script {name!r}{hint}", exits.NO_VALUE)
    if as_json:
        (found,) = (each for each in manifest()["scripts"] if each["name"] == name)
        report(json.dumps(found))
    else:
        report(sources()[name].decode().removesuffix("\n"))


@lua.command(
    short_help="Compare them with a Redis and its workers.",
    epilog=exits.epilog(
        "runnel lua verify example:app",
        "runnel lua verify --redis-url redis://HOST --app shop --json",
    ),
)
@click.argument("target", required=False)
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis. Sufficient without a TARGET.")
@_APP
@_JSON
def verify(target: str | None, redis_url: str | None, app_name: str | None, as_json: bool) -> None:
    """Compare the scripts of this installation with a Redis: which of them it has, which versions
    of the protocol its streams store, and which scripts live workers call.

    Exits with 4 if a stream has a newer protocol, or a live worker calls other scripts. That a
    script is not loaded is no fault: a client loads what it lacks when it calls it. Redis cannot
    list its scripts, so those of other versions and programs are only counted.
    """
    app = _app(target, app_name)
    url = redis_url or (load_app(target).settings.redis_url if target else url_of_environment())
    if not url:
        raise click.UsageError("give a TARGET such as example:app, or --redis-url")

    async def work(scripts: Scripts) -> dict[str, Any]:
        return await loaded_scripts.verify(scripts, app)

    seen = with_scripts(url, work)
    report(json.dumps(seen) if as_json else "\n".join(lua_view.verified(seen, redacted(url))))
    if not seen["is_this_version"]:
        exits.fail("Redis or its workers have another version, see above", exits.MISMATCH)


@lua.command(
    short_help="Show what Redis users must be permitted.",
    epilog=exits.epilog(
        "runnel lua acl --app shop",
        "runnel lua acl example:app --role worker --durability replica",
        "runnel lua acl --app shop --role viewer --json | jq .rules[0].commands",
        codes=exits.LOCAL,
    ),
)
@click.argument("target", required=False)
@_APP
@click.option(
    "--role",
    "roles",
    type=click.Choice(list(ROLES)),
    multiple=True,
    help="Only this role. May be repeated.",
)
@click.option("--user", help="Name of the user, with one --role; by default APP-ROLE.")
@click.option(
    "--durability",
    type=click.Choice(["primary", "replica", "fsync"]),
    help="The setting of the app: waiting for a replica or the disk takes three commands more.",
)
@click.option("--cluster", is_flag=True, help="Add what clients of a Redis Cluster need.")
@_JSON
def acl(
    target: str | None,
    app_name: str | None,
    roles: Sequence[Role],
    user: str | None,
    durability: Durability | None,
    cluster: bool,
    as_json: bool,
) -> None:
    """Show the least that a Redis user may be permitted for a role, as a command to paste.

    Replace PASSWORD, and paste the line into redis-cli. It takes away what that user could do
    before. The rule covers every feature of the role, whether an app uses it or not, and the keys
    of one app; without a TARGET and --app, of all apps. Nothing is read from Redis.
    """
    if user and len(roles) != 1:
        raise click.UsageError("--user goes with one --role.")
    if user:
        keys.check_name("user", user)
    name = _app(target, app_name)
    settings = load_app(target).settings if target else Settings.make()
    chosen = durability or settings.durability
    cluster = cluster or bool(target and parse(settings.redis_url).kind == "cluster")
    rules = [rule(each, name, user, chosen, cluster) for each in dict.fromkeys(roles or ROLES)]
    if as_json:
        report(json.dumps({"app": name, "rules": [lua_view.rule_json(each) for each in rules]}))
    else:
        report("\n\n".join(f"# {each.role}: {ROLES[each.role]}\n{each.text()}" for each in rules))


def _app(target: str | None, app_name: str | None) -> str | None:
    """The name of the app that the arguments name, if they do."""
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    if target:
        return load_app(target).name
    return None if app_name is None else keys.check_name("app", app_name)
