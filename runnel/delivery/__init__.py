"""From a held partition to the handler: the events of one lease, in order."""
