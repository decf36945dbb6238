"""The documentation site: what scripts/docs builds, and the tests of it."""
