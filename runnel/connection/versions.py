"""The oldest versions of servers that Runnel works with."""

#: Kind of server -> oldest version.
OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
