"""Monte Carlo: what is drawn, what it says of a yield, and sizing until a yield is shown."""

from __future__ import annotations

import json
import math
import signal
from contextlib import closing
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from m3eda import monte_carlo as library_samples
from m3eda.design.types import Limits, Spec, Variation
from m3eda.errors import DesignError
from m3eda.flow import Execution, Project
from m3eda.ledger import Ledger
from m3eda.loop import Run, size
from m3eda.pvt.choice import make_exploration
from m3eda.pvt.for_yield import attempt_confidence, least_samples
from m3eda.pvt.intervals import Sequential, clopper_pearson, percent
from m3eda.pvt.samples import Samples, samples_of
from m3eda.signoff.high_sigma import distances, rare_failures
from m3eda.signoff.monte_carlo import make_plan, monte_carlo, spreads
from m3eda.simulate.deviations import Deviations
from m3eda.simulate.trial import CornerResult, score
from tests.helpers import changed, m3eda, only_line, started, write_rc
from tests.learning_samples import write_filter

PAIR = """\
* two diodes of one size, each with the same current
{{ technology.include }}
i1 0 a 10u
i2 0 b 10u
m1 a a 0 0 nmos w={{ w }} l={{ l }} m=2
m2 b b 0 0 nmos w={{ w }} l={{ l }} m=2
v3 c 0 0.6
m3 c c 0 0 nmos w={{ w }} l={{ l }}
.op
.end
"""
PAIR_DESIGN = """\
m3eda: 1
design: pair
technology: generic45
testbenches: {op: pair.cir.j2}
parameters:
  w: {min: 1u, max: 50u, start: 4u}
  l: {min: 0.1u, max: 2u, start: 0.5u}
measures:
  gap: {expr: "v(a) - v(b)", unit: V}
  current: {expr: "-i(v3)", unit: A}
  shift: {expr: "@m1[vth] - @m2[vth]", unit: V}
specs:
  gap: {min: -2m, max: 2m}
  shift: {min: -2m, max: 2m}
"""
TOLERANT = "variation: {sigma: {r: 2%, c: 5%}, samples: 400}\n"


@pytest.fixture
def pair(tmp_path):
    (tmp_path / "pair.cir.j2").write_text(PAIR)
    (tmp_path / "design.yaml").write_text(PAIR_DESIGN)
    return tmp_path


@pytest.fixture
def tolerant(tmp_path):
    """The RC filter with tolerances; f3db is to be 10 kHz within 2 %."""
    write_rc(tmp_path)
    with (tmp_path / "design.yaml").open("a") as file:
        file.write(TOLERANT)
    return tmp_path


def drawn(project, count, sizing=None, corners=None):
    """The outcome of `count` samples of the nominal sizing."""
    design = replace(project.design, variation=replace(project.design.variation, samples=count))
    project = replace(project, design=design)
    with closing(project.evaluator(Execution(cache=False))) as evaluator:
        whole = evaluator.complete({**project.nominal_sizing(), **(sizing or {})})
        plan = make_plan(design, evaluator, whole, corners or [design.nominal])
        return monte_carlo(design, evaluator, whole, plan)


def mismatched(path, **changes):
    project = Project.load(path)
    return replace(project, design=replace(project.design, variation=Variation(**changes)))


@pytest.mark.simulator
def test_a_matched_pair_differs_as_pelgrom_has_it(pair):
    project = mismatched(pair / "design.yaml", mismatch=True, seed=2)
    outcome = drawn(project, 1000)
    area = 4e-6 * 0.5e-6 * 2
    found = {each.measure: each for each in spreads(outcome)}
    shifts, expected = outcome.values("shift"), 2.5e-9 / math.sqrt(area)
    assert shifts.std(ddof=1) == pytest.approx(expected, rel=0.05)
    assert abs(shifts.mean()) < 4.0 * expected / math.sqrt(1000)
    # of a device alone 1 / sqrt(2) of that, of the current factor as well
    vt, beta = (
        np.array([outcome.plan.samples.deviations(n)[name] for n in range(1, 1001)])
        for name in ("m1:vt", "m1:beta")
    )
    assert np.corrcoef(shifts, vt)[0, 1] == pytest.approx(math.sqrt(0.5), abs=0.06)
    gaps = outcome.values("gap")
    slope = np.linalg.lstsq(np.array([vt, beta]).T, gaps, rcond=None)[0]
    # the voltage of a diode falls by the change of its current over gm / id, which is 16.8 / V
    assert slope[1] == pytest.approx(-1e-8 / math.sqrt(2 * area) / 16.8, rel=0.15)
    names = dict(found["shift"].by)
    assert set(names) >= {"m1:vt", "m2:vt"}
    assert names["m1:vt"] == pytest.approx(0.5, abs=0.1)
    # a quarter of the area: twice the spread, of the very same samples
    quarter = drawn(project, 100, {"w": 1e-6}).values("shift")
    assert quarter == pytest.approx(2.0 * shifts[:100], rel=1e-6)


