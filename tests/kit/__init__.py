"""The fault kit: what it says of a good client, and of one with planted faults."""
