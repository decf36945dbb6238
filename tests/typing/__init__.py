"""A user's program, as type checkers see it."""