@pytest.mark.simulator
def test_process_moves_devices_of_a_kind_together(pair):
    outcome = drawn(mismatched(pair / "design.yaml", process=True), 200)
    assert outcome.plan.samples.names == ("process.nmos:vt", "process.nmos:beta")
    assert np.abs(outcome.values("gap")).max() < 1e-9
    currents = np.array([trial.measures["current"] for trial in outcome.trials])
    assert 0.02 < currents.std() / currents.mean() < 0.3


@pytest.mark.simulator
def test_a_loaded_circuit_gives_what_a_fresh_simulator_gives(pair):
    project = mismatched(pair / "design.yaml", mismatch=True, process=True, samples=4)
    found = []
    for execution in (Execution(cache=False), Execution(cache=False, cold=True)):
        with closing(project.evaluator(execution)) as evaluator:
            whole = evaluator.complete(project.nominal_sizing())
            samples = samples_of(project.design, evaluator.renderer.deviations(whole))
            at = [samples.at(number, project.design.nominal) for number in range(1, 5)]
            decks = evaluator.decks(whole, at[0])
            [results] = evaluator.evaluate([whole], at)
            found.append([result.measures["gap"] for result in results.values()])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert len(set(found[0])) == 4
    skeletons = {decks["op"].skeleton, evaluator.decks(whole, at[3])["op"].skeleton}
    assert len(skeletons) == 1, "one circuit stays loaded for all samples"
    assert None not in skeletons


def test_samples_are_drawn_again_by_number_and_seed():
    one = Samples(["m1:vt", "m2:vt"], 1, 10)
    more = Samples(["m1:vt", "m3:vt", "m2:vt"], 1, 10)
    assert one.deviations(7) == Samples(["m1:vt", "m2:vt"], 1, 10).deviations(7)
    assert one.deviations(7) != one.deviations(8)
    assert one.deviations(7) != Samples(["m1:vt", "m2:vt"], 2, 10).deviations(7)
    # another device changes none of the others
    assert more.deviations(7)["m2:vt"] == one.deviations(7)["m2:vt"]
    values = [one.deviations(n)["m1:vt"] for n in range(1, 4001)]
    assert np.mean(values) == pytest.approx(0.0, abs=0.06)
    assert np.std(values) == pytest.approx(1.0, abs=0.04)
    assert abs(np.corrcoef(values, [one.deviations(n)["m2:vt"] for n in range(1, 4001)])[0, 1]
               ) < 0.06  # fmt: skip


@pytest.mark.parametrize("sampling", ["latin-hypercube", "sobol"])
def test_samples_that_are_spread_evenly(sampling):
    samples = Samples(["a", "b", "c"], 3, 64, sampling)
    values = np.array([list(samples.deviations(n).values()) for n in range(1, 65)])
    # one in each of 64 layers of equal probability
    layers = np.sort(
        np.floor([[64.0 * NormalDist().cdf(v) for v in row] for row in values]), axis=0
    )
    spread = (layers == np.arange(64)[:, None]).mean()
    assert spread == 1.0 if sampling == "latin-hypercube" else spread > 0.9
    again = Samples(["a", "b", "c"], 3, 64, sampling)
    assert again.deviations(5) == samples.deviations(5)
    # a second attempt of as many is another draw
    assert again.deviations(64 + 5) != samples.deviations(5)


NESTED = """\
* mirror of stages
.include "nothing.lib"
.subckt stage in out
m1 out in 0 0 nmos w=1u
+ l=0.1u $ its length
r1 out 0 1k
.ends stage
.subckt chain a c
x1 a b stage
x2 b c stage
.ends chain
xc1 p q chain
xc2 r s chain
mp q p vdd vdd PMOS w='2*1u' l={0.2u} m=3
mx q p vdd vdd other w=1u l=1u
.op
.end
"""


def deviations_of(tmp_path, **changes):
    (tmp_path / "pair.cir.j2").write_text(PAIR)
    (tmp_path / "design.yaml").write_text(PAIR_DESIGN)
    return Deviations(mismatched(tmp_path / "design.yaml", **changes).design)


