"""Vectors that every client must pass, and the Python client that passes them."""
