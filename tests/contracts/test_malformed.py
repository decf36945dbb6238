"""S5: whatever a call carries, it is answered in the words of its header, or not at all applied.

Nothing in a call may make a script raise: a raised error has lost its word, and may have come
after the first write. Numbers and ids that are none are refused by every script for every
argument; each argument with a form of its own is refused by name; and drawn noise leaves a world
in which every valid call is still answered.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.profile import CALLS
from tests.contracts.wire import HEADERS, Arg, Refused, Wire
from tests.contracts.world import Sent, valid_calls
from tests.lua.conftest import META
from tests.lua.headers import Header

NO_INT: list[Arg] = [
    *("", "x", "-1", "1.5", "1.0", " 1", "1 ", "1\n", "+1", "0x10", "1e3", "nan", "inf", "-"),
    *("9" * 400, "1" + "0" * 20, "١", b"\xff\xfe", b"\x00", b"1\x00"),
]
NO_ID: list[Arg] = [
    *("", "x", "1", "-", "1-", "-1", "1-x", "x-0", "1-0-0", "1.5-0", " 1-0", "1-0\n", "+", "$"),
    *("9" * 400 + "-0", "0-" + "9" * 400, b"\xff-\xfe", b"1-0\x00"),
]
#: Sizes with an age behind them that are none.
NO_LIMITS: list[Arg] = [
    *("9,", ",9", "9,0", "9,x", "9,-1", "9,1.5", "9, 1", "9,1,1", "1,5", "9;5", "9,05", "x,5"),
    *("9," + "1" * 16, "1" * 16 + ",5", b"9,\xff"),
]
APPENDS = ("append", "append_numbered", "append_once")
LATER = ("append_later", "promote")
SHORT, LONG = "n" * 15, "n" * 65
#: Arguments of type str that have a form: what does not have it is refused.
NO_FORM: dict[tuple[str, str], list[Arg]] = {
    **{(script, "hash"): [""] for script in ("declare", *APPENDS, *LATER, "claim", "register")},
    **{(script, "processor"): [""] for script in ("claim", "register", "remove", "seek")},
    **{(script, "nonce"): ["", SHORT, LONG] for script in ("claim", "clear_table", "seek")},
    **{
        (script, "nonce"): ["", SHORT, LONG] for script in ("replay", "drop_parked", "take_letters")
    },
    ("clear_table", "processor"): [""],
    ("park_again", "failure"): ["", "5-0", "5-0 3", "x 3 y", "5-0 3 " + "m" * 1200],
    ("postpone", "ms"): [*NO_INT[1:], 32 * 10**9],
    ("postpone", "failure"): ["", "5-0", "5-0 3", "x 3 y", "5-0 3 " + "m" * 1200],
    ("due", "limit"): [0, 101],
    ("take_letters", "size"): ["0"],
    **{
        (script, "when_full"): ["", "shed", "REFUSE", b"\xff"]
        for script in (*APPENDS, "promote", "trim")
    },
    **{(script, "size"): [*NO_INT, *NO_LIMITS] for script in APPENDS},
    **{(script, "processor"): ["", "other"] for script in ("restore", "snapshot")},
    **{(script, "id"): ["", SHORT, LONG] for script in ("copy_table", "restore", "snapshot")},
    ("restore", "nonce"): ["", SHORT, LONG],
    ("snapshot", "step"): ["", "start", "FINISH"],
    **{(script, "action"): ["", "go", b"\xff"] for script in ("elect", "sync")},
    ("append", "producer"): [""],
    ("append_numbered", "sender"): [
        *("", "p", "producer", "producer:", ":p", "x:p", " outbox:x", "producer:" + "p" * 392),
    ],
    ("append_numbered", "entries"): NO_ID,
    ("append_once", "entry"): [*NO_INT, 0, 2, 3, 5, 6],
    ("append_later", "kind"): ["", "now", "AT"],
    ("append_later", "ms"): [10**15, 32 * 10**9],
    ("attempt", "kind"): ["", "explode", "START"],
    ("attempt", "error_type"): ["T" * 4001],
    ("attempt", "error_message"): ["m" * 4001],
    ("claim", "accept"): ["x", "-1", "1.5", " "],
    ("claim", "member"): [""],
    ("elect", "member"): [""],
    ("elect", "nonce"): [""],
    ("register", "start"): ["", "1", "5-0", "$$"],
    ("seek", "start"): ["", "1", "yesterday", "1-", "$-0", "9" * 400 + "-0"],
    ("sync", "member"): ["", "-", "a b", "a:b", b"\xff", "m" * 201],
    ("sync", "incarnation"): ["", "-", "a b", b"\xff", "i" * 65],
    ("sync", "description"): ["d" * 1001],
    ("tick", "task"): [""],
    ("tick", "nonce"): ["", "a b", b"\xff"],
    ("tick", "schedule"): ["", "s" * 201],
}
#: Numbers that may be left empty.
OPTIONAL = {("seek", "read")}


def malformed(script: str, header: Header, index: int) -> list[Arg]:
    """What the argument at this index may not be."""
    key = (script, header.args[index])
    by_type = {"int": NO_INT, "id": NO_ID, "str": []}[header.arg_types[index]]
    return [each for each in by_type if not (each == "" and key in OPTIONAL)] + NO_FORM.get(key, [])


ARGUMENTS = [
    pytest.param(script, index, id=f"{script}-{name}")
    for script, header in HEADERS.items()
    for index, name in enumerate(header.args)
    if malformed(script, header, index)
]


@pytest.mark.parametrize(("script", "index"), ARGUMENTS)
def test_s5_a_malformed_argument_is_refused_in_a_declared_word(
    wire: Wire, script: str, index: int
) -> None:
    call = valid_calls(wire)[script]
    for junk in malformed(script, HEADERS[script], index):
        args = [*call.args[:index], junk, *call.args[index + 1 :]]
        outcome = wire.call(script, call.keys, *args)
        assert isinstance(outcome, Refused), f"{script}: {junk!r} was taken: {outcome}"
    assert not isinstance(call.by(wire), Refused), "the call itself is a good one"


def test_every_form_that_is_checked_belongs_to_an_argument() -> None:
    known = {(script, name) for script, header in HEADERS.items() for name in header.args}
    assert set(NO_FORM) | OPTIONAL <= known


@pytest.mark.parametrize("script", HEADERS)
def test_s5_a_wrong_number_of_keys_or_arguments_is_refused(wire: Wire, script: str) -> None:
    call, header = valid_calls(wire)[script], HEADERS[script]
    for count in range(len(call.keys) + 2):
        if count != len(call.keys):
            keys = [*call.keys, *(call.keys[:1] or [META])][:count]
            assert wire.call(script, keys, *call.args) == Refused("BADARG"), f"{count} keys"
    for count in range(len(header.args) - header.open_ended):
        assert wire.call(script, call.keys, *call.args[:count]) == Refused("BADARG")
    if not header.open_ended:
        assert wire.call(script, call.keys, *call.args, "x") == Refused("BADARG")


NOISE: st.SearchStrategy[Arg] = st.one_of(
    st.sampled_from([*NO_INT, *NO_ID, SHORT, LONG]),
    st.sampled_from(["stay", "leave", "refuse", "drop_oldest", "start", "hold", "0-0", "$", "0"]),
    st.integers(-2, 12),
    st.integers(-(2**65), 2**65),
    st.sampled_from([10**9, 10**14, 10**15 - 1, 10**15, 2**53, 2**63, 2**64 - 1]),
    st.binary(max_size=20),
    st.builds("{}-{}".format, st.integers(0, 2**65), st.integers(0, 2**65)),
)


@st.composite
def noisy_calls(draw: st.DrawFn) -> tuple[str, list[tuple[str, int, Arg]]]:
    """A script, and what to do to the arguments of its valid call."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["set", "set", "set", "drop", "insert"]), st.integers(0, 30), NOISE
            ),
            min_size=1,
            max_size=3,
        )
    )
    return draw(st.sampled_from(sorted(HEADERS))), changes


