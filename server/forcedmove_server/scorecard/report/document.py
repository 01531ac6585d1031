"""What every page is made of: one HTML file without scripts, fonts or anything else to fetch."""

from __future__ import annotations

from forcedmove_server.scorecard.report.figures import Group
from forcedmove_server.scorecard.report.markup import Markup, join, tag, text
from forcedmove_server.scorecard.report.style import panel_svg

_CSS = """
:root{--ink:#1d2430;--dim:#5a6472;--rule:#d4d9e0;--wash:#f5f7f9}
*{box-sizing:border-box}
html{color-scheme:light;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:66rem;padding:2rem 1.25rem 4rem;background:#fff;color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:.8rem;border-top:2px solid var(--ink)}
h3{font-size:1rem;margin:1.8rem 0 .2rem}
p{margin:.4rem 0;max-width:46rem}
.note,.none,figcaption{color:var(--dim);font-size:.85rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.8rem 0}
dt{color:var(--dim)}dd{margin:0;min-width:0}
.overall{font-size:1.1rem;font-weight:600;margin-top:1rem}
.cards,.panels,.grid{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.card{flex:1 1 17rem;border:1px solid var(--rule);border-top:4px solid var(--dim);border-radius:3px;padding:.8rem 1rem;
break-inside:avoid}
.card.yes{border-top-color:#0072b2}.card.no{border-top-color:#d55e00}.card.open{border-top-color:#e69f00}
.card h3{margin:0;font-size:.95rem;line-height:1.35}
.card .figure{font-size:1.35rem;font-weight:700;font-variant-numeric:tabular-nums;margin:.4rem 0 0}
.card .basis{color:var(--dim);font-size:.85rem;margin:0 0 .4rem}
.card p{max-width:none}
figure{flex:1 1 18rem;max-width:25rem;margin:0;break-inside:avoid;min-width:0}
figure svg{display:block;width:100%;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.84rem;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;font-weight:700;font-size:.95rem;padding:.3rem 0}
th,td{padding:.25rem .6rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule)}
th:first-child,td:first-child{padding-left:0}
thead th{color:var(--dim);font-weight:600;vertical-align:bottom;border-bottom:1.5px solid var(--ink)}
tbody th{font-weight:400;min-width:3.5rem}
.w{text-align:left}
td b{font-weight:inherit;white-space:nowrap}td small{display:block;color:var(--dim);font-size:.88em}
.n{white-space:nowrap}
.grid{gap:0 2rem}.grid>div{flex:1 1 18rem}
code{font:.92em ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
ul{padding-left:1.2rem;max-width:46rem}
@page{size:A4;margin:14mm}
@media print{
html{font-size:9.5pt}
body{max-width:none;padding:0}
h2,h3,caption,.lead{break-after:avoid}tr,tbody.together{break-inside:avoid}thead{display:table-header-group}
.cards{display:grid;grid-template-columns:repeat(3,1fr);gap:.6rem}.card .figure{font-size:1.05rem}
.panels{gap:.6rem}figure{flex:0 0 31%}
.scroll{overflow:visible}table{font-size:7.2pt}th,td{padding:.15rem .3rem}
}
"""


def document(title: str, body: tuple[Markup, ...]) -> str:
    """Return a whole page."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        # nothing may be fetched, whatever a name in here tries
        Markup(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        ),
        tag("title", title),
        tag("style", Markup(_CSS)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', join(body, chr(10))), lang='en')}\n"


class Charts:
    """Numbers the charts of a page, so that no two share an id."""

    def __init__(self) -> None:
        self._count = 0

    def group(self, group: Group) -> Markup:
        """Return a group with its title and caption."""
        return join((tag("h3", group.title), tag("p", group.caption, class_="note lead"), self.panels(group)))

    def panels(self, group: Group) -> Markup:
        """Return the panels of a group alone."""
        drawn = []
        for label, draw in group.panels:
            self._count += 1
            svg = Markup(panel_svg(draw, text(label), f"c{self._count}"))
            drawn.append(tag("figure", svg, tag("figcaption", label)))
        return tag("div", join(drawn, "\n"), class_="panels") if drawn else Markup("")


def section(title: str, *parts: Markup) -> Markup:
    """Return a part of a page under its heading."""
    return tag("section", tag("h2", title), join(parts, "\n"))


def definitions(*pairs: tuple[str, str]) -> Markup:
    """Return terms and what they are."""
    return tag("dl", join(join((tag("dt", name), tag("dd", value))) for name, value in pairs))
