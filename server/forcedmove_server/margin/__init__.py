"""Liquidation rules: one engine, one small file per venue family."""
