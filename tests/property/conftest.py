from tests.parity.backends import backend

__all__ = ["backend"]
