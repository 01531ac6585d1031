"""Market events, instruments and symbols."""