def test_instances_of_a_subcircuit_differ_and_copies_of_the_circuit_do_not(tmp_path):
    found = deviations_of(tmp_path, mismatch=True)
    names = found.names(NESTED)
    assert names == [
        "chain.x1.m1:vt", "chain.x1.m1:beta", "chain.x2.m1:vt", "chain.x2.m1:beta", "mp:vt",
        "mp:beta",
    ]  # fmt: skip
    text = found.deck(NESTED, {name: i + 1.0 for i, name in enumerate(names)}, repr, 0)
    lines = text.splitlines()
    assert lines[0] == "* mirror of stages"
    assert lines[-1] == ".end"
    assert lines.count(".subckt stage in out") == lines.count(".subckt stage__2 in out") == 1
    assert "x1 a b stage" in lines
    assert "x2 b c stage__2" in lines
    assert "xc1 p q chain" in lines
    assert "xc2 r s chain" in lines
    at = lines.index("+ l=0.1u $ its length")
    vt = 2.5e-9 / math.sqrt(2.0)
    assert lines[at + 1].startswith(f"+ delvto={{(1.0*{vt!r}/sqrt((1u)*(0.1u)))}} mulu0={{(2.0*")
    pmos = lines[lines.index("mp q p vdd vdd PMOS w='2*1u' l={0.2u} m=3") + 1]
    assert pmos.startswith(f"+ delvto={{(5.0*{vt!r}/sqrt((2*1u)*(0.2u)*(3)))}}")
    assert not lines[lines.index("mx q p vdd vdd other w=1u l=1u") + 1].startswith("+")


def test_netlists_that_are_included_vary_too(tmp_path):
    (tmp_path / "dut.cir").write_text(".subckt dut d g\nm1 d g 0 0 nmos w=1u l=1u\n.ends\n")
    text = f'* deck\n.include "{tmp_path / "dut.cir"}"\nx1 d g dut\n.op\n.end\n'
    found = deviations_of(tmp_path, mismatch=True)
    assert found.names(text) == ["dut.m1:vt", "dut.m1:beta"]
    assert "delvto={(0.5*" in found.deck(text, {"dut.m1:vt": 0.5, "dut.m1:beta": 0.0}, repr, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* deck\nm1 d g 0 0 nmos w=1u\n.end\n", "transistor m1 has no w or no l"),
        ("* d\n.subckt a x\n.subckt b y\nm1 y y 0 0 nmos w=1u l=1u\n.ends\n.ends\n.end\n",
         "subcircuits within subcircuits"),
        ("* d\n.subckt a x\nx1 x a\nm1 x x 0 0 nmos w=1u l=1u\n.ends\nx1 y a\n.end\n",
         "one that holds itself"),
    ],
)  # fmt: skip
def test_netlists_that_cannot_be_varied(tmp_path, text, said):
    with pytest.raises(DesignError, match=said):
        deviations_of(tmp_path, mismatch=True).names(text)


def test_intervals_are_those_of_the_binomial():
    # Clopper and Pearson's own numbers: 0 of 10 bad, and the rule of three
    assert clopper_pearson(10, 10, 0.95) == (pytest.approx(0.6915, abs=1e-4), 1.0)
    assert clopper_pearson(0, 10, 0.95)[1] == pytest.approx(0.3085, abs=1e-4)
    low, high = clopper_pearson(95, 100, 0.95)
    assert (low, high) == (pytest.approx(0.8872, abs=1e-4), pytest.approx(0.9836, abs=1e-4))
    assert percent(0.999936) == "99.99 %"
    assert percent(0.9999999) == "99.99999 %"


def test_tests_that_stop_when_they_know_are_seldom_wrong():
    """At a yield of just the target neither answer is right; each comes in 5 % of runs at most."""
    rng, tests = np.random.default_rng(1), Sequential(0.95)
    answers = []
    for _ in range(120):
        good = np.cumsum(rng.random(800) < 0.95)
        verdicts = (tests.verdict(int(good[n - 1]), n, 0.95) for n in range(20, 801, 20))
        answers.append(next((each for each in verdicts if each != "open"), "open"))
    assert answers.count("met") <= 12
    assert answers.count("missed") <= 12
    assert tests.verdict(200, 200, 0.98) == "met"
    assert tests.verdict(180, 200, 0.98) == "missed"
    low, high = tests.bounds(196, 200)
    assert clopper_pearson(196, 200, 0.95)[0] > low > 0.93
    assert high < 1.0
    assert tests.verdict(196, 200, low - 1e-3) == "met"
    assert tests.verdict(196, 200, high + 1e-3) == "missed"
    assert tests.bounds(0, 10)[0] == 0.0
    assert tests.bounds(10, 10)[1] == 1.0
    assert 298 < least_samples(0.99, 0.95) < 400


def true_yield():
    """Of the RC filter at 1591.55 Ohm, 10 nF: by quadrature over both tolerances."""
    grid = np.linspace(-6, 6, 1201)
    weight = np.exp(-(grid**2) / 2)
    weight /= weight.sum()
    r, c = 1591.55 * (1 + 0.02 * grid[:, None]), 10e-9 * (1 + 0.05 * grid)
    f3db = 1.0 / (2 * math.pi * r * c)
    return float((weight[:, None] * weight * (np.abs(f3db - 10e3) < 200)).sum())


