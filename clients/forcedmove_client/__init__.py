"""Python client of a forcedmove server."""
