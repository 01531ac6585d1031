"""Liquidation rules: one linear and one inverse equation, maintenance tiers, one small file per venue family."""