@pytest.mark.simulator
def test_the_yield_is_that_of_the_formula(tolerant):
    changed(tolerant, "series: E24", "start: 1591.55")
    changed(tolerant, "scale: log", "start: 10n")
    outcome = drawn(Project.load(tolerant / "design.yaml"), 400)
    found = outcome.estimate
    expected = true_yield()
    assert 0.2 < expected < 0.4
    assert found.low < expected < found.high
    assert found.high - found.low < 0.1
    f3db = next(each for each in spreads(outcome) if each.measure == "f3db")
    assert f3db.sigma == pytest.approx(10e3 * math.hypot(0.02, 0.05), rel=0.12)
    assert f3db.failed == found.count - found.good
    assert [name for name, _ in f3db.by] == ["c:value", "r:value"]
    assert f3db.cpk == pytest.approx(
        min(f3db.mean - 9800, 10200 - f3db.mean) / (3 * f3db.sigma), rel=1e-9
    )


@pytest.mark.simulator
def test_the_command_says_what_the_samples_say(tolerant):
    where = ["verify", "design.yaml", "--sizing", "given.json", "--monte-carlo"]
    (tolerant / "given.json").write_text(json.dumps({"sizing": {"r": 1.6e3, "c": 1e-8}}))
    done = m3eda(*where, "--samples", "40", cwd=tolerant)
    assert done.returncode == 1
    assert done.stdout.startswith("rc: ")
    assert "of 40 samples pass: yield " in done.stdout
    assert "c:value" in done.stdout
    data = json.loads(m3eda(*where, "--samples", "40", "--format", "json", cwd=tolerant).stdout)
    good = sum(sample["met"] for sample in data["samples"])
    assert data["yield"]["good"] == good
    assert len(data["samples"]) == data["yield"]["samples"] == 40
    assert sum(data["specs"]["f3db"]["histogram"]["counts"]) == 40
    worst = data["specs"]["f3db"]["worst_sample"]
    alone = json.loads(
        m3eda(*where, "--sample", str(worst), "--format", "json", cwd=tolerant).stdout
    )
    assert alone["measures"] == data["samples"][worst - 1]["measures"]
    assert set(alone["deviations"]) == {"r:value", "c:value"}
    deck = m3eda("render", "design.yaml", "--set", "r=1.6k", "--set", "c=10n", "--sample",
                 str(worst), cwd=tolerant).stdout  # fmt: skip
    resistor = 1.6e3 * (1 + 0.02 * alone["deviations"]["r:value"])
    assert float(deck.split("r1 in out ")[1].split()[0]) == pytest.approx(resistor, rel=1e-9)
    # a yield far from the true one is decided by few
    soon = m3eda(*where, "--yield", "5%", cwd=tolerant)
    assert soon.returncode == 0
    assert "yield at least 5 % with 95 % confidence" in soon.stdout
    refuted = m3eda(*where, "--yield", "99%", "--seed", "5", cwd=tolerant)
    assert refuted.returncode == 1
    assert "yield below 99 % with 95 % confidence" in refuted.stdout


@pytest.mark.simulator
def test_corners_and_samples_together(tmp_path):
    path = write_filter(tmp_path)
    with path.open("a") as file:
        file.write("variation: {sigma: {r: 5%}, samples: 30}\n")
    project = Project.load(path)
    design = project.design
    outcome = drawn(project, 30, corners=[design.nominal, *design.corners])
    for trial in outcome.trials:
        assert list(trial.results) == ["nominal", "light", "heavy"]
    light = [trial.results["light"].measures["f3db"] for trial in outcome.trials]
    heavy = [trial.results["heavy"].measures["f3db"] for trial in outcome.trials]
    # one chip at three corners: the same resistor
    assert np.argsort(light).tolist() == np.argsort(heavy).tolist()


FOR_YIELD = "variation: {sigma: {r: 3%, c: 3%}, yield: 95%, samples: 300}\n"


def for_yield(folder):
    """The filter, whose pole is to lie between 10 and 12.5 kHz."""
    path = write_filter(folder)
    changed(folder, "far: {max: 0.1}", "far: {max: 0.0125}")
    with path.open("a") as file:
        file.write(FOR_YIELD)
    return path


def sized(path, **overrides):
    project = Project.load(path, batch=1, **overrides)
    notes = []
    with closing(project.evaluator()) as evaluator:
        run = Run(project.design, evaluator, project.agent, note=notes.append)
        return project, list(size(run)), notes


