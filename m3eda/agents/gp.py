"""Gaussian process regression for a few hundred points, in numpy.

Matern 5/2 kernel with one length scale an input plus a linear trend, on inputs in the unit cube and
standardised outputs. The variance of the signal is profiled out of the likelihood; length scales
have a log-normal prior whose mode grows with the square root of the dimension (Hvarfner, Hellsten
and Nardi, "Vanilla Bayesian optimization performs great in high dimensions", ICML 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SQRT5 = math.sqrt(5.0)
JITTER = 1e-8


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters: all but the length scales are relative to the variance of the signal."""

    lengths: FloatArray
    """Shape (f,)."""
    noise: float
    trend: float
    """Prior variance of the slope over the unit interval, of each input."""


@dataclass(frozen=True)
class Prior:
    """Log-normal priors: location and spread of the logarithm."""

    length: float = 0.0
    """Location for one input; half the logarithm of the dimension is added."""
    length_spread: float = 1.0
    noise: float = -10.0
    noise_spread: float = 3.0
    trend: float = 0.0
    trend_spread: float = 1.5


def initial(features: int, prior: Prior) -> Hyper:
    length = math.exp(prior.length + 0.5 * math.log(features))
    return Hyper(np.full(features, length), math.exp(prior.noise), math.exp(prior.trend))


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """sqrt(5) times the Euclidean distances between rows, shape (len(a), len(b))."""
    square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2.0 * (a @ b.T)
    return np.sqrt(5.0 * np.maximum(square, 0.0))


def fit(x: FloatArray, y: FloatArray, start: Hyper, prior: Prior, steps: int = 30) -> Hyper:
    """Hyperparameters of the largest posterior density, by L-BFGS from `start`.

    `x` has shape (n, f), `y` shape (n,), standardised.
    """
    from scipy.optimize import minimize

    features = x.shape[1]
    centre = np.full(features + 2, prior.length + 0.5 * math.log(features))
    centre[-2:] = prior.noise, prior.trend
    spread = np.full(features + 2, prior.length_spread)
    spread[-2:] = prior.noise_spread, prior.trend_spread
    gram = (x - 0.5) @ (x - 0.5).T

    def cost(theta: FloatArray) -> tuple[float, FloatArray]:
        value, slope = _likelihood(x, y, gram, theta)
        pull = (theta - centre) / spread
        return value + 0.5 * float(pull @ pull), slope + pull / spread

    first = np.log(np.concatenate([start.lengths, [start.noise, start.trend]]))
    box = [(math.log(0.03), math.log(100.0))] * features + [(-16.0, 0.0), (-9.0, 5.0)]
    first = np.clip(first, [low for low, _ in box], [high for _, high in box])
    found = minimize(
        cost, first, jac=True, method="L-BFGS-B", bounds=box, options={"maxiter": steps}
    )
    best = np.exp(found.x)
    return Hyper(best[:features], float(best[-2]), float(best[-1]))


def _likelihood(
    x: FloatArray, y: FloatArray, gram: FloatArray, theta: FloatArray
) -> tuple[float, FloatArray]:
    """Negative log likelihood, profiled over the signal variance, and its gradient."""
    n = len(y)
    values = np.exp(theta)
    scaled = x / values[:-2]
    r = _distances(scaled, scaled)
    decay = np.exp(-r)
    k = (1.0 + r + r * r / 3.0) * decay
    k += values[-1] * gram
    k.flat[:: n + 1] += values[-2] + JITTER
    try:
        lower = np.linalg.cholesky(k)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    inverse = _inverse(lower)
    a = inverse @ y
    power = max(float(y @ a), 1e-12)
    value = 0.5 * n * math.log(power / n) + float(np.log(np.diagonal(lower)).sum())
    weight = inverse - (n / power) * np.outer(a, a)
    h = weight * ((5.0 / 3.0) * (1.0 + r) * decay)
    slope = np.empty_like(theta)
    slope[:-2] = h.sum(1) @ (scaled * scaled) - ((h @ scaled) * scaled).sum(0)
    slope[-2] = 0.5 * values[-2] * np.trace(weight)
    slope[-1] = 0.5 * values[-1] * float((weight * gram).sum())
    return value, slope


def _inverse(lower: FloatArray) -> FloatArray:
    from scipy.linalg.lapack import dpotri

    inverse, _ = dpotri(lower, lower=1)
    inverse += np.tril(inverse, -1).T
    return inverse


class GaussianProcess:
    """The posterior of one output given `x` (n, f) and standardised `y` (n,)."""

    def __init__(self, x: FloatArray, y: FloatArray, hyper: Hyper) -> None:
        from scipy.linalg.lapack import dtrtri

        self.x, self.hyper = x, hyper
        n = len(y)
        self._scaled = x / hyper.lengths
        r = _distances(self._scaled, self._scaled)
        k = (1.0 + r + r * r / 3.0) * np.exp(-r)
        k += hyper.trend * ((x - 0.5) @ (x - 0.5).T)
        noise = hyper.noise + JITTER
        while True:
            k.flat[:: n + 1] += noise
            try:
                lower = np.linalg.cholesky(k)
                break
            except np.linalg.LinAlgError:
                noise = noise * 10.0
        self._root, _ = dtrtri(lower, lower=1)
        self._weights = self._root.T @ (self._root @ y)
        self.variance = max(float(y @ self._weights) / n, 1e-8)

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free output, each of shape (len(points),)."""
        r = _distances(self._scaled, points / self.hyper.lengths)
        k = (1.0 + r + r * r / 3.0) * np.exp(-r)
        shifted = points - 0.5
        k += self.hyper.trend * ((self.x - 0.5) @ shifted.T)
        mean = self._weights @ k
        v = self._root @ k
        own = 1.0 + self.hyper.trend * (shifted * shifted).sum(1)
        spread = np.maximum(own - (v * v).sum(0), 1e-10)
        return mean, np.sqrt(self.variance * spread)
