"""Live public feeds of 22 venues: connections, polling, pure parsing; what arrives as one stream of event batches."""