def test_sizing_goes_on_until_the_yield_is_shown(tmp_path):
    project, found, notes = sized(for_yield(tmp_path), agent="search")
    last = found[-1]
    assert last.met
    assert not any(trial.met for trial in found[:-1])
    assert notes[-1].endswith("yield at least 95 %")
    assert any("yield below" in note or "not enough" in note for note in notes[:-1])
    # a sizing that holds at the nominal corner and was refuted keeps the samples that refute it
    nominal = [score(0, t.sizing, {"nominal": t.results["nominal"]}, project.design.specs)
               for t in found[:-1]]  # fmt: skip
    refuted = [trial for trial, alone in zip(found, nominal, strict=False) if alone.met]
    assert refuted
    assert all(set(trial.results) > {"nominal"} for trial in refuted)
    # chips that had no part in the search
    drawn_anew = drawn(
        replace(project, design=replace(project.design, variation=replace(
            project.design.variation, seed=77, yield_target=None))), 400, last.sizing)  # fmt: skip
    assert drawn_anew.estimate.share > 0.93


def test_a_run_for_a_yield_goes_on_where_it_was_killed(tmp_path):
    whole = for_yield(tmp_path / "whole")
    done = m3eda("size", whole.name, "--json", "--batch", "1", "-j", "2", cwd=whole.parent)
    assert done.returncode == 0, done.stderr
    killed = for_yield(tmp_path / "killed")
    process = started("size", killed.name, "--stream", "--batch", "1", cwd=killed.parent)
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    again = m3eda("size", killed.name, "--json", "--batch", "1", cwd=killed.parent)
    assert again.returncode == 0
    one, other = json.loads(done.stdout), json.loads(again.stdout)
    assert one["sizing"] == other["sizing"]
    with Ledger(whole.parent / "runs" / "filter", read_only=True) as ledger:
        first = ledger.trials(ledger.segments()[-1].id)
    with Ledger(killed.parent / "runs" / "filter", read_only=True) as ledger:
        second = ledger.trials(ledger.segments()[-1].id)
    assert [t.sizing for t in first] == [t.sizing for t in second]
    assert [list(t.results) for t in first] == [list(t.results) for t in second]
    report = m3eda("report", "runs/filter", cwd=killed.parent)
    assert report.returncode == 0
    assert "yield at least 95 % with 95 % confidence, at the nominal corner" in report.stdout


@pytest.mark.parametrize(
    ("variation", "said"),
    [
        ("{sigma: {rr: 1%}}", "variation.sigma.rr: 'rr' is neither a parameter nor a condition"),
        ("{yield: 99%}", "variation.yield: nothing varies"),
        ("{sigma: {r: -1%}}", "variation.sigma.r: '-1%' must be greater than 0"),
        ("{sigma: {r: 1%}, sampling: halton}", "variation.sampling: 'halton'"),
    ],
)
def test_mistakes_of_the_section(here, rc, variation, said):
    with (rc / "design.yaml").open("a") as file:
        file.write(f"variation: {variation}\n")
    done = here("check", "design.yaml")
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("variation", "arguments", "said"),
    [
        ("", ["--monte-carlo"], "a design without technology has no mismatch"),
        ("{mismatch: true}", ["--monte-carlo"], "a design without technology has no mismatch"),
        ("{samples: 5}", ["--monte-carlo"], "the design does not say what varies"),
        ("", ["--samples", "5"], "--sample need --monte-carlo"),
        ("", ["--monte-carlo", "--yield", "120%"], "'120%' is no share"),
        ("{sigma: {r: 1%}}", ["--monte-carlo", "--corner", "cold"], "no corner is called 'cold'"),
    ],
)
def test_what_cannot_be_drawn(here, rc, variation, arguments, said):
    if variation:
        with (rc / "design.yaml").open("a") as file:
            file.write(f"variation: {variation}\n")
    (rc / "given.json").write_text(json.dumps({"sizing": {"r": 1600.0, "c": 1e-8}}))
    done = here("verify", "design.yaml", "--sizing", "given.json", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variation", "said"),
    [
        ("{sigma: {r: 1%}, yield: 99.9%, samples: 500}",
         "500 samples cannot show a yield of 0.999 with a confidence of 0.95"),
        ("{mismatch: true, yield: 90%}", "a design without technology has no mismatch"),
    ],
)  # fmt: skip
def test_yields_that_cannot_be_sized_for(here, rc, variation, said):
    with (rc / "design.yaml").open("a") as file:
        file.write(f"variation: {variation}\n")
    done = here("size", "design.yaml", "-q")
    assert done.returncode == 2
    assert said in only_line(done)


def test_an_objective_beside_a_yield_is_refused(here, rc):
    with (rc / "design.yaml").open("a") as file:
        file.write("variation: {sigma: {r: 1%}, yield: 90%}\nobjective: {minimize: far}\n")
    done = here("size", "design.yaml", "-q")
    assert done.returncode == 2
    assert "a yield is not shown while an objective is bettered" in only_line(done)


