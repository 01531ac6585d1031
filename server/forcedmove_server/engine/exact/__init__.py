"""Positions whose liquidation price is known, beside the inferred ones of their market, without counting twice.

Each market that has any gets one more row of the store (:mod:`.rows`). What is known of a side is taken out of what is
shown of its inferred positions, so that both together are the open interest (:mod:`.sharing`,
:mod:`forcedmove_server.engine.remainders`); inference is not told. Who told what, until when, is in :mod:`.positions`;
:mod:`.file` reads the file that a configuration names.
"""
