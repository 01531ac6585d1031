"""A venue emulator: loopback servers that speak the venues' REST and websocket protocols, with faults on demand."""