OWN = """\
.lib tt
.param dr=0
.endl tt
.lib tt_mm
.param dr={DRAW}
.endl tt_mm
"""
OWN_DESIGN = """\
m3eda: 1
design: own
technology:
  lib: own.lib
  sections: {tt: tt}
  mismatch: {sections: {tt: tt_mm}}
testbenches: {op: own.cir.j2}
parameters:
  r: {min: 1k, max: 2k, start: 1k}
measures:
  v: {expr: v(a), unit: V}
specs:
  v: {max: 1.2}
variation: {mismatch: true, samples: 20}
"""


def own_models(folder, draw):
    (folder / "own.lib").write_text(OWN.replace("{DRAW}", f"{{{draw}}}"))
    (folder / "own.cir.j2").write_text(
        "* own\n{{ technology.include }}\ni1 0 a 1m\nr1 a 0 {{ '{' }}{{ r }}*(1+dr){{ '}' }}\n"
        ".op\n.end\n"
    )
    (folder / "design.yaml").write_text(OWN_DESIGN)
    return folder / "design.yaml"


@pytest.mark.simulator
def test_models_that_draw_by_themselves_are_given_a_seed(tmp_path):
    path = own_models(tmp_path, "agauss(0,0.1,1)")
    project = Project.load(path)
    first = drawn(project, 20)
    values = first.values("v")
    assert len(set(values)) == 20
    assert values.std(ddof=1) == pytest.approx(0.1, rel=0.5)
    again = drawn(project, 20)
    assert again.values("v").tolist() == values.tolist()
    with closing(project.evaluator(Execution(cache=False))) as evaluator:
        whole = evaluator.complete(project.nominal_sizing())
        [results] = evaluator.evaluate([whole])
    assert results["nominal"].measures["v"] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.simulator
def test_a_section_that_draws_nothing_is_refused(tmp_path, here, monkeypatch):
    path = own_models(tmp_path, "0.05")
    with pytest.raises(DesignError, match="samples are all alike: section tt_mm draws nothing"):
        drawn(Project.load(path), 20)


@pytest.mark.simulator
def test_devices_that_the_technology_knows_nothing_of(pair):
    changed(pair, "nmos w=", "other w=", "pair.cir.j2")
    with pytest.raises(DesignError, match="no transistor of the decks"):
        drawn(mismatched(pair / "design.yaml", mismatch=True), 20)


WIDE = 6
TOWARDS = np.array([0.6, 0.0, -0.8, 0.0, 0.0, 0.0])
RARE = {
    "one limit": (lambda z: (4.0 - z @ TOWARDS)[:, None], 3.167e-5),
    "both sides": (lambda z: (4.0 - np.abs(z @ TOWARDS))[:, None], 6.334e-5),
    "curved": (lambda z: (np.exp(0.8) - np.exp(0.2 * (z @ TOWARDS)))[:, None], 3.167e-5),
    "no value": (lambda z: np.where(z @ TOWARDS > 3.0, np.nan, 1.0)[:, None], 1.35e-3),
    "two specs": (lambda z: np.stack([3.0 - z[:, 1], 3.0 - z[:, 3]], axis=1), 2.698e-3),
}


@pytest.mark.parametrize("case", RARE)
def test_rare_failures_are_as_rare_as_they_are(case):
    margins, expected = RARE[case]
    found = rare_failures(margins, WIDE, 1)
    low, high = found.interval(0.999)
    assert low < expected < high
    assert found.probability == pytest.approx(expected, rel=0.35)
    assert found.simulations < 3000
    nearest = {"no value": 3.0, "two specs": 3.0}.get(case, 4.0)
    assert found.ways[0].distance == pytest.approx(nearest, abs=0.4)
    assert len(found.ways) == (2 if case in ("both sides", "two specs") else 1)
    again = rare_failures(margins, WIDE, 1)
    assert again.probability == found.probability
    assert found.sigma == pytest.approx(-NormalDist().inv_cdf(expected), abs=0.12)


def test_what_never_fails():
    found = rare_failures(lambda z: np.full((len(z), 2), 5.0), WIDE, 1)
    assert found.ways == []
    assert math.isnan(found.probability)
    assert math.isnan(found.sigma)
    assert distances(found, ["a", "b"]) == {"a": math.inf, "b": math.inf}


