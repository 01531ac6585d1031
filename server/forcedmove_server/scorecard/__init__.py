"""How true a liquidation map is, measured on what happened after it was drawn: MODEL section 7.

A map is frozen at a grid time ``t`` and scored over ``(t, t + H]`` on the bins that the trigger price touched, and on
no others. ``measures`` holds one pure function per measure; :class:`~forcedmove_server.scorecard.scorecard.Scorecard`
runs them on a stream of events with bounded memory, for every venue, symbol, side, horizon and map.

Sides are those of positions: 0 long, liquidated by a fall; 1 short, liquidated by a rise. Quantities are base units on
linear markets and USD on inverse ones. What cannot be scored has a value of None and a reason.
"""
