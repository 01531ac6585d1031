"""Clusters that keep their identity, chains that are armed on them, and what came of those: a log of events."""
