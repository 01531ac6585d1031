"""Serving apart from computing: processes that hold the streams, in front of one that has the engine.

::

    supervisor ── starts and watches ──▶ engine process    engine, sources, questions; an internal gRPC server on a
        │                                    ▲  ▲          unix socket in a private folder, with the TickFeed
        │                                    │  │ ticks, views
        └────────────────────────────▶ gateway processes   one Hub each on a RemoteEngine; the public port, shared
                                                           through SO_REUSEPORT; other calls are relayed as bytes

A gateway has no state of its own: one that is lost, too slow, or has lost its engine ends and is started anew.
"""
