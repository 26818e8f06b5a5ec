"""What Monte Carlo says of yields, how soon, and what sizing for one costs.

    python -m bench.yields                              # all parts (an hour)
    python -m bench.yields coverage decide rare size    # some of them

coverage: how often the interval of 200 samples holds the true yield, over 200 seeds, on an RC
filter whose yield is known by quadrature. decide: samples until a yield of 99 % is shown or refuted
with 95 % confidence; a fixed test draws 1,000. rare: importance sampling beside 1,000,000 plain
samples of the same filter. size: library circuits sized for targets of their lists, eased by 10 %,
at the nominal corner alone, and until a yield of 99 % is shown; what was found is drawn further
samples of, by another seed. Its runs are kept in bench/results/, and go on there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import read_targets
from m3eda.design.types import AgentChoice, Limits, Spec, Variation
from m3eda.flow import Execution
from m3eda.loop import Run, size
from m3eda.pvt.intervals import Sequential, clopper_pearson
from m3eda.pvt.samples import Samples, is_sample
from m3eda.report.tables import plain_text, table_of
from m3eda.signoff.high_sigma import rare_failures
from m3eda.signoff.monte_carlo import make_plan, monte_carlo

RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("coverage", "decide", "rare", "size")
CIRCUITS = ("five_transistor_ota", "two_stage_miller", "folded_cascode_ota", "current_mirror_ota")
TARGET = 0.99
FRESH_SEED = 1001
EASED = 0.1
"""Share by which limits are eased: the library's targets lie within a tenth of what is possible."""

R, C = 1591.55, 10e-9
SIGMA = {"r": 0.02, "c": 0.02}


def poles(z: Any) -> Any:
    """Of the filter, Hz, for deviations of r and c, shape (samples, 2)."""
    return 1.0 / (2.0 * math.pi * R * C * (1.0 + 0.02 * z[:, 0]) * (1.0 + 0.02 * z[:, 1]))


def margins(within: float, z: Any) -> Any:
    """Of filters whose pole is to lie within `within` of 10 kHz, shape (samples, 1)."""
    return (within - np.abs(poles(z) / 10e3 - 1.0))[:, None]


def true_share(within: float) -> float:
    """The share of filters whose pole lies within `within` of 10 kHz, by quadrature."""
    grid = np.linspace(-9.0, 9.0, 3001)
    weight = np.exp(-(grid**2) / 2.0)
    weight /= weight.sum()
    scale = (1.0 + 0.02 * grid[:, None]) * (1.0 + 0.02 * grid)
    f = 1.0 / (2.0 * math.pi * R * C * scale)
    return float((weight[:, None] * weight * (np.abs(f / 10e3 - 1.0) < within)).sum())


def drawn(seed: int, first: int, count: int) -> Any:
    """Deviations of samples, shape (count, 2)."""
    samples = Samples(["r:value", "c:value"], seed, count)
    return np.array([list(samples.deviations(first + n).values()) for n in range(count)])


def coverage(repeats: int, count: int = 200) -> None:
    rows = []
    for within in (0.03, 0.05, 0.08):
        true, inside, widths = true_share(within), 0, []
        for seed in range(1, repeats + 1):
            good = int((np.abs(poles(drawn(seed, 1, count)) / 10e3 - 1.0) < within).sum())
            low, high = clopper_pearson(good, count, 0.95)
            inside += low <= true <= high
            widths.append(high - low)
        rows.append((f"{true:.2%}", f"{inside} of {repeats}", f"{statistics.mean(widths):.1%}"))
    print(f"95 % interval of {count} samples, {repeats} seeds")
    print(plain_text(table_of(("yield", "holds it", "width"), rows, ("width",))))


def decide(repeats: int, most: int = 5000) -> None:
    rows = []
    for true in (0.90, 0.95, 0.97, 0.98, 0.995, 0.998, 0.9995, 0.99999):
        tests, spent, answers = Sequential(0.95), [], []
        for seed in range(1, repeats + 1):
            bad = np.random.default_rng(seed).random(most) >= true
            lost = np.cumsum(bad)
            count, answer = most, "open"
            for n in range(1, most + 1):
                answer = tests.verdict(n - int(lost[n - 1]), n, TARGET)
                if answer != "open":
                    count = n
                    break
            spent.append(count)
            answers.append(answer)
        right = "met" if true >= TARGET else "missed"
        wrong = sum(each not in (right, "open") for each in answers)
        mean, median = statistics.mean(spent), statistics.median(spent)
        rows.append((f"{true:.3%}", str(answers.count(right)), str(wrong), f"{mean:.0f}",
                     f"{median:.0f}"))  # fmt: skip
    headers = ("yield", "decided right", "wrong", "samples: mean", "median")
    print(f"a yield of 99 % with 95 % confidence, {repeats} seeds, {most} samples at the most")
    print(plain_text(table_of(headers, rows, headers[1:])))


