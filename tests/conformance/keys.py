"""The keys that the cases use: one partition of the app `shop`, and what belongs to it."""

from __future__ import annotations

TAG = "{shop:orders:3}:orders"
GROUP = "runnel:{shop:orders@printer}"


def of(name: str, tag: str = TAG) -> str:
    """A key of the partition."""
    return f"runnel:{tag}:{name}"


LOG, META, STATE = of("log"), of("meta"), of("processor:printer")
PRODUCERS, NUMBERS, DELAYED = of("producers"), of("numbers"), of("delayed")
DEDUPE, REQUEST = of("dedupe:order-17"), of("delayed:reminder-17")
OUTBOX = of("outbox:printer")
PARKED, PARKED_KEYS, REPLAY, POSTPONED = (
    of(f"{name}:printer") for name in ("parked", "parked_keys", "replay", "postponed")
)
BALANCES, BALANCES_EXPIRY = of("table:balances"), of("table:balances:expiry")
RECORD = of("snapshot:monday:printer")
COPY, COPY_EXPIRY = f"{RECORD}:table:balances", f"{RECORD}:table:balances:expiry"
STAGED = f"{RECORD}:restore:table:balances"
STAGED_EXPIRY = f"{STAGED}:expiry"
DEAD = "{shop:orders:3}:orders.printer.dead"
DEAD_LOG, DEAD_META = of("log", DEAD), of("meta", DEAD)
#: A partition of another stream, in another slot.
ALERTS = "{shop:alerts:0}:alerts"
ALERTS_LOG, ALERTS_META = of("log", ALERTS), of("meta", ALERTS)
PLAN, MEMBERS, SESSIONS = (f"{GROUP}:{name}" for name in ("plan", "members", "sessions"))
LEADER, TICKS = "runnel:{shop}:leader", "runnel:{shop}:ticks"

_PARTITION = [LOG, META, STATE]
#: The keys of a call, unless a case says otherwise.
KEYS: dict[str, list[str]] = {
    "append": [LOG, META, PRODUCERS],
    "append_later": [META, DELAYED, REQUEST],
    "append_numbered": [LOG, META, NUMBERS],
    "append_once": [LOG, META, DEDUPE],
    "acknowledge": [STATE],
    "attempt": [STATE],
    "cancel": [META, DELAYED],
    "check_acl": [],
    "claim": _PARTITION,
    "clear_table": [META, STATE, BALANCES],
    "commit": _PARTITION,
    "copy_table": [RECORD, BALANCES, BALANCES_EXPIRY, COPY, COPY_EXPIRY],
    "declare": [META],
    "delete": [LOG, META, PRODUCERS, NUMBERS, DELAYED],
    "describe": _PARTITION,
    "describe_group": [PLAN, MEMBERS, SESSIONS],
    "drop_parked": [STATE, PARKED, PARKED_KEYS, REPLAY, POSTPONED],
    "due": [STATE, PARKED, PARKED_KEYS, POSTPONED],
    "elect": [LEADER],
    "park_again": [STATE, PARKED_KEYS, REPLAY],
    "pause": [STATE],
    "postpone": [STATE, PARKED, PARKED_KEYS, REPLAY, POSTPONED],
    "promote": [LOG, META, DELAYED],
    "register": _PARTITION,
    "remove": [LOG, META, STATE, OUTBOX, PARKED, PARKED_KEYS, REPLAY, POSTPONED],
    "replay": [STATE, PARKED_KEYS, REPLAY],
    "restore": [LOG, META, STATE, RECORD, BALANCES, BALANCES_EXPIRY, STAGED, STAGED_EXPIRY],
    "resume": [STATE],
    "revoke": [PLAN],
    "seek": _PARTITION,
    "snapshot": [META, STATE, RECORD, BALANCES, BALANCES_EXPIRY, COPY, COPY_EXPIRY],
    "sync": [PLAN, MEMBERS, SESSIONS],
    "take_letters": [DEAD_LOG, DEAD_META, STATE, PARKED, PARKED_KEYS, REPLAY],
    "tick": [TICKS],
    "transact": _PARTITION,
    "trim": [LOG, META],
    "trim_outbox": [STATE, OUTBOX],
}
