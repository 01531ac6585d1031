"""A study on one page, as a picture."""

from __future__ import annotations

import io
from functools import partial

from matplotlib.figure import Figure

from forcedmove_server.scorecard.report.study_charts import (
    draw_coverage,
    draw_coverage_course,
    draw_gains,
    draw_means,
    draw_weights,
)
from forcedmove_server.scorecard.report.study_wording import coverage_line, distance_lines, numbers, whole
from forcedmove_server.scorecard.report.style import DIM, Draw, drawable, styled
from forcedmove_server.scorecard.study.result import MEASURES, StudyResult
from forcedmove_server.scorecard.study.summary import summarise

#: A4 in inches
_PAGE = (8.27, 11.69)
_DPI = 160


def study_picture(study: StudyResult) -> bytes:
    """Return the page as PNG, A4 at 160 dots per inch. Needs matplotlib."""
    summary = summarise(study)
    by_name = {measure.field: measure for measure in MEASURES}
    draws: list[Draw] = [
        *(partial(draw_means, summary=summary, measure=by_name[name]) for name in ("spearman", "wasserstein_bp")),
        partial(draw_means, summary=summary, measure=by_name["bits"]),
        partial(draw_gains, summary=summary, measure=by_name["wasserstein_bp"]),
        *(partial(draw_weights, summary=summary, regime=whole(summary), live=live) for live in (False, True)),
        partial(draw_coverage, summary=summary),
        partial(draw_coverage_course, summary=summary),
    ]
    lines = [
        f"Seeds {numbers(study.seeds)}; {', '.join(study.regimes)}; {', '.join(study.symbols)}; "
        f"hours after the first {study.skip_hours}.",
        *distance_lines(summary),
        f"{coverage_line(summary, study.level)}.",
    ]
    with styled():
        figure = Figure(figsize=_PAGE, dpi=_DPI)
        figure.text(0.06, 0.978, drawable(study.title, 70), va="top", fontsize=13, weight="bold")
        for k, line in enumerate(lines):
            figure.text(0.06, 0.952 - 0.0135 * k, drawable(line, 130), va="top", fontsize=7.5, color=DIM)
        grid = figure.add_gridspec(4, 2, left=0.09, right=0.97, top=0.86, bottom=0.04, hspace=0.75, wspace=0.25)
        for cell, draw in enumerate(draws):
            axes = figure.add_subplot(grid[divmod(cell, 2)])
            draw(axes)
            legend = axes.get_legend()
            if legend is not None and cell < 4:
                for text in legend.get_texts():
                    text.set_fontsize(6)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
