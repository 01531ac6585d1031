"""Who may ask: bearer tokens, their scopes and their quotas. Knows nothing of gRPC."""
