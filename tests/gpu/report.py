"""What ``gpu-check`` saw, as JSON and as a page of Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.gpu.steps import Step


def write(
    folder: Path, facts: dict[str, str], steps: list[Step], parity: dict[str, Any], benchmark: dict[str, Any]
) -> None:
    """Write ``gpu-check.json`` and ``gpu-check.md``.

    ``parity`` and ``benchmark`` are what those steps left: how often each check ran; rows, and figures to reach.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"facts": facts, "steps": [step._asdict() for step in steps], "parity": parity, "benchmark": benchmark}
    (folder / "gpu-check.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "gpu-check.md").write_text(page(facts, steps, parity, benchmark))


def page(facts: dict[str, str], steps: list[Step], parity: dict[str, Any], benchmark: dict[str, Any]) -> str:
    """The report as Markdown."""
    parts = [
        "# GPU check\n",
        table(("what", "value"), list(facts.items())),
        table(
            ("step", "outcome", "seconds", "result"),
            [(step.name, step.outcome, f"{step.seconds:.1f}", step.detail) for step in steps],
        ),
    ]
    parts += [f"## {step.name}\n\n```\n{step.output.strip()}\n```\n" for step in steps if step.output]
    if runs := parity.get("runs"):
        parts += ["## Tables per parity check\n", table(("check", "tables"), [(n, str(k)) for n, k in runs.items()])]
    for title, rows in (("Benchmark", benchmark.get("results")), ("Figures to reach", benchmark.get("goals"))):
        if rows:
            columns = tuple(dict.fromkeys(key for row in rows for key in row))
            parts += [f"## {title}\n", table(columns, [tuple(cell(row.get(key)) for key in columns) for row in rows])]
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def cell(value: Any) -> str:
    """One cell: numbers with four digits, parameters as a list."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}={number}" for name, number in value.items())
    return "" if value is None else str(value)
