"""The measures of MODEL section 7: pure functions of arrays, one subject per module."""
