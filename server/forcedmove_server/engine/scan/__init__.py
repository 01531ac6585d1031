"""Scans: many shocks through the maps of many symbols, as of one tick, beside the engine's thread."""
