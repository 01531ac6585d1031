"""Market events to position deltas."""
