"""What varies from chip to chip: the section `variation`, and what a technology says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from m3eda.design.problems import Problems
from m3eda.design.schema import DesignFile
from m3eda.design.types import Design, Technology, Variation
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake

SAMPLES = 200
OWN = "sections"
"""Under `mismatch` or `process_variation` of a technology: its models draw by themselves."""
TABLES = {"mismatch": ("a_vt", "a_beta"), "process_variation": ("sigma_vt", "sigma_beta")}
"""What a technology gives of each kind of transistor, by the key it stands under."""


def build_variation(file: DesignFile, problems: Problems) -> Variation | None:
    """The section `variation`; None without it. Notes mistakes."""
    entry = file.variation
    if entry is None:
        return None
    known = {
        **{name: each.value for name, each in file.parameters.items()},
        **file.conditions,
    }
    for name in entry.sigma:
        if name not in known:
            hint = nearest(name, known) or f"known: {', '.join(known)}"
            text = f"'{name}' is neither a parameter nor a condition"
            problems.add(("variation", "sigma", name), text, hint, of_key=True)
        elif isinstance(known[name], str) or (
            name in file.parameters and _has_words(file.parameters[name].choices)
        ):
            text = f"'{name}' is a word, which has no standard deviation"
            problems.add(("variation", "sigma", name), text, of_key=True)
    if entry.yield_ is not None and not (entry.mismatch or entry.process or entry.sigma):
        text, hint = "nothing varies", "add mismatch: true, process: true or sigma: {...}"
        problems.add(("variation", "yield"), text, hint)
    return Variation(
        entry.mismatch,
        entry.process,
        entry.samples or samples_for(entry.yield_),
        entry.yield_,
        dict(entry.sigma),
        entry.confidence,
        entry.sampling,
        entry.seed,
    )


def samples_for(target: float | None) -> int:
    """Samples where nobody says how many: for a yield several times what shows it at best."""
    return SAMPLES if target is None else max(SAMPLES, math.ceil(30.0 / (1.0 - target)))


def _has_words(choices: list[Any] | None) -> bool:
    return any(isinstance(choice, str) for choice in choices or [])


def draws_by_itself(technology: Technology | None, key: str) -> Mapping[str, str]:
    """Process corner -> section whose models draw `key` by themselves; empty where none do."""
    data = _data(technology, key)
    sections = data.get(OWN, {})
    return sections if isinstance(sections, Mapping) else {}


def coefficients(technology: Technology | None, key: str) -> dict[str, tuple[float, float]]:
    """Kind of transistor -> its two numbers of `TABLES[key]`, the threshold's and the current
    factor's; 0 where one is not given."""
    data = _data(technology, key)
    first, second = (data.get(name, {}) for name in TABLES[key])
    return {
        kind: (float(first.get(kind, 0.0)), float(second.get(kind, 0.0)))
        for kind in {**first, **second}
    }


def variation_mistake(design: Design) -> tuple[str, str] | None:
    """Why nothing can be drawn of `design`, and what would help; None where it can."""
    variation, technology = design.variation, design.technology
    if variation is None or not (variation.mismatch or variation.process or variation.sigma):
        hint = "add `variation: {mismatch: true}`, process: true or sigma: {...}"
        return "the design does not say what varies", hint
    for wanted, key in (
        (variation.mismatch, "mismatch"),
        (variation.process, "process_variation"),
    ):
        if not wanted:
            continue
        own = draws_by_itself(technology, key)
        if technology is not None and own:
            if technology.nominal not in own:
                text = (
                    f"technology {technology.name}: {key}.{OWN} has none for {technology.nominal}"
                )
                return text, f"it has {', '.join(own)}"
        elif not any(any(pair) for pair in coefficients(technology, key).values()):
            name = f"technology {technology.name}" if technology else "a design without technology"
            tables = " and ".join(f"{table}: {{nmos: ..., pmos: ...}}" for table in TABLES[key])
            hint = f"give technology.{key} {tables}, or {OWN}: {{corner: section}}"
            return f"{name} has no {key.replace('_', ' ')}", hint
    if variation.yield_target is not None and variation.sampling != "random":
        text = f"a yield is shown by independent samples, not by {variation.sampling}"
        return text, "leave `sampling` or the yield out"
    both = [draws_by_itself(technology, key) for key in TABLES]
    if variation.mismatch and variation.process and all(both) and both[0] != both[1]:
        text = f"its models draw mismatch in {_listed(both[0])} and process in {_listed(both[1])}"
        return text, "ask for one of them at a time"
    return None


def _listed(sections: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(sections.values()))


def _data(technology: Technology | None, key: str) -> Mapping[str, Any]:
    data = technology.data.get(key, {}) if technology else {}
    return data if isinstance(data, Mapping) else {}


def check_variation(design: Design) -> None:
    """Raises DesignError where the design or its technology does not say what varies."""
    mistake = variation_mistake(design)
    if mistake is not None:
        text, hint = mistake
        raise DesignError([Mistake(text, design.path, key="variation", hint=hint)])


def with_variation(design: Design, **changes: Any) -> Design:
    """`design` with `variation` changed; mismatch where it has none. None leaves a word as is."""
    variation = design.variation or Variation(mismatch=True)
    if changes.get("yield_target") is not None and changes.get("samples") is None:
        changes["samples"] = max(variation.samples, samples_for(changes["yield_target"]))
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(design, variation=replace(variation, **given))
