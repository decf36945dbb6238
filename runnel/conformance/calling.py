"""Checks of the calls of a worker: membership, claims, commits, repeats."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

from runnel import keys
from runnel.conformance.case import Case, Findings
from runnel.conformance.contract import GROUP, PARTITIONS, STATES, parse_id
from runnel.conformance.history import ENDED, Call
from runnel.protocol.scripts import version

#: Calls that are repeated unchanged after NOSCRIPT. A `sync` has its next number.
_REPEATED = ("append", "commit", "transact", "claim", "register", "declare")
#: Seconds besides its limit that a repeat may come late, on a machine with much to do.
_SLACK = 3.5
#: Replies that an actor may not have read in time, one after the other.
_UNREAD = 5
#: Seconds in which a process that has ended may not have come to it.
_SOON = 0.5


def check_calling(case: Case, found: Findings) -> None:
    """Every check of this module."""
    for check in (_known, _syncs, _registered, _claims, _commits, _counts, _careful):
        check(case, found)
    for check in (_noscript, _time_limit, _released, _stale, _forgotten, _refused):
        check(case, found)


def _grouped(calls: list[Call], key: Callable[[Call], object]) -> dict[object, list[Call]]:
    groups: dict[object, list[Call]] = defaultdict(list)
    for each in calls:
        groups[key(each)].append(each)
    return groups


def _known(case: Case, found: Findings) -> None:
    strange = {(each.actor, each.name) for each in case.history.calls if not each.script}
    for actor, name in sorted(strange):
        found.add(
            "C13",
            f"a script was called that is none of this release, whose script set is {version()}",
            f"{actor} called {name}; {_script_set(case, actor)}",
        )
    for call in case.history.calls:
        allowed = "ACL failure" not in call.error  # So Redis says ERR, too.
        if call.refused in ("BADARG", "ERR") and call.script and allowed:
            rule = "C7" if "entries" in call.error else "C13"
            found.add(rule, f"a call of {call.script} was malformed", call.shown())


def _script_set(case: Case, actor: str) -> str:
    """Which release an actor says its scripts are from, in the description of its `sync`."""
    said = [
        call.arg(9).split()
        for call in case.history.calls
        if call.actor == actor and call.keys[:1] == [keys.plan(GROUP).encode()]
    ]
    named = {words[4] for words in said if len(words) > 4 and "=" not in words[4]}
    if not named:
        return "nothing says which script set it has: see Versions in lua/clients.md"
    if named == {version()}:
        return (
            f"it says that it has the script set {version()}, so its copy of the file was changed"
        )
    return (
        f"it says that it has the script set {', '.join(sorted(named))}: take the kit of the "
        "release that the scripts are from, or the scripts of this one"
    )


def _syncs(case: Case, found: Findings) -> None:
    used_by: dict[str, str] = {}
    for call in case.history.of("sync"):
        other = used_by.setdefault(call.arg(6), call.actor)
        if other != call.actor:
            found.add("W1", "two starts have the same incarnation", f"{other}, {call.shown()}")
    groups = _grouped(case.history.of("sync"), lambda each: (each.actor, each.arg(6)))
    for calls in groups.values():
        for index, call in enumerate(calls):
            before = calls[:index]
            number = int(call.arg(7))
            newest = max((int(each.arg(7)) for each in before), default=0)
            same = [each for each in before if each.arg(7) == call.arg(7)]
            if number > newest or all(each.error for each in same[-1:]):
                continue  # After an error it is the same call, which has not run.
            if number > 1 or _was_answered(same, call):
                text = "a call number of sync was used again"
                found.add("W3", text, f"{(same or before)[-1].shown()}; then {call.shown()}")


def _was_answered(same: list[Call], call: Call) -> bool:
    """Did its actor know the reply to `sync` number 1 when it sent the call once more? If not, its
    time limit was over: then it has closed that connection, which may have the reply all the same.
    """
    answered = [each for each in same if each.answered is not None and each.answered < call.place]
    there = any(each.connection == call.connection for each in answered)
    return there or len(answered) > _UNREAD


def _registered(case: Case, found: Findings) -> None:
    groups = _grouped(case.history.of("register", "claim"), lambda each: each.actor)
    for calls in groups.values():
        registered = set()
        for call in calls:
            if call.script == "register":
                registered.add(call.keys[2])
            elif len(registered) < PARTITIONS:
                text = f"{call.actor} had registered {len(registered)} of {PARTITIONS} partitions"
                found.add("W2", "claim before every partition was registered", text)
                break


def _claims(case: Case, found: Findings) -> None:
    nonces: dict[str, tuple[object, Call]] = {}
    groups = _grouped(case.history.of("claim"), lambda e: (e.actor, e.keys[2], e.arg(6)))
    for grant, calls in groups.items():
        for call in calls:
            if call.arg(7) != calls[0].arg(7):
                found.add(
                    "W9",
                    "a claim was repeated with another nonce under the same grant",
                    f"{calls[0].shown()}; then {call.shown()}",
                )
                break
            other, first = nonces.setdefault(call.arg(7), (grant, call))
            if other != grant:
                found.add(
                    "W9",
                    "a new grant was claimed with an old nonce",
                    f"{first.shown()}; then {call.shown()}",
                )


def _commits(case: Case, found: Findings) -> None:
    """One commit in flight, and a lost one is repeated to the byte."""
    calls = [call for _, call in case.commits()]
    groups = _grouped(calls, lambda each: (each.actor, each.keys[2], each.arg(2), each.arg(3)))
    for commits in groups.values():
        for before, call in pairwise(commits):
            repeats = call.same_bytes == before.same_bytes
            if before.answered is None and not repeats:
                rule = "W19"
                text = "a commit whose reply was lost was not repeated, but followed by another"
            elif before.answered is not None and before.answered > call.place and not repeats:
                rule, text = "W19", "a commit was sent while another one was in flight"
            else:
                continue
            found.add(rule, text, f"{before.shown()}; then {call.shown()}")


def _counts(case: Case, found: Findings) -> None:
    """The number of events of a commit is that of the log."""
    for partition, call in case.commits():
        if not call.ok or int(call.ok[0]) != 1:
            continue
        inside = case.between(partition, parse_id(call.arg(4)), parse_id(call.arg(5)))
        if int(call.arg(6)) != len(inside):
            found.add(
                "W18",
                "a commit counts another number of events than the log has there",
                f"the log has {len(inside)}: {call.shown()}",
            )


def _careful(case: Case, found: Findings) -> None:
    """After an unclean tenure, each event is committed before the next one starts."""
    careful = {
        (actor, partition, tenure.epoch): tenure
        for (actor, partition), tenures in case.tenures.items()
        for tenure in tenures
        if tenure.unclean > 0
    }
    left = dict.fromkeys(careful, 500)
    for partition, call in case.commits():
        which = (call.actor, partition, int(call.arg(2) or 0))
        if which not in careful or left[which] <= 0:
            continue
        tenure = careful[which]
        if tenure.deaths and parse_id(tenure.event) <= parse_id(call.arg(4)):
            continue  # The event is committed that was suspected.
        left[which] -= int(call.arg(6))
        if int(call.arg(6)) > 1:
            found.add(
                "W23",
                "several events were committed at once after an unclean tenure",
                f"{careful[which].claim.shown()}; then {call.shown()}",
            )


def _noscript(case: Case, found: Findings) -> None:
    ended = {
        each.name
        for each in case.actors
        if each.told is not None or each.exit_code == -signal.SIGKILL
    }
    last = {each.actor: each.at for each in case.history.calls}
    for call in case.history.calls:
        if call.refused != "NOSCRIPT" or call.script not in _REPEATED or call.answered is None:
            continue
        again = any(
            each.place > call.place and each.same_bytes == call.same_bytes
            for each in case.history.calls
            if each.actor == call.actor
        )
        if not again and (call.actor not in ended or last[call.actor] > call.at + _SOON):
            found.add("C4", "a call was not sent again after NOSCRIPT", call.shown())


def _time_limit(case: Case, found: Findings) -> None:
    """A call that is never answered is repeated within a third of the session timeout."""
    limit = case.session / 3
    stopped = {each.name for each in case.actors if each.was_stopped}
    for actor in case.actors:
        if actor.producer or actor.name in stopped:
            continue
        calls = [each for each in case.history.calls if each.actor == actor.name]
        for call in calls:
            if call not in actor.proxy.muted:
                continue
            again = next(
                (
                    each
                    for each in calls
                    if each.place > call.place
                    and each.script == call.script
                    and each.keys == call.keys
                ),
                None,
            )
            if again is None or again.at - call.at > limit + _SLACK:
                late = f"its repeat came {again.at - call.at:.1f} s later" if again else ""
                when = late or "it was never repeated"
                found.add(
                    "C2",
                    "a call without an answer was not repeated within a third of the session",
                    f"{call.shown()}; {when}, the limit is {limit:g} s",
                    timed=True,
                )


def _released(case: Case, found: Findings) -> None:
    """What was released is reported to the group, though not in each `sync` that was on its way."""
    for partition, call in case.commits():
        if call.arg(7) != "1" or not call.ok or call.answered is None:
            continue
        tenure = case.tenure_at(call.actor, partition, call.place)
        if tenure is None:
            continue
        after = _syncs_after(case, call)
        pair = (partition, int(tenure.claim.arg(6)))
        # A lease that was never opened may be reported while its release is under way.
        known = any(pair in each.reported for each in _syncs_after(case, tenure.claim))
        if len(after) >= 2 and not known:
            found.add(
                "W5",
                "a released partition was not reported by sync",
                f"{call.shown()}; then {after[1].shown()}",
            )


def _syncs_after(case: Case, call: Call) -> list[Call]:
    """What an actor could report in after a call, and after its reply if it got one."""
    place = call.place if call.answered is None else call.answered
    return [
        each
        for each in case.history.of("sync")
        if each.actor == call.actor
        and each.place > place
        and each.arg(8) != "leave"
        and each.refused != "NOSCRIPT"  # It has not run.
    ]


def _stale(case: Case, found: Findings) -> None:
    """The grant that a claim met, in place of its own, is reported: the next one is larger. A claim
    that is repeated under a grant that was held has lost the lease."""
    held = set()
    for call in case.history.of("claim"):
        which = (call.actor, call.keys[2], call.arg(6))
        if call.ok:
            held.add(which)
        stale = call.refused == "STALE_GRANT" and which not in held and call.keys[2] in STATES
        if not stale or call.answered is None:
            continue
        pair = (STATES[call.keys[2]], int(call.arg(6)))
        seen = int(call.error.rpartition("seen=")[2])
        after = _syncs_after(case, call)
        told = [each for each in after if pair in each.reported]
        if len(after) >= 2 and (not told or told[0].reported[pair] != seen):
            found.add(
                "W5",
                "the grant seen in STALE_GRANT was not reported by sync",
                f"{call.shown()}; then {(told or after[1:])[0].shown()}",
            )


def _forgotten(case: Case, found: Findings) -> None:
    """What was reported as released is reported again, until such a `sync` was answered. Several
    may be on their way at once, and arrive in another order."""
    groups = _grouped(case.history.of("sync"), lambda each: (each.actor, each.arg(6)))
    for calls in groups.values():
        reports: dict[tuple[int, int], list[Call]] = defaultdict(list)
        for call in calls:
            for pair in call.reported:
                reports[pair].append(call)
        for told in reports.values():
            last = told[-1]
            later = [each for each in _syncs_after(case, last) if _number(each) > _number(last)]
            if len(later) > 1 and not any(map(_taken_in, told)):
                found.add(
                    "W5",
                    "a released partition was forgotten before a sync that reports it was answered",
                    f"{last.shown()}; then {later[0].shown()}",
                )


def _number(sync: Call) -> int:
    return int(sync.arg(7))


def _taken_in(sync: Call) -> bool:
    """Was it answered, under its own number?"""
    return sync.answered is not None and bool(sync.ok) and int(sync.ok[0]) == _number(sync)


def _refused(case: Case, found: Findings) -> None:
    """No commit follows under a token that was refused. A worker that has stood still may repeat
    the same call on a new connection: its time limit was over before it read the reply."""
    refused: dict[tuple[str, bytes, str, str], Call] = {}
    repeated: Counter[tuple[str, bytes, str, str]] = Counter()
    for _, call in case.commits():
        token = (call.actor, call.keys[2], call.arg(2), call.arg(3))
        before = refused.get(token)
        if before is not None and before.answered is not None and before.answered < call.place:
            if call.same_bytes == before.same_bytes and call.connection != before.connection:
                repeated[token] += 1
                if repeated[token] <= _UNREAD:
                    continue
            found.add(
                "W20",
                "a commit was sent under a token that had been refused",
                f"{before.shown()}; then {call.shown()}",
            )
        if call.refused in ENDED:
            refused.setdefault(token, call)
