"""The oldest servers that Runnel works with."""

#: Kind of server -> its oldest version that will do.
OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