def changed(call: Sent, changes: list[tuple[str, int, Arg]]) -> Sent:
    """The call with its arguments set, dropped or joined by others."""
    args = list(call.args)
    for what, index, value in changes:
        at = index % (len(args) + 1)
        if what == "insert":
            args.insert(at, value)
        elif at < len(args):
            args[at : at + 1] = [value] if what == "set" else []
    return Sent(call.script, call.keys, args)


def test_s5_noise_is_answered_in_declared_words_and_leaves_a_world_that_works(wire: Wire) -> None:
    world = {"calls": valid_calls(wire), "snapshot": wire.seen}

    @CALLS
    @given(noisy_calls())
    def noise(drawn: tuple[str, list[tuple[str, int, Arg]]]) -> None:
        script, changes = drawn
        calls: dict[str, Sent] = world["calls"]
        try:
            changed(calls[script], changes).by(wire)
            if wire.seen != world["snapshot"]:
                for each in calls.values():
                    answer = wire.send(each.script, each.keys, *each.args)
                    words = HEADERS[each.script].errors
                    assert not isinstance(answer, Refused) or answer.word in words, answer.text
        finally:
            if wire.seen != world["snapshot"]:
                world["calls"] = valid_calls(wire)
                world["snapshot"] = wire.seen

    noise()
