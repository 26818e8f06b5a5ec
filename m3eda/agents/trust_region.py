"""Model-based local search in a trust region, with a small network as the model.

Algorithm 1 of Yang et al., "Trust-Region Method with Deep Reinforcement Learning in Analog Design
Space Exploration", DAC 2021 (arXiv 2009.13772): random start, the best point as centre, a 3-layer
feed-forward network trained online on the trajectory, Monte Carlo planning inside the trust region,
its radius by the ratio of real to predicted improvement, escape on stall. Numbers that the paper
leaves open are in `Recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from m3eda.agents.history import History, take_options
from m3eda.agents.margins import Margins
from m3eda.agents.mlp import Array, Ensemble
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.trial import Trial


@dataclass(frozen=True)
class Recipe:
    """What the algorithm needs to know beside the trials."""

    members: int = 5
    """Networks; more than one plan by Thompson sampling, each point on one of them."""
    log: bool = True
    """Margins of a measure that spans decades are taken as logarithms."""
    validity: bool = True
    """Model whether a measure exists, rather than put the worst value where it does not."""
    scale: str = "design"
    """`design` searches each parameter in its own scale, `linear` all in linear ones."""
    initial: int = 0
    """Random points of a region before the network plans; 0 is d + 2."""
    hidden: int = 64
    """Units of each hidden layer."""
    batch: int = 64
    """Trials in one training step."""
    steps: int = 40
    """Adam steps after each trial."""
    candidates: int = 2000
    """Monte Carlo samples a plan."""
    radius: float = 0.3
    """First half width of the region, on the unit cube."""
    shrink: float = 0.92
    """Factor on the radius where less than a quarter of the predicted improvement came."""
    grow: float = 1.5
    """Factor on the radius where more than three quarters came."""
    smallest: float = 0.01
    """Radius below which the region is given up."""
    patience: int = 40
    """Trials without a better point before the region is given up."""
    weights: str = ""
    """File of weights that the networks begin with, as `m3eda port` writes it, relative to the
    design; else they are random."""


RECIPES: Mapping[str, Recipe] = {
    "improved": Recipe(),
    "published": Recipe(members=1, log=False, validity=False, scale="linear", initial=20),
}


class TrustRegion:
    """Options: `variant` (improved, published), and any field of `Recipe` over it."""

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        self._recipe, self._seed = _recipe(options), seed
        self._begin(design)
        # what is known to be near takes the place of random points
        self._initial = len(self._history.space.starts()) if design.starts else self._random
        self._rng = np.random.default_rng([seed, 1])
        self._model = self._new_model()
        if self._recipe.weights:
            take_weights(self._model, design, self._recipe.weights)
        self._begun = 0
        """Trials told before this region began."""
        self._radius = self._recipe.radius
        self._centre = -1
        """Row of the best trial of this region."""
        self._stalled = 0
        self._predicted: dict[bytes, float] = {}
        """Predicted improvement of each planned point."""

    @property
    def _random(self) -> int:
        """Random points of a region before the network plans."""
        return self._recipe.initial or self._history.space.dimension + 2

    def weights(self) -> dict[str, Array]:
        """What the networks have learnt, to be kept and begun with elsewhere."""
        return {f"{WEIGHT}{place}": each for place, each in enumerate(self._model.weights)}

    def learn(self) -> None:
        """Train the networks on all trials told, as before a plan."""
        self._train()

    def _begin(self, design: Design) -> None:
        self._history = History(_rescaled(design, self._recipe.scale), self._seed)
        self._margins = Margins(design, self._recipe.log, self._recipe.validity)

    def ask(self, n: int) -> list[Sizing]:
        told = len(self._history.trials)
        points = self._history.start()
        if self._centre < 0 or told - self._begun < self._initial:
            points = self._history.new_of(np.vstack([points, self._history.draw(n)]))
        else:
            self._train()
            points = self._history.new_of(np.vstack([points, self._plan(n)]))
        return self._history.propose(points[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial, point in self._history.tell(trials):
            self._margins.add(trial)
            self._hear(self._history.space.keys(point)[0])

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with other specs: `trials` replace those told; the region and what the networks
        have learnt are kept."""
        self._begin(design)
        self._predicted.clear()
        for trial, _ in self._history.tell(trials):
            self._margins.add(trial)
        count = len(self._history.trials)
        self._begun = min(self._begun, count)
        self._centre = -1
        if count > self._begun:
            values = self._margins.values()[self._begun :]
            self._centre = self._begun + int(np.argmax(values))
        return True

    def _hear(self, key: bytes) -> None:
        """Move the centre and the radius by the newest trial; give the region up when stalled."""
        values = self._margins.values()
        newest = len(values) - 1
        better = self._centre < 0 or values[newest] > values[self._centre]
        gain = values[newest] - values[self._centre]
        if key in self._predicted:
            self._resize(gain, self._predicted.pop(key))
        if better:
            self._centre = newest
        self._stalled = 0 if better else self._stalled + 1
        ready = newest + 1 - self._begun >= self._initial
        if ready and (
            self._stalled > self._recipe.patience or self._radius < self._recipe.smallest
        ):
            self._escape(newest + 1)

    def _resize(self, gain: float, predicted: float) -> None:
        """The radius by the ratio of real to predicted improvement."""
        ratio = gain / max(predicted, 1e-9)
        if ratio > 0.75:
            self._radius = min(self._radius * self._recipe.grow, 1.0)
        elif ratio < 0.25:
            self._radius *= self._recipe.shrink

    def _escape(self, told: int) -> None:
        self._begun, self._centre, self._stalled = told, -1, 0
        self._initial = self._random
        self._radius = self._recipe.radius
        self._model = self._new_model()
        self._predicted.clear()

    def _new_model(self) -> Ensemble:
        hidden = self._recipe.hidden
        layers = (self._history.space.dimension, hidden, hidden, self._margins.outputs)
        return Ensemble(self._recipe.members, layers, self._rng)

    def _train(self) -> None:
        x = 2.0 * self._history.points - 1.0
        shape = (self._recipe.steps, self._recipe.members, self._recipe.batch)
        self._model.train(x, self._margins.targets(), self._rng.integers(len(x), size=shape))

    def _plan(self, n: int) -> FloatArray:
        """The best predicted points of the region, shape (up to n, d), each on one network."""
        centre = self._history.points[self._centre]
        planned = np.empty((0, len(centre)))
        radius = self._radius
        while len(planned) < n:
            member = int(self._rng.integers(self._recipe.members))
            candidates = self._history.space.snap(self._sample(centre, radius))
            rows = np.vstack([centre, candidates])
            predicted = self._model.predict_member(member, 2.0 * rows - 1.0)
            values = self._margins.predicted_values(predicted)
            order = np.argsort(-values[1:])
            best = self._first_new(candidates[order], planned)
            if best is None and radius >= 1.0:
                return np.vstack([planned, self._history.draw(n - len(planned))])
            if best is None:
                radius = min(2.0 * radius, 1.0)
                continue
            at = np.flatnonzero(np.all(candidates == best, axis=1))[0]
            key = self._history.space.keys(best)[0]
            self._predicted[key] = float(values[1 + at] - values[0])
            planned = np.vstack([planned, best])
        return planned

    def _first_new(self, candidates: FloatArray, planned: FloatArray) -> FloatArray | None:
        for first in range(0, len(candidates), 64):
            fresh = self._history.new_of(np.vstack([planned, candidates[first : first + 64]]))
            if len(fresh) > len(planned):
                found: FloatArray = fresh[len(planned)]
                return found
        return None

    def _sample(self, centre: FloatArray, radius: float) -> FloatArray:
        """Candidates around `centre`, shape (candidates, d), half of them along few axes."""
        shape = (self._recipe.candidates, len(centre))
        steps = self._rng.uniform(-radius, radius, shape)
        kept = self._rng.random(shape) < self._rng.random((shape[0], 1))
        return np.clip(centre + np.where(kept, steps, 0.0), 0.0, 1.0)


