"""The study on simulated markets, whose positions are known: what was measured, and what it comes to over seeds."""
