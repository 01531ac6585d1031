"""Cascade forecasts: what a shock sets off, how sure that is, and how far away the smallest such shock is."""
