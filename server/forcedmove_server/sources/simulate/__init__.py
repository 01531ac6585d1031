"""A seeded market whose agents open, add, close and are liquidated: events as live ones, and the truth behind them."""

from forcedmove_server.sources.simulate.config import SimulationConfig
from forcedmove_server.sources.simulate.source import SimulatedSource

__all__ = ["SimulatedSource", "SimulationConfig"]
