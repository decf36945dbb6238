"""Reads both directions of one connection: which calls went out, and which reply is whose."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from functools import cache
from typing import Any

import hiredis

from runnel.conformance.history import Call, History
from runnel.protocol.scripts import sha, sources

_SUBSCRIBING = (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE")
_PUSHED = (b"message", b"pmessage", b"smessage", b"subscribe", b"psubscribe", b"ssubscribe")


@cache
def _names() -> dict[str, str]:
    return {sha(name): name for name in sources()}


class Wire:
    """One connection of an actor. Calls go into the history as they are seen."""

    def __init__(self, actor: str, history: History) -> None:
        self._actor = actor
        self._history = history
        self._number = next(history.connections)
        self._requests = hiredis.Reader()
        self._replies = hiredis.Reader()
        #: What waits for its reply: a call, or None for another command.
        self._waiting: deque[Call | None] = deque()
        self._queued: list[Call] | None = None
        self._subscribed = False

    def requests(self, data: bytes) -> list[Call]:
        """The calls that are complete with this data. Their place is set."""
        self._requests.feed(data)
        found = []
        while (command := self._requests.gets()) is not False:
            if isinstance(command, list) and command and isinstance(command[0], bytes):
                found += self._request(command)
        return found

    def replies(self, data: bytes) -> list[Call]:
        """The calls whose replies are complete with this data. Their reply is set."""
        self._replies.feed(data)
        found: list[Call] = []
        while (reply := self._replies.gets()) is not False:
            if self._is_pushed(reply):
                continue
            call = self._waiting.popleft() if self._waiting else None
            if call is not None:
                call.reply = reply
                found.append(call)
        return found

    def swallowed(self, calls: list[Call]) -> None:
        """These never reach the server."""
        for call in calls:
            call.swallowed = True

    def _request(self, command: list[Any]) -> list[Call]:
        word = command[0].upper()
        if word in _SUBSCRIBING:
            self._subscribed = True
            return []  # What comes back is pushed.
        if word == b"SCRIPT" and len(command) == 3 and command[1].upper() == b"LOAD":
            self._loaded(command[2])
        call = self._call(word, command)
        self._waiting.append(call)
        return [] if call is None else [call]

    def _call(self, word: bytes, command: list[Any]) -> Call | None:
        if word not in (b"EVALSHA", b"EVAL") or len(command) < 3:
            return None
        digest = command[1].decode(errors="replace").lower()
        if word == b"EVAL":
            digest = self._loaded(command[1])
        name, keys = _names().get(digest, ""), int(command[2])
        place, now = next(self._history.places), time.monotonic()
        call = Call(self._actor, name, command[3 : 3 + keys], command[3 + keys :], place, now)
        call.digest, call.unknown = digest, self._history.unknown.get(digest, "")
        call.connection = self._number
        self._history.calls.append(call)
        return call

    def _loaded(self, source: bytes) -> str:
        """The SHA-1 of a script, which may be one that nobody knows."""
        digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        if digest not in _names():
            self._history.learn(digest, source)
        return digest

    def _is_pushed(self, reply: Any) -> bool:
        if isinstance(reply, hiredis.PushNotification):
            return True
        return (
            self._subscribed
            and isinstance(reply, list)
            and reply[:1] != []
            and (reply[0] in _PUSHED)
        )