def test_importance_sampling_by_the_command(tmp_path):
    path = write_filter(tmp_path)
    with path.open("a") as file:
        file.write("variation: {sigma: {r: 2%, c: 2%}}\n")
    (tmp_path / "given.json").write_text(json.dumps({"sizing": {"r": 4e3, "c": 2.5e-9, "n": 1}}))
    where = ["verify", path.name, "--sizing", "given.json", "--high-sigma"]
    # f3db = 1 / (2 pi r (c + 1n)) is 11.37 kHz, 12 % above its limit
    grid = np.linspace(-8, 8, 3201)
    weight = np.exp(-(grid**2) / 2)
    weight /= weight.sum()
    poles = 4e3 * (1 + 0.02 * grid[:, None]) * (2.5e-9 * (1 + 0.02 * grid) + 1e-9)
    f3db = 1.0 / (2 * math.pi * poles)
    expected = float((weight[:, None] * weight * (f3db < 10e3)).sum())
    assert 1e-9 < expected < 1e-4
    data = json.loads(m3eda(*where, "--format", "json", cwd=tmp_path).stdout)
    assert data["low"] * 0.7 < expected < data["high"] * 1.3
    assert data["passed"]
    assert data["worst_case_distance"]["f3db"] > 4.0
    [way] = [way for way in data["ways"] if way["spec"] == "f3db"]
    assert way["deviations"]["r:value"] > way["deviations"]["c:value"] > 1.0
    shown = m3eda(*where, cwd=tmp_path)
    assert shown.returncode == 0
    assert "fails with a probability of" in shown.stdout
    assert "r:value +" in shown.stdout
    refused = m3eda(*where, "--yield", "99.9999999999%", cwd=tmp_path)
    assert refused.returncode == 1
    both = m3eda(*where, "--monte-carlo", cwd=tmp_path)
    assert both.returncode == 2
    assert "exclude each other" in only_line(both)


@pytest.mark.simulator
def test_samples_from_python(tolerant):
    outcome = library_samples(tolerant / "design.yaml", {"r": 1.6e3, "c": 1e-8}, samples=20, seed=4)
    assert [trial.number for trial in outcome.trials] == list(range(1, 21))
    assert outcome.estimate.count == 20
    assert outcome.values("f3db").shape == (20,)
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        library_samples(tolerant / "design.yaml", target=1.5)


AS_WRITTEN = """\
* as exports write it
.subckt inv a y params: wn=1u
M1 y a 0 0 NMOS
* between
  + w={wn} l=0.1u $ no m=9 here

+ m=2 // nor m=3
.ends inv
x1 a y inv params: wn=2u m=4
x2 y z inv params:wn=3u
.control
meas dc nothing find nmos at=1
.endc
.end
"""


def test_netlists_as_exports_write_them(tmp_path):
    found = deviations_of(tmp_path, mismatch=True)
    assert found.names(AS_WRITTEN) == ["inv.m1:vt", "inv.m1:beta"]
    text = found.deck(AS_WRITTEN, {"inv.m1:vt": 1.0, "inv.m1:beta": 0.0}, repr, 0)
    # devices in parallel by the instance have a mean deviation too
    assert "/sqrt(({wn})*(0.1u)*(2)*(4))".replace("{wn}", "wn") in text
    assert text.count("delvto") == 1
    assert "meas dc nothing find nmos at=1\n.endc" in text


def test_includes_within_includes(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "top.cir").write_text(".include 'core.cir'\n.include core.cir\n")
    (tmp_path / "sub" / "core.cir").write_text(
        ".subckt dut d g\nm1 d g 0 0 nmos w=1u l=1u\n.ends\n"
    )
    text = f"* deck\n.include {tmp_path / 'sub' / 'top.cir'}\nx1 d g dut\n.op\n.end\n"
    found = deviations_of(tmp_path, mismatch=True)
    assert found.names(text) == ["dut.m1:vt", "dut.m1:beta"]
    written = found.deck(text, dict.fromkeys(found.names(text), 1.0), repr, 0)
    assert written.count(".subckt dut") == written.count("delvto") == 1


def test_a_template_sees_the_corner_it_is_at(tolerant):
    template = tolerant / "rc.cir.j2"
    template.write_text(template.read_text().replace("* RC", "* {{ corner }}: RC"))
    for extra in ([], ["--sample", "3"]):
        done = m3eda("render", "design.yaml", *extra, cwd=tolerant)
        assert done.stdout.startswith("* nominal: RC"), done.stderr


def test_limits_of_the_nominal_corner_hold_in_its_samples():
    spec = Spec("f3db", Limits(1.0), corners={"nominal": Limits(10.0), "hot": Limits(3.0)})
    assert spec.at("nominal#3") == Limits(10.0)
    assert spec.at("hot#17") == Limits(3.0)
    assert spec.at("cold#17") == Limits(1.0)


