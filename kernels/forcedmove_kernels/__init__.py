"""Arrays in, arrays out: the liquidation-map kernels."""
