"""Checks declarations when they are made, and builds processors from them."""
