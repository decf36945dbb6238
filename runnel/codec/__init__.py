"""From a record to a stream entry and back, and from a key to a partition."""
