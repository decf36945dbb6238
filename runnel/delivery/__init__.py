"""Hands the events of a held partition to the handler, in order, through the middleware."""