WEIGHT = "weight"


def weights_file(design: Design, name: str) -> Path:
    """Where the file that the option `weights` names lies."""
    return design.path.parent / name


def take_weights(model: Ensemble, design: Design, name: str) -> None:
    """Begin `model` with the weights in the file `name`. Raises DesignError."""
    path = weights_file(design, name)
    try:
        # opened here: of a file that is no archive NumPy would leave it open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            count = sum(key.startswith(WEIGHT) for key in kept.files)
            model.take([kept[f"{WEIGHT}{place}"] for place in range(count)])
    except OSError as error:
        text = f"the file of weights cannot be read: {path}: {error.strerror or error}"
        raise _no_weights(text, design) from error
    except (ValueError, KeyError, BadZipFile) as error:
        text = f"{path.name} holds no weights of networks for this design: {error}"
        raise _no_weights(text, design) from error


def _no_weights(text: str, design: Design) -> DesignError:
    hint = "`m3eda port --strategy weights` writes one; remove the option to begin at random"
    return DesignError([Mistake(text, design.path, key="agent.options.weights", hint=hint)])


def _recipe(options: Mapping[str, Any]) -> Recipe:
    defaults = {"variant": "improved", **vars(RECIPES["improved"])}
    variant = take_options("trust-region", options, defaults)["variant"]
    if variant not in RECIPES:
        text = f"'{variant}' is not a variant of agent trust-region"
        known = " or ".join(RECIPES)
        raise DesignError([Mistake(text, key="agent.options.variant", hint=known)])
    return replace(RECIPES[variant], **{k: v for k, v in options.items() if k != "variant"})


def _rescaled(design: Design, scale: str) -> Design:
    if scale == "design":
        return design
    parameters = {
        name: replace(parameter, scale="linear") for name, parameter in design.parameters.items()
    }
    return replace(design, parameters=parameters)
