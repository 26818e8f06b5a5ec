"""Trust-region Bayesian optimisation with specs as constraints, by botorch.

Eriksson et al., "Scalable Global Optimization via Local Bayesian Optimization", NeurIPS 2019 (arXiv
1910.01739): one trust region (TuRBO-1), Gaussian processes fitted inside it, Thompson sampling,
restarts. Eriksson and Poloczek, "Scalable Constrained Bayesian Optimization", AISTATS 2021 (arXiv
2002.08526, SCBO): one process a spec, and the sampled point that meets all specs, else the one
whose sampled violation is least.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from m3eda.agents.history import History, take_options
from m3eda.agents.margins import Margins
from m3eda.agents.options import extra, real, whole, word
from m3eda.agents.start import DESIGNS, sobol, start_points
from m3eda.design.space import FloatArray
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial

OPTIONS: Mapping[str, Any] = {
    "start": 0,
    "start_design": "sobol",
    "length": 0.8,
    "candidates": 256,
    "points": 128,
    "successes": 3,
}
LARGEST, SMALLEST = 1.6, 0.5**7
"""Side of the trust region beyond which it does not grow, below which it is given up."""
REFIT = 1.4
"""Growth in points after which hyperparameters are fitted again."""
FIRST_STEPS, LATER_STEPS = 25, 8
"""Steps of L-BFGS in the first fit of a region, and in those that go on from it."""
PERTURBED = 20.0
"""Coordinates that a candidate changes, in the mean, where there are as many."""
_LEAST = 2
"""Trials of a region below which it is not modelled."""
_JITTER = 1e-8
_CANDIDATE_JITTER = 1e-6


class Turbo:
    """Thompson sampling inside one trust region, restarted from a new start design.

    The state follows from the trials told, so a resumed run goes on as the first one would have.
    Foreign trials count like own ones: a better one becomes the centre.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        chosen = take_options("turbo", options, OPTIONS)
        self._candidates = whole(chosen, "candidates", 1)
        self._most = whole(chosen, "points", 8)
        self._length0 = real(chosen, "length", SMALLEST)
        self._start_design = word(chosen, "start_design", DESIGNS)
        self._history = History(design, seed)
        self._space, self._seed = self._history.space, seed
        self._count = whole(chosen, "start") or 2 * self._space.dimension
        self._successes = whole(chosen, "successes", 1)
        self._failures = max(4, self._space.dimension)
        for module in ("botorch.models", "botorch.optim.fit", "gpytorch.mlls"):
            extra("turbo", module, "botorch")
        self._design = design
        self._words = np.array([axis.categorical for axis in self._space.axes], dtype=bool)
        self._margins = self._margins_of(())
        self._fitted: tuple[tuple[int, int], Any] = (-1, -1), None
        self._restarts = -1
        self._begin()

    def ask(self, n: int) -> list[Sizing]:
        points = self._history.new_of(np.vstack([self._first, self._starts]))
        if self._inside >= len(self._starts) or not len(points):
            points = self._planned(n)
        if len(points) < n:
            points = self._history.new_of(np.vstack([points, self._history.draw(n)]))
        return self._history.propose(points[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:  # one by one: the state depends on how many came before
            if self._history.tell([trial]):
                self._margins.add(trial)
                self._hear()

    @property
    def _inside(self) -> int:
        """Trials told since this region began."""
        return len(self._history.trials) - self._begun

    def _begin(self) -> None:
        """A new region, from a new start design."""
        self._restarts += 1
        self._begun = len(self._history.trials)
        self._length, self._centre = self._length0, -1
        self._better = self._worse = 0
        rng = np.random.default_rng([self._seed, self._restarts])
        seed = int(rng.integers(2**31)) if self._restarts else self._seed
        self._starts = start_points(self._space, self._count, seed, self._start_design,
                                    near=not self._restarts)  # fmt: skip
        self._first = self._history.start()

    def _hear(self) -> None:
        """Move the centre and the side of the region by the newest trial."""
        values = self._margins.values()
        newest = len(values) - 1
        best = values[self._centre] if self._centre >= 0 else -np.inf
        better = bool(values[newest] > best + 1e-3 * abs(best)) if np.isfinite(best) else True
        if values[newest] > best:
            self._centre = newest
        if self._inside <= len(self._starts):
            return
        self._better = self._better + 1 if better else 0
        self._worse = 0 if better else self._worse + 1
        if self._better >= self._successes:
            self._length, self._better = min(2.0 * self._length, LARGEST), 0
        elif self._worse >= self._failures:
            self._length, self._worse = 0.5 * self._length, 0
        if self._length < SMALLEST:
            self._begin()

    def _planned(self, n: int) -> FloatArray:
        """The best of a sample each over candidates of the region, shape (up to n, d)."""
        history = self._history
        if self._inside < _LEAST or not self._margins.outputs or history.exhausted:
            return history.draw(n)
        with quiet():
            process = self._process()
            return self._sampled(process, n)

    def _sampled(self, process: Process, n: int) -> FloatArray:
        history = self._history
        planned = np.empty((0, self._space.dimension))
        length = self._length
        while len(planned) < n and length <= 2.0 * LARGEST:
            rng = history.rng(1, len(planned), round(1e6 * length))
            points = history.new_of(self._around(length, process.lengths, rng))
            for outputs in self._draws(process, points, n, rng):
                order = np.argsort(-self._margins.predicted_values(outputs), kind="stable")
                chosen = history.new_of(np.vstack([planned, points[order[: n + 1]]]))
                planned = chosen[: len(planned) + 1]
            length *= 2.0
        return planned[:n]

    def _draws(
        self, process: Process, points: FloatArray, n: int, rng: np.random.Generator
    ) -> FloatArray:
        """`n` joint samples of the outputs at c points, shape (n, c, m); none where c is 0."""
        outputs = self._margins.outputs
        if not len(points):
            return np.empty((0, 0, outputs))
        normal = rng.standard_normal((n, outputs, len(points)))
        return process.sample(self._space.features(points), normal)

    def _around(self, length: float, lengths: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Candidates in the box around the centre, shape (candidates, d), snapped.

        The box is longer where the length scales are; each candidate changes some of the
        coordinates (Eriksson et al. 2019, section 2 and appendix).
        """
        d = self._space.dimension
        centre = self._history.points[self._centre]
        sides = np.where(self._words, 2.0, length * self._per_axis(lengths))
        low = np.where(self._words, 0.0, np.clip(centre - 0.5 * sides, 0.0, 1.0))
        high = np.where(self._words, 1.0, np.clip(centre + 0.5 * sides, 0.0, 1.0))
        spread = low + (high - low) * sobol(self._candidates, d, rng)
        changed = rng.random(spread.shape) < min(1.0, PERTURBED / d)
        changed[np.arange(len(spread)), rng.integers(d, size=len(spread))] = True
        return self._space.snap(np.where(changed, spread, centre))

    def _per_axis(self, lengths: FloatArray) -> FloatArray:
        """Sides of a box of volume 1, shape (d,), in proportion to the length scales."""
        columns = np.cumsum([0, *(int(a.levels) if a.categorical else 1 for a in self._space.axes)])
        sides: FloatArray = np.log(lengths)[columns[:-1]]
        sides = np.where(self._words, np.nan, sides)
        if self._words.all():
            return np.ones(len(sides))
        relative: FloatArray = np.exp(np.nan_to_num(sides - np.nanmean(sides)))
        return relative

    def _process(self) -> Process:
        """The processes of the region, conditioned on the trials nearest to its centre."""
        model = self._model()
        points = self._history.points[self._begun :]
        gaps = np.square(points - self._history.points[self._centre]).sum(axis=1)
        rows = self._begun + np.sort(np.argsort(gaps, kind="stable")[: self._most])
        x, y = self._space.features(self._history.points[rows]), self._margins.targets()[rows]
        return Process(model, x, y)

    def _model(self) -> Any:
        """The model fitted at the last number of trials on the schedule, from those before it."""
        dues = refits(self._inside, len(self._starts))
        (restarts, last), model = self._fitted
        if restarts != self._restarts or last not in dues:
            last, model = 0, None
        for due in dues:
            if due > last:
                rows = np.arange(self._begun, self._begun + due)[-self._most :]
                told = self._margins_of(self._history.trials[: self._begun + due])
                x, y = self._space.features(self._history.points[rows]), told.targets()[rows]
                model = fitted(x, y, model)
        self._fitted = (self._restarts, dues[-1]), model
        return model

    def _margins_of(self, trials: Sequence[Trial]) -> Margins:
        margins = Margins(self._design, log=True, validity=False)
        for trial in trials:
            margins.add(trial)
        return margins


def refits(points: int, first: int) -> list[int]:
    """Numbers of points, none above `points`, at which hyperparameters are fitted."""
    dues = [min(points, max(first, 1))]
    while (later := max(dues[-1] + 1, math.ceil(dues[-1] * REFIT))) <= points:
        dues.append(later)
    return dues


def standardised(y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Columns of `y`, shape (n, m), with mean 0 and deviation 1; the means and deviations, (m,)."""
    middle, spread = y.mean(axis=0), y.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    return (y - middle) / spread, middle, spread


def fitted(x: FloatArray, y: FloatArray, start: Any = None) -> Any:
    """A botorch model of every column of `y`, shape (n, m), on `x`, shape (n, f).

    Matern 5/2 with a length scale an input; the fit begins at the hyperparameters of `start`.
    """
    import torch
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    outputs = y.shape[1]
    kernel = get_covar_module_with_dim_scaled_prior(
        x.shape[1], torch.Size([outputs] if outputs > 1 else []), use_rbf_kernel=False
    )
    rows, _, _ = standardised(y)
    model = SingleTaskGP(
        torch.from_numpy(x), torch.from_numpy(rows), covar_module=kernel, outcome_transform=None
    )
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    if start is not None:
        model.load_state_dict(start.state_dict())
    fit_gpytorch_mll_scipy(
        likelihood, options={"maxiter": LATER_STEPS if start is not None else FIRST_STEPS}
    )
    return model.eval()


class Process:
    """Posterior of a fitted model's kernels given `x`, shape (n, f), and `y`, shape (n, m).

    Plain linear algebra on the model's kernel and noise: the model's own posterior takes several
    times as long for one small sample.
    """

    def __init__(self, model: Any, x: FloatArray, y: FloatArray) -> None:
        import torch

        self._torch, self._kernel = torch, model.covar_module
        rows, self._middle, self._spread = standardised(y)
        self._x = torch.from_numpy(x)
        with torch.no_grad():
            noise = model.likelihood.noise.reshape(-1, 1, 1) + _JITTER
            covariance = self._covariance(self._x, self._x) + noise * torch.eye(len(x))
            self._root = torch.linalg.cholesky(covariance)
            targets = torch.from_numpy(rows.T.copy())[..., None]
            self._weights = torch.linalg.solve_triangular(self._root, targets, upper=False)

    @property
    def lengths(self) -> FloatArray:
        """Geometric mean over the outputs of each input's length scale, shape (f,)."""
        scales = self._kernel.lengthscale.detach().reshape(-1, self._x.shape[1])
        lengths: FloatArray = scales.log().mean(dim=0).exp().numpy()
        return lengths

    def sample(self, points: FloatArray, normal: FloatArray) -> FloatArray:
        """Joint samples at (c, f) `points` from standard `normal` numbers (n, m, c): (n, c, m)."""
        torch, inputs = self._torch, self._torch.from_numpy(points)
        with torch.no_grad():
            cross = self._covariance(self._x, inputs)
            v = torch.linalg.solve_triangular(self._root, cross, upper=False)
            mean = (v.mT @ self._weights)[..., 0]
            left = self._covariance(inputs, inputs) - v.mT @ v
            left.diagonal(dim1=-2, dim2=-1).add_(_CANDIDATE_JITTER)
            root = torch.linalg.cholesky(left)
            draws = mean + (root @ torch.from_numpy(normal)[..., None])[..., 0]
        samples: FloatArray = draws.numpy().transpose(0, 2, 1)
        return samples * self._spread + self._middle

    def _covariance(self, a: Any, b: Any) -> Any:
        """Shape (m, len(a), len(b))."""
        dense = self._kernel(a, b).to_dense()
        return dense.reshape(-1, *dense.shape[-2:])


@cache
def _blas() -> Any:
    from scipy.linalg import lapack  # noqa: F401  its BLAS must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def quiet() -> Iterator[None]:
    """One thread, float64 and no warnings of torch's family; all as before afterwards."""
    import torch

    threads, kind = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        with _blas().limit(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)
