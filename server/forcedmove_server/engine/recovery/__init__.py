"""What outlasts a crash: snapshots of the engine's core, and a log of its inputs since."""
