"""The longest times that settings, keywords and options of commands may have."""

#: Seconds in a setting, a keyword or an option: at most a year, so that they fit every clock.
YEAR = 31_536_000.0

#: Seconds in a time of a group: at most a day, as the script `sync` accepts.
DAY = 86_400.0