def rare(plain: int) -> None:
    rows = []
    for within in (0.07, 0.09, 0.11, 0.13, 0.15):
        true = 1.0 - true_share(within)
        rng = np.random.default_rng(1)
        bad = sum(
            int((np.abs(poles(rng.standard_normal((plain // 10, 2))) / 10e3 - 1.0) >= within).sum())
            for _ in range(10)
        )
        found = rare_failures(partial(margins, within), 2, 1)
        low, high = found.interval(0.95)
        counted = f"{bad / plain:.3g}" if bad else "none"
        rows.append((f"{true:.3g}", counted, f"{found.probability:.3g}",
                     f"{low:.2g} to {high:.2g}", str(found.simulations)))  # fmt: skip
    headers = ("true", f"{plain:,} plain", "importance sampling", "95 %", "simulations")
    print("probability that the filter's pole is further off than a limit")
    print(plain_text(table_of(headers, rows, ("simulations",))))


def sized(name: str, target: int, yields: bool, samples: int) -> dict[str, Any]:
    """One run, and what fresh samples say of its result."""
    circuit = catalogue().circuit(name)
    home = next(each for each in circuit.technologies if circuit.targets_file(each).is_file())
    project = open_circuit(circuit, home)
    listed = read_targets(circuit.targets_file(home))
    design = project.design
    for measure, limit in listed.limits(target).items():
        eased = {side: value - EASED * abs(value) if side == "min" else value + EASED * abs(value)
                 for side, value in limit.items()}  # fmt: skip
        design = design.with_spec(Spec(measure, Limits(eased.get("min"), eased.get("max"))))
    of = Variation(mismatch=True, samples=samples, yield_target=TARGET if yields else None)
    design = replace(design, variation=of, agent=AgentChoice("search", 300, seed=1, batch=1))
    project = replace(project, design=design)
    notes: list[str] = []
    began = time.perf_counter()
    with closing(project.evaluator(Execution(cache=False, jobs=1))) as evaluator:
        trials = list(size(Run(design, evaluator, project.agent, note=notes.append)))
        seconds, best = time.perf_counter() - began, trials[-1]
        counts = [int(note.split(" of ")[1].split()[0]) for note in notes]
        corners = sum(len(trial.results) for trial in trials)
        found: dict[str, Any] = {
            "circuit": name, "target": target, "yield": yields, "met": best.met,
            "sizings": len(trials), "samples": sum(counts), "sizings_sampled": len(counts),
            "corners": corners, "seconds": seconds,
            "picked": sum(is_sample(each) for each in best.results),
        }  # fmt: skip
        if best.met:
            fresh = replace(design, variation=replace(of, seed=FRESH_SEED, yield_target=None))
            again = replace(project, design=fresh)
            with closing(again.evaluator(Execution(cache=False))) as other:
                plan = make_plan(fresh, other, best.sizing, [fresh.nominal])
                estimate = monte_carlo(fresh, other, best.sizing, plan).estimate
            found |= {"good": estimate.good, "of": estimate.count}
    return found


def sizing(circuits: Sequence[str], targets: int, samples: int, keep: Path) -> None:
    known = [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []
    done = {(each["circuit"], each["target"], each["yield"]) for each in known}
    keep.parent.mkdir(parents=True, exist_ok=True)
    for target in range(targets):
        for name in circuits:
            for yields in (False, True):
                if (name, target, yields) not in done:
                    known.append(sized(name, target, yields, samples))
                    with keep.open("a") as file:
                        file.write(json.dumps(known[-1]) + "\n")
    rows = []
    for name in circuits:
        for yields in (False, True):
            own = [e for e in known if e["circuit"] == name and e["yield"] == yields]
            met = [e for e in own if e["met"]]
            if not met:
                rows.append((name, "99 %" if yields else "", f"0 of {len(own)}", *[""] * 5))
                continue
            shares = [e["good"] / e["of"] for e in met]
            rows.append((
                name, "99 %" if yields else "", f"{len(met)} of {len(own)}",
                f"{statistics.median(e['sizings'] for e in met):.0f}",
                f"{statistics.mean(e['samples'] for e in met):.0f}" if yields else "",
                f"{min(shares):.1%}", f"{statistics.median(shares):.1%}",
                f"{statistics.median(e['seconds'] for e in met):.0f} s",
            ))  # fmt: skip
    headers = ("circuit", "yield", "met", "sizings", "samples", "least yield found", "median",
               "time")  # fmt: skip
    print(plain_text(table_of(headers, rows, headers[3:])))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--targets", type=int, default=3, help="of each circuit")
    parser.add_argument("--circuits", default=",".join(CIRCUITS))
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args()
    small = options.smallest
    options.parts = options.parts or PARTS
    if "coverage" in options.parts:
        coverage(5 if small else 200)
    if "decide" in options.parts:
        decide(2 if small else 200, 500 if small else 5000)
    if "rare" in options.parts:
        rare(10_000 if small else 1_000_000)
    if "size" in options.parts and small:
        with tempfile.TemporaryDirectory() as folder:
            sizing(CIRCUITS[:1], 1, 470, Path(folder) / "yields.jsonl")
    elif "size" in options.parts:
        chosen = options.circuits.split(",")
        sizing(chosen, options.targets, 3000, RESULTS / "yields.jsonl")


if __name__ == "__main__":
    main()
