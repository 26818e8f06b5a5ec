"""What became of an objective, in words."""

from __future__ import annotations

from m3eda.objective.values import Aim, aims
from m3eda.report.summary import Summary
from m3eda.report.tables import aim_text, count_text
from m3eda.simulate.trial import Trial


def objective_text(summary: Summary) -> str:
    """The objective's value, or the size of the Pareto front; empty where there is neither."""
    design, wanted = summary.design, aims(summary.design.objective)
    if not summary.front:
        return ""
    if len(wanted) > 1:
        return f"{count_text(len(summary.front), 'sizing')} on the Pareto front"
    return f"{wanted[0].measure} {aim_text(design, wanted[0], summary.front[0])}"


def objective_lines(summary: Summary) -> list[str]:
    """How far each measure has come since every spec was met first, and what is handed over."""
    wanted, first, best = aims(summary.design.objective), summary.first, summary.best
    if first is None or best is None:
        return []
    lines = [_aim_line(summary, aim, first) for aim in wanted]
    if len(wanted) > 1:
        points = count_text(len(summary.front), "sizing")
        lines.append(
            f"Pareto front: {points}; handed over: trial {best.number}, nearest to all the best"
        )
    return lines


def _aim_line(summary: Summary, aim: Aim, first: Trial) -> str:
    """`ibias: 210 uA in trial 77, 31 % less than in trial 12, the first feasible (305 uA)`."""
    design = summary.design
    best = min(summary.front, key=aim.cost)
    text = f"{aim.measure}: {aim_text(design, aim, best)} in trial {best.number}, "
    if aim.cost(best) == aim.cost(first):
        return text + "as in the first feasible one"
    begun, now = (aim.value(aim.cost(trial)) for trial in (first, best))
    step = "after"
    if begun * now > 0.0:
        share = 100.0 * abs(now - begun) / abs(begun)
        step = f"{share:.3g} % {'less' if now < begun else 'more'} than"
    return f"{text}{step} {aim_text(design, aim, first)} in the first feasible one"
