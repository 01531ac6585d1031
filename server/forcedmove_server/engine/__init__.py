"""Cohort store, tick loop, clusters and cascades."""
