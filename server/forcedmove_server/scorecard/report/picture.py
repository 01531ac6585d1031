"""One page as a picture: the headline in words, and the main charts."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from matplotlib.figure import Figure

from forcedmove_server.scorecard.report.charts import nothing
from forcedmove_server.scorecard.report.figures import (
    Group,
    headline_group,
    lift_group,
    realised_group,
    reliability_group,
    residual_group,
    weight_groups,
)
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.report.style import DIM, drawable, styled
from forcedmove_server.scorecard.report.wording import overall, period, verdicts

#: A4 in inches
_PAGE = (8.27, 11.69)
_DPI = 160
#: characters of a line, and lines of a paragraph: charts need the rest of the page
_WRAP = 118
_MOST_LINES = 5


def picture(result: BacktestResult) -> bytes:
    """Return the page as PNG, A4 at 160 dots per inch. Needs matplotlib."""
    answers = verdicts(result.summary)
    fitted = "nothing was fitted" if result.fit is None else f"fitted on {period(result.fit)}"
    lines = [
        _wrapped(f"{result.source}"),
        _wrapped(f"Scored on {period(result.test)}; {fitted}."),
        *(_wrapped(f"{v.figure}  ({v.basis})  {v.question} {v.sentence}") for v in answers),
    ]
    with styled():
        figure = Figure(figsize=_PAGE, dpi=_DPI)
        top = 0.978
        for content, size, weight, colour in (
            ("\n".join(textwrap.wrap(drawable(result.title, None), 70)[:2]), 13, "bold", None),
            (overall(answers), 9.5, "bold", None),
            *((line, 8, "normal", DIM if k < 2 else None) for k, line in enumerate(lines)),
        ):
            style: dict[str, Any] = {} if colour is None else {"color": colour}
            figure.text(0.06, top, content, va="top", fontsize=size, weight=weight, linespacing=1.35, **style)
            top -= (content.count("\n") + 1) * size * 1.35 / 72 / _PAGE[1] + 0.0055
        grid = figure.add_gridspec(4, 2, left=0.12, right=0.965, top=top - 0.025, bottom=0.045, hspace=0.5, wspace=0.32)
        for cell, (group, index) in enumerate(_chosen(result)):
            axes = figure.add_subplot(grid[divmod(cell, 2)])
            if index < len(group.panels):
                group.panels[index][1](axes)
            else:
                nothing(axes, "\n".join(textwrap.wrap(f"{group.title}. {group.caption}", 44)) if index == 0 else "")
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def _chosen(result: BacktestResult) -> list[tuple[Group, int]]:
    head, residuals, weights = headline_group(result), residual_group(result), weight_groups(result)
    return [
        (head, 0),
        (head, 1),
        (residuals, 0),
        (residuals, 1),
        (lift_group(result), 0),
        (reliability_group(result), _headline_reach(result)),
        (realised_group(result), 0),
        (weights[1] if len(weights) > 1 else weights[0], 0),
    ]


def _headline_reach(result: BacktestResult) -> int:
    """Panel of the headline horizon among those that have forecasts, or the first."""
    drawn = [score.horizon_ns for score in result.summary.reach if score.reach.reliability]
    wanted = result.summary.headline.horizon_ns
    return drawn.index(wanted) if wanted in drawn else 0


def _wrapped(content: str) -> str:
    return "\n".join(textwrap.wrap(drawable(content, None), _WRAP, max_lines=_MOST_LINES, placeholder=" …"))
