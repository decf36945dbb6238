"""How generated examples run here."""

from __future__ import annotations

from hypothesis import settings

#: An example may take as long as a busy machine makes it.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
