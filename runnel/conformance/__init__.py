"""The fault kit: runs anybody's worker and producer under faults, and judges what they did."""
