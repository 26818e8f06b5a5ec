"""The M3 paper's Tables III and IV (arXiv 2411.16019), and the curves of Figs. 4 and 5.

    python -m bench.m3_tables run m3 --seed 1          # hours; resumes
    python -m bench.m3_tables run sac_mamba --seed 1 --steps 75000
    python -m bench.m3_tables                          # the tables, of what was run
    python -m bench.m3_tables --figures docs/figures   # and the curves (needs matplotlib)

Each case is a configuration of `m3eda train`; its run is kept in bench/results/m3/<case>_seed<n>.
Criterion: undiscounted return of 20 deterministic episodes a circuit every 300 steps; reached where
two evaluations in a row have a mean of at least 0 (Table III's second row: a mean length of at most
25) on every circuit; the step is the first one's. Every cell says on how many seeds and steps it
rests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from m3eda.policy.command import TrainOptions, train_command

RESULTS = Path(__file__).resolve().parent / "results" / "m3"
CIRCUITS = ("m3_2soa", "m3_r2soa", "m3_2stia", "m3_comp")
BONUS = 10.0

Scores = Mapping[str, Mapping[str, float]]
"""Circuit -> what an evaluation found."""


@dataclass(frozen=True)
class Case:
    """One method as it is run."""

    title: str
    words: Mapping[str, Any]
    """Of the configuration, beside the defaults."""


def _network(kind: str, width: int = 0) -> dict[str, Any]:
    return {"kind": kind, "d_model": width}


CASES: dict[str, Case] = {
    "m3": Case("M3", {}),
    "m3_learnt": Case("M3, learnt temperature", {"agent": {"temperature": "learnt"}}),
    "m3_number": Case("M3, R counts rollouts", {"rollouts": {"meaning": "number"}}),
    "mbrl": Case("MBRL, schedules held", {"method": "mbrl"}),
    "sac_mamba": Case("SAC with Mamba, d 64", {"method": "sac"}),
    "sac_mamba256": Case(
        "SAC with Mamba, d 256", {"method": "sac", "network": _network("mamba", 256)}
    ),
    "sac_transformer": Case(
        "SAC with Transformer", {"method": "sac", "network": _network("transformer")}
    ),
    "sac_lstm": Case("SAC with LSTM", {"method": "sac", "network": _network("lstm")}),
    "sac_mt": Case("SAC for MT", {"method": "sac", "network": _network("mlp")}),
    "m3_transformer": Case("M3 with a Transformer", {"network": _network("transformer")}),
    "m3_rollout_held": Case("M3, R held at 4", {"schedule": {"rollout": 4}}),
    "m3_updates_held": Case("M3, T_a held at 17.5", {"schedule": {"updates": 17.5}}),
    "m3_real_held": Case("M3, alpha held at 0.5", {"schedule": {"real": 0.5}}),
    **{
        f"{method}_st_{circuit}": Case(
            f"{method.upper()} for ST, {circuit}",
            {"method": method, "environment": {"circuits": [circuit]},
             "network": _network("mlp")},
        )
        for method in ("sac", "ppo")
        for circuit in CIRCUITS
    },
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one seed of a case has brought so far."""

    case: str
    seed: int
    steps: int
    updates: int
    seconds: Mapping[str, float]
    evaluations: Sequence[Mapping[str, Any]]

    def first(self, good: Callable[[Mapping[str, float]], bool]) -> int | None:
        """The first step of two evaluations in a row that are `good` on every circuit."""
        before = False
        for number, each in enumerate(self.evaluations):
            now = all(map(good, each["circuits"].values()))
            if now and before:
                return int(self.evaluations[number - 1]["step"])
            before = now
        return None

    def holds(self, good: Callable[[Mapping[str, float]], bool]) -> int:
        """Evaluations that are `good` on every circuit."""
        return sum(all(map(good, each["circuits"].values())) for each in self.evaluations)


def begin(case: str, seed: int, steps: int | None, options: Mapping[str, Any]) -> None:
    """Train, or go on training."""
    folder = RESULTS / f"{case}_seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    words = {"m3eda": 1, "train": case, "seed": seed, **CASES[case].words, **options}
    config = folder / "train.yaml"
    config.write_text(yaml.safe_dump(words), encoding="utf-8")
    train_command(config, TrainOptions(folder, steps=steps))


def runs() -> list[Run]:
    """Every run there is, by case and seed."""
    found = []
    for path in sorted(RESULTS.glob("*_seed*/evaluations.json")):
        case, _, seed = path.parent.name.rpartition("_seed")
        data = json.loads(path.read_text(encoding="utf-8"))
        if case in CASES:
            kept = (data[key] for key in ("steps", "updates", "seconds", "evaluations"))
            found.append(Run(case, int(seed), *kept))
    order = list(CASES)
    return sorted(found, key=lambda run: (order.index(run.case), run.seed))


