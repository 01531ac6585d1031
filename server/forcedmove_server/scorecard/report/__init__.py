"""The report of a backtest: one HTML file that needs no network and no scripts, one picture, or JSON.

:func:`~forcedmove_server.scorecard.report.write.write_report` writes a
:class:`~forcedmove_server.scorecard.report.result.BacktestResult`. Equal results give equal bytes. Charts need
matplotlib, the extra ``plot``.
"""
