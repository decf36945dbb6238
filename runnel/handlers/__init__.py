"""Calls the functions of users."""
