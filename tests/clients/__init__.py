"""Clients in other languages: their own tests, and groups that they share with Python."""
