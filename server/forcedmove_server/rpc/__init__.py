"""gRPC services: handlers, encoding, subscriptions."""
