"""The live map in a terminal, and the same figures as plain text."""
