"""Public tier tables, one small file per venue."""
