"""What the keywords of declarations mean that are no settings of the app."""

from __future__ import annotations

_AGE = (
    "Seconds, or a timedelta, after which events that every registered processor has committed "
    "leave, although there is room."
)
_RETAIN = (
    "Of a stream that nobody reads: `always` keeps all, so that a full partition raises `Full`; "
    "with `until_full` the oldest make room."
)
_LEADER = "Only the leader runs it: one worker of the app at a time, as far as can be known."

#: Heading of the page and keyword -> meaning.
TEXTS = {
    ("Of a stream", "record"): "The class of its records, or a union of classes.",
    ("Of a stream", "partition_by"): "The field that is the key, or a function of a record that "
    "returns it: text, an integer, a UUID, bytes, or an enum of these.",
    ("Of a stream", "partition_size"): "Entries that a partition may hold. The oldest leave when "
    "room is needed, if every registered processor has committed them.",
    ("Of a stream", "max_age"): _AGE,
    ("Of a stream", "retain"): _RETAIN,
    ("Of a stream", "serializer"): "How a payload is written: `MsgpackSerializer()` if none is "
    "given. Each entry says how it was written.",
    ("Of a stream", "compressor"): "How a payload is compressed: `LZ4()`, `Gzip()` or your own.",
    ("Of a stream", "compress_over"): "Bytes above which a payload is compressed.",
    ("Of a stream", "hasher"): "How a key becomes the number of a partition. All clients of a "
    "stream must use the same one; xxh64 if none is given.",
    ("Of a stream", "codecs"): "Other serializers and compressors with which stored entries may "
    "have been written.",
    ("Of a stream", "exclude_unset"): "Fields that were not set are not stored, and come back "
    "unset.",
    ("Of a derived stream", "max_age"): _AGE,
    ("Of a derived stream", "retain"): _RETAIN,
    ("Of a processor", "name"): "The name under which checkpoints are stored: the name of the "
    "function if none is given. A new name begins anew.",
    ("Of a processor", "exception_policy"): "What happens to an event that has failed for good; "
    "an `ExceptionPolicy` or its name.",
    ("Of a processor", "commit"): "`each` commits every event before the next one of its "
    "partition starts; `auto` lets finished events share a commit.",
    ("Of a processor", "middleware"): "Code around each event, the outermost first.",
    ("Of a processor", "start"): "Where a new processor begins: with the oldest event that is "
    "there, or with the next one.",
    ("Of a processor", "timeout"): "Seconds that one event, or one list of events, may take.",
    ("Of a processor", "concurrency"): "Events of a partition that run at the same time, each of "
    "another key. For `@app.on` only.",
    ("Of a table", "value"): "The type of its values.",
    ("Of a table", "default"): "What a key without a value has, or a function that makes it; "
    "without a default, `KeyError` is raised.",
    ("Of a table", "processor"): "The name of the only processor that may write it; else the "
    "first that does.",
    ("Of a table", "expire"): "Seconds after which a key that no commit has written is removed.",
    ("Of a dead letter middleware", "sink"): "A stream derived from the source, in place of "
    "`STREAM.PROCESSOR.dead`.",
    ("Of a timer", "interval"): "Seconds from the end of one run to the start of the next.",
    ("Of a timer", "on_leader"): _LEADER,
    ("Of a crontab", "timezone"): "The zone of the expression, such as `Europe/Berlin`.",
    ("Of a crontab", "on_leader"): f"{_LEADER} Each instant fires at most once.",
    ("Of a crontab", "catch_up"): "Seconds for which an instant that was missed can run later, "
    "with `on_leader`; 0 switches this off.",
    ("Of a task", "on_leader"): _LEADER,
    ("Of a test", "timeout"): "Seconds that a `drain` may take.",
    ("Of a test", "lifespan"): "Whether startup and shutdown functions and the lifespan run.",
}