def test_devices_of_another_choice_vary_too(pair):
    changed(pair, "v3 c 0 0.6", "{% if kind == 'two' %}m9 d d 0 0 nmos w=1u l=1u\n"
            "i9 0 d 1u\n{% endif %}v3 c 0 0.6", "pair.cir.j2")  # fmt: skip
    changed(pair, "parameters:\n", "parameters:\n  kind: {choices: [one, two]}\n")
    project = mismatched(pair / "design.yaml", mismatch=True)
    with closing(project.evaluator()) as evaluator:
        whole = evaluator.complete({**project.nominal_sizing(), "kind": "one"})
        names = evaluator.renderer.deviations(whole)
        assert "m9:vt" in names
        at = samples_of(project.design, names).at(1, project.design.nominal)
        deck = evaluator.decks({**whole, "kind": "two"}, at)["op"].text
    assert f"{at.sample.deviations['m9:vt']!r}*" in deck


def test_a_stand_in_for_a_missing_value_is_no_value(tolerant):
    changed(tolerant, "far: {max: 0.011}", "far: {max: 0.011, failed: 1e6}")
    outcome = drawn(Project.load(tolerant / "design.yaml"), 20)
    first = outcome.trials[0]
    lost = replace(first.results["nominal"], measures={"f3db": 1e4})
    broken = score(first.number, first.sizing, {"nominal": lost}, outcome.design.specs)
    outcome.trials[0] = broken
    assert math.isnan(outcome.values("far")[0])
    far = next(each for each in spreads(outcome) if each.measure == "far")
    assert far.most < 1.0
    assert far.worst == broken.number


@pytest.mark.simulator
def test_a_sample_of_a_hypercube_is_simulated_again(tolerant):
    changed(tolerant, "samples: 400", "samples: 400, sampling: latin-hypercube")
    (tolerant / "given.json").write_text(json.dumps({"sizing": {"r": 1.6e3, "c": 1e-8}}))
    where = ["verify", "design.yaml", "--sizing", "given.json", "--monte-carlo"]
    shown = m3eda(*where, "--samples", "30", cwd=tolerant).stdout
    again = shown.split("the worst one again: ")[1].split("\n")[0]
    data = json.loads(m3eda(*where, "--samples", "30", "--format", "json", cwd=tolerant).stdout)
    alone = json.loads(m3eda(*where, *again.split(), "--format", "json", cwd=tolerant).stdout)
    assert alone["measures"] == data["samples"][alone["number"] - 1]["measures"]
    refused = m3eda(*where, "--yield", "90%", cwd=tolerant)
    assert refused.returncode == 2
    assert "independent samples, not by latin-hypercube" in only_line(refused)


def test_no_attempt_is_taken_for_good_that_does_not_show_the_yield(tmp_path):
    """Later attempts must show it more surely: they may draw more samples than the first."""
    path = for_yield(tmp_path)
    least = [least_samples(0.95, attempt_confidence(0.95, number)) for number in (1, 2, 3, 10)]
    assert least == sorted(set(least))
    changed(tmp_path, "samples: 300", f"samples: {least[0]}")
    design = Project.load(path).design
    exploration = make_exploration(design, lambda sizing: ["r:value", "c:value"])
    good = CornerResult({"f3db": 11e3, "far": 0.01, "double": 0.02})
    bad = replace(good, measures={**good.measures, "f3db": 1e3})
    sizing = {"r": 1000.0, "c": 1e-9, "n": 1.0}
    for number in (1, 2, 3):
        results = {"nominal": good}
        while corners := exploration.more(sizing, results, design.specs):
            fails = number < 3 and any(corner.sample for corner in corners)
            drawn_now = {corner.name: good for corner in corners}
            taken = [c for c in corners if c.name in exploration._taken]
            if fails and not taken:
                drawn_now[corners[-1].name] = bad
                drawn_now[corners[0].name] = bad
            results |= drawn_now
        kept = exploration.kept(results)
        trial = score(number, sizing, kept, design.specs, design.required)
        assert trial.met == (number == 3)
        assert ("at least" in exploration.said) == trial.met
        exploration.hear([trial], design.specs)
    assert int(exploration.said.split(" of ")[1].split()[0]) > least[0]


def test_importance_sampling_with_too_few_simulations(tolerant):
    (tolerant / "given.json").write_text(json.dumps({"sizing": {"r": 1.6e3, "c": 1e-8}}))
    changed(tolerant, "tolerance: 200", "tolerance: 3k")
    where = ["verify", "design.yaml", "--sizing", "given.json", "--high-sigma"]
    done = m3eda(*where, "--samples", "300", cwd=tolerant)
    assert done.returncode == 2
    assert "300 simulations are too few for 2 deviations" in only_line(done)
    changed(tolerant, "tolerance: 3k", "tolerance: 20")
    off = m3eda(*where, cwd=tolerant)
    assert off.returncode == 1
    assert "misses f3db without any deviation" in off.stdout
