"""The compute server: sources, inference, engine and RPC."""
