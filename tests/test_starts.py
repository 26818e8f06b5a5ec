"""Sizings under `starts`: read, checked, asked for first by every agent; weights to begin with."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from m3eda.agents.start import NEAR, start_points
from m3eda.agents.trust_region import TrustRegion
from m3eda.design.snapshot import circuit_hash, design_hash, dump, restore
from m3eda.design.space import Space
from m3eda.design.types import AgentChoice, Parameter
from m3eda.errors import DesignError
from m3eda.flow import Project
from m3eda.plugins import Plugins
from m3eda.porting.weights import learnt_weights
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import score
from tests.helpers import DividerSimulator, changed, divider, m3eda, only_line
from tests.learning_samples import write_filter

STARTS = ({"r1": 3e3, "r2": 1e3}, {"r1": 3e5, "r2": 1e5})
AGENTS = ["auto", "bo", "cma", "differential-evolution", "m3", "random", "search", "trust-region"]
if find_spec("sklearn"):
    AGENTS.append("extra-trees")
if find_spec("botorch"):
    AGENTS.append("turbo")


def asked(agent, count):
    found = []
    while len(found) < count:
        found += agent.ask(1)
    return found[:count]


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_asks_for_them_first_and_in_order(name, tmp_path):
    design = divider(tmp_path, starts=STARTS)
    agent = Plugins().look_up("agents", name)(design, 3, {})
    first = [{key: round(value) for key, value in each.items()} for each in asked(agent, 2)]
    assert first == [{key: round(value) for key, value in each.items()} for each in STARTS]


def test_the_designers_own_start_goes_before(tmp_path):
    own = {name: Parameter(name, 1e3, 1e6, scale="log", start=5e3) for name in ("r1", "r2")}
    space = Space(divider(tmp_path, parameters=own, starts=STARTS))
    assert [round(row["r1"]) for row in space.sizings(space.starts())] == [5000, 3000, 300000]
    # what is left out of a start is the designer's own value
    half = Space(divider(tmp_path, parameters=own, starts=({"r1": 2e3},)))
    assert half.sizings(half.starts())[1] == pytest.approx({"r1": 2e3, "r2": 5e3})


def test_a_start_design_lies_around_them(tmp_path):
    space = Space(divider(tmp_path, starts=STARTS[:1]))
    near = start_points(space, 9, 1)
    assert np.abs(near - space.starts()[0]).max() < 5 * NEAR
    wide = start_points(space, 9, 1, near=False)
    assert np.ptp(wide[1:], axis=0).min() > 0.5


def test_the_trust_region_begins_at_them_instead_of_at_random(tmp_path):
    design = divider(tmp_path, starts=STARTS)
    evaluator = Evaluator(design, DividerSimulator(), Plugins().measures)
    agent = TrustRegion(design, 1, {})
    for _ in range(2):
        [sizing] = agent.ask(1)
        [results] = evaluator.evaluate([sizing])
        agent.tell([score(0, sizing, results, design.specs)])
    space = Space(design)
    gaps = np.abs(space.unit(agent.ask(1)[0]) - space.starts())
    assert gaps.max(axis=1).min() <= 0.3 + 1e-9, "within the radius around the better one"


def test_they_are_read_and_kept(tmp_path):
    path = write_filter(tmp_path)
    path.write_text(path.read_text() + "starts: [{r: 2k, c: 1n}, {n: 4}]\n")
    design = Project.load(path).design
    assert design.starts == ({"r": 2000.0, "c": 1e-9}, {"n": 4.0})
    assert restore(dump(design)) == design


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{q: 2}", "starts.0.q: no parameter is called 'q'"),
        ("{c: 1u}", "starts.0.c: 1 uF lies outside of 100 pF to 20 nF"),
        ("{c: much}", "starts.0.c: 'much' is not a number"),
    ],
)
def test_a_start_that_cannot_be_is_one_line(tmp_path, written, told):
    path = write_filter(tmp_path)
    path.write_text(path.read_text() + f"starts: [{written}]\n")
    done = m3eda("size", path, cwd=tmp_path)
    assert done.returncode == 2
    assert told in only_line(done)
    assert f"{path.name}:{len(path.read_text().splitlines())}:" in only_line(done)


def test_a_start_of_what_is_not_free_is_refused(tmp_path):
    path = write_filter(tmp_path)
    changed(tmp_path, "n: {min: 1, max: 9, step: 1}", "n: {value: 3}")
    path.write_text(path.read_text() + "starts: [{n: 4}]\n")
    assert "starts.0.n: n is not free" in only_line(m3eda("size", path, cwd=tmp_path))


def test_a_design_without_them_is_what_it_was(tmp_path):
    design = divider(tmp_path)
    other = replace(design, starts=STARTS)
    assert design_hash(other, []) != design_hash(design, [])
    assert circuit_hash(other, []) == circuit_hash(design, [])


def weights_of(design, path):
    evaluator = Evaluator(design, DividerSimulator(), Plugins().measures)
    space, rng = Space(design), np.random.default_rng(1)
    sizings = [space.sizing(rng.random(2)) for _ in range(12)]
    trials = [score(n, sizing, results, design.specs) for n, (sizing, results)
              in enumerate(zip(sizings, evaluator.evaluate(sizings), strict=True))]  # fmt: skip
    path.write_bytes(learnt_weights(design, trials))


def test_weights_of_a_file_are_begun_with(tmp_path):
    design = divider(tmp_path)
    weights_of(design, tmp_path / "kept.npz")
    kept = TrustRegion(design, 1, {"weights": "kept.npz"})
    with np.load(tmp_path / "kept.npz") as file:
        for name, weight in kept.weights().items():
            np.testing.assert_array_equal(weight, file[name])
    random = TrustRegion(design, 1, {})
    assert not np.array_equal(random.weights()["weight0"], kept.weights()["weight0"])


def test_weights_decide_the_recipe(tmp_path):
    options = {"weights": "kept.npz"}
    design = divider(tmp_path, agent=AgentChoice("trust-region", options=options))
    weights_of(divider(tmp_path), tmp_path / "kept.npz")
    factory = Plugins().look_up("agents", "trust-region")
    assert factory.files(design) == [tmp_path / "kept.npz"]
    assert factory.files(divider(tmp_path)) == []


def test_weights_that_do_not_fit_are_refused(tmp_path):
    design = divider(tmp_path)
    with pytest.raises(DesignError, match="cannot be read"):
        TrustRegion(design, 1, {"weights": "none.npz"})
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(DesignError, match="holds no weights"):
        TrustRegion(design, 1, {"weights": "bad.npz"})
    weights_of(design, tmp_path / "kept.npz")
    one = divider(tmp_path, specs={"ratio": design.specs["ratio"]})
    with pytest.raises(DesignError, match="weights of another shape"):
        TrustRegion(one, 1, {"weights": "kept.npz"})