def table_3(found: Iterable[Run]) -> list[str]:
    """The first steps that satisfy the criteria."""
    rows = ["| method | seeds | steps run | return >= 0 on all | holds at | length <= 25 on all "
            "| hours |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for title, group in _grouped(found):
        returns = [run.first(lambda s: s["mean_return"] >= 0.0) for run in group]
        lengths = [run.first(lambda s: s["mean_length"] <= 25.0) for run in group]
        hours = ", ".join(f"{sum(run.seconds.values()) / 3600:.1f}" for run in group)
        steps = ", ".join(str(run.steps) for run in group)
        holds = ", ".join(f"{run.holds(lambda s: s['mean_return'] >= 0.0)} of "
                          f"{len(run.evaluations)}" for run in group)  # fmt: skip
        cells = [title, str(len(group)), steps, _steps(returns), holds, _steps(lengths), hours]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def table_4(found: Iterable[Run]) -> list[str]:
    """Successes of the last evaluation, over all seeds, loose and strict."""
    rows = [f"| method | seeds | steps | {' | '.join(CIRCUITS)} |",
            "|---|---|---|" + "---|" * len(CIRCUITS)]  # fmt: skip
    for title, group in _grouped(found):
        cells = [title, str(len(group)), ", ".join(str(run.steps) for run in group)]
        for circuit in CIRCUITS:
            last = [run.evaluations[-1]["circuits"].get(circuit) for run in group]
            cells.append(_share([each for each in last if each]))
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def figures(found: Sequence[Run], folder: Path) -> list[Path]:
    """Mean return and length by environment step, circuit by circuit, a line a method and seed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for key, label in (("mean_return", "mean return"), ("mean_length", "mean length")):
        figure, axes = pyplot.subplots(1, len(CIRCUITS), figsize=(12, 3), sharex=True)
        for axis, circuit in zip(axes, CIRCUITS, strict=True):
            for run in found:
                points = [(each["step"], each["circuits"][circuit][key])
                          for each in run.evaluations if circuit in each["circuits"]]  # fmt: skip
                if points:
                    axis.plot(*zip(*points, strict=True), label=f"{run.case}, seed {run.seed}")
            axis.set_title(circuit)
            axis.set_xlabel("environment steps")
        axes[0].set_ylabel(label)
        axes[0].legend(fontsize=6)
        figure.tight_layout()
        written.append(folder / f"m3_{key}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        pyplot.close(figure)
    return written


def smallest() -> dict[str, Any]:
    """The words of a run of a few seconds."""
    return {
        "environment": {"circuits": ["m3_2soa", "m3_2stia"], "length": 5, "move": 0.2},
        "agent": {"exploration": 10, "batch": 8},
        "models": {"ensemble": 2, "elites": 1, "epochs": 1},
        "rollouts": {"starts": 20},
        "evaluation": {"every": 2, "episodes": 1},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--figures", type=Path, help="a folder for the curves, as SVG")
    parser.add_argument("--smallest", action="store_true", help="train M3 for two steps")
    commands = parser.add_subparsers(dest="command")
    running = commands.add_parser("run", help="train a case, or go on training it")
    running.add_argument("case", choices=list(CASES))
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--steps", type=int)
    options = parser.parse_args(arguments)
    if options.smallest:
        global RESULTS
        RESULTS = RESULTS.with_name("m3_smallest")
        begin("m3", 1, 2, smallest())
    elif options.command == "run":
        begin(options.case, options.seed, options.steps, {})
        return 0
    found = runs()
    if not found:
        print("nothing was run yet: python -m bench.m3_tables run m3 --seed 1")
        return 1
    print("\n".join([*table_3(found), "", *table_4(found)]))
    if options.figures:
        print(*figures(found, options.figures), sep="\n")
    return 0


def _grouped(found: Iterable[Run]) -> list[tuple[str, list[Run]]]:
    groups: dict[str, list[Run]] = {}
    for run in found:
        groups.setdefault(CASES[run.case].title, []).append(run)
    return list(groups.items())


def _steps(firsts: Sequence[int | None]) -> str:
    return ", ".join("not" if each is None else str(each) for each in firsts)


def _share(scores: Sequence[Mapping[str, float]]) -> str:
    """`35/40 (32)`: episodes that succeeded, and in brackets those that met every spec."""
    if not scores:
        return ""
    episodes = int(sum(each["episodes"] for each in scores))
    loose, strict = (
        round(sum(each[key] * each["episodes"] for each in scores)) for key in ("success", "strict")
    )
    return f"{loose}/{episodes} ({strict})"


if __name__ == "__main__":
    sys.exit(main())
