"""Gaussian process regression for a few hundred points, in numpy.

Matern 5/2 kernel over linearly mixed inputs: besides a length scale of its own, each input may lean
on the others, because circuits answer to ratios of sizes (differences of their logarithms) more
than to the sizes themselves. Length scales have a log-normal prior whose mode grows with the square
root of the dimension (Hvarfner, Hellsten and Nardi, "Vanilla Bayesian optimization performs great
in high dimensions", ICML 2024); the mixing has a Cauchy prior, so that a few strong pairs are free
and the rest stay near zero. The variance of the signal is profiled out of the likelihood.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

JITTER = 1e-8


@dataclass(frozen=True)
class Prior:
    """What is believed of the hyperparameters before any point."""

    length: float = -0.5
    """Location of the log length scale for one input; half the log dimension is added."""
    length_spread: float = 1.0
    mixing: float = 0.2
    """Scale of the Cauchy prior of each off-diagonal mixing term; 0 for no mixing."""
    noise: float = -10.0
    """Location of the log noise variance, relative to the signal's."""
    noise_spread: float = 3.0
    points: float = 10.0
    """Weight, in points, of the belief that standardised outputs have variance 1."""


@dataclass(frozen=True)
class Hyper:
    """Fitted hyperparameters."""

    mixing: FloatArray
    """Shape (f, f): inputs times this are compared at unit length scale."""
    noise: float
    """Variance relative to the signal's."""


def load() -> None:
    """Load what `fit` needs: it takes a quarter of a second."""
    importlib.import_module("scipy.optimize")


def prior_mode(features: int, prior: Prior) -> Hyper:
    """Hyperparameters before any point."""
    nothing = np.empty((0, features)), np.empty(0)
    posterior = _Posterior(*nothing, prior)
    return posterior.hyper(posterior.first)


def fit(x: FloatArray, y: FloatArray, prior: Prior, steps: int = 40) -> Hyper:
    """Hyperparameters of the largest posterior density, by L-BFGS from the prior's mode.

    `x` has shape (n, f), standardised `y` shape (n,).
    """
    from scipy.optimize import minimize

    posterior = _Posterior(x, y, prior)
    found = minimize(
        posterior,
        posterior.first,
        jac=True,
        method="L-BFGS-B",
        bounds=posterior.box,
        options={"maxiter": steps},
    )
    return posterior.hyper(found.x)


class _Posterior:
    """Negative log posterior of theta = (log lengths, log noise, mixing terms by row)."""

    def __init__(self, x: FloatArray, y: FloatArray, prior: Prior) -> None:
        self.x, self.y, self.prior = x, y, prior
        f = self.f = x.shape[1]
        self.off = 1.0 - np.eye(f)
        self.centre = np.full(f + 1, prior.length + 0.5 * math.log(f))
        self.centre[f] = prior.noise
        self.spread = np.full(f + 1, prior.length_spread)
        self.spread[f] = prior.noise_spread
        mixed = f * f if prior.mixing > 0.0 else 0
        self.first = np.concatenate([self.centre, np.zeros(mixed)])
        self.box = [(math.log(0.03), math.log(100.0))] * f + [(-16.0, 0.0)] + [(-3.0, 3.0)] * mixed

    def hyper(self, theta: FloatArray) -> Hyper:
        scale = np.diag(np.exp(-theta[: self.f]))
        return Hyper(scale @ self._mix(theta), math.exp(theta[self.f]))

    def _mix(self, theta: FloatArray) -> FloatArray:
        mix = np.eye(self.f)
        if len(theta) > self.f + 1:
            mix += theta[self.f + 1 :].reshape(self.f, self.f) * self.off
        return mix

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        value, slope = self._likelihood(theta)
        pull = (theta[: self.f + 1] - self.centre) / self.spread
        value += 0.5 * float(pull @ pull)
        slope[: self.f + 1] += pull / self.spread
        terms = theta[self.f + 1 :]
        value += float(np.log1p((terms / (self.prior.mixing or 1.0)) ** 2).sum())
        slope[self.f + 1 :] += 2.0 * terms / (self.prior.mixing**2 + terms * terms)
        return value, slope

    def _likelihood(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Negative log likelihood, profiled over the signal variance, and its gradient."""
        f, n = self.f, len(self.y) + self.prior.points
        noise = math.exp(theta[f])
        scaled, mix = self.x * np.exp(-theta[:f]), self._mix(theta)
        z = scaled @ mix
        kernel, slope = _matern(z, z)
        kernel.flat[:: len(z) + 1] += noise + JITTER
        try:
            lower = np.linalg.cholesky(kernel)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = _inverse(lower)
        a = inverse @ self.y
        power = float(self.y @ a) + self.prior.points
        value = 0.5 * n * math.log(power / n) + float(np.log(np.diagonal(lower)).sum())
        weight = inverse - (n / power) * np.outer(a, a)
        pair = weight * slope
        by_z = pair @ z - pair.sum(axis=1)[:, None] * z
        gradient = np.zeros_like(theta)
        gradient[:f] = -(scaled * (by_z @ mix.T)).sum(axis=0)
        gradient[f] = 0.5 * noise * float(np.trace(weight))
        if len(theta) > f + 1:
            gradient[f + 1 :] = ((scaled.T @ by_z) * self.off).ravel()
        return value, gradient


def _matern(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matern 5/2 between rows at unit length scale, and -2 times its slope by squared distance."""
    square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * (a @ b.T)
    r = np.sqrt(np.maximum(5.0 * square, 0.0))
    decay = np.exp(-r)
    slope = (1.0 + r) * decay
    return slope + (r * r / 3.0) * decay, (5.0 / 3.0) * slope


def _inverse(lower: NDArray[Any]) -> FloatArray:
    from scipy.linalg.lapack import dpotri

    inverse, _ = dpotri(lower, lower=1)
    full: FloatArray = inverse + np.tril(inverse, -1).T
    return full


class GaussianProcess:
    """The posterior of one output given `x` (n, f) and standardised `y` (n,)."""

    def __init__(self, x: FloatArray, y: FloatArray, hyper: Hyper, prior: Prior) -> None:
        from scipy.linalg.lapack import dtrtri

        self._mixing = hyper.mixing
        self._z = x @ hyper.mixing
        kernel, _ = _matern(self._z, self._z)
        self._root = np.asarray(dtrtri(_cholesky(kernel, hyper.noise + JITTER), lower=1)[0])
        self._weights = self._root.T @ (self._root @ y)
        power = float(y @ self._weights) + prior.points
        self._deviation = math.sqrt(max(power / (len(y) + prior.points), 1e-12))

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free output at (m, f) points, each (m,)."""
        kernel, _ = _matern(self._z, points @ self._mixing)
        v = self._root @ kernel
        known = np.einsum("ij,ij->j", v, v)
        return self._weights @ kernel, self._deviation * np.sqrt(np.maximum(1.0 - known, 1e-10))

    def joint(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean, shape (m,), and covariance, shape (m, m), of the output at (m, f) points."""
        z = points @ self._mixing
        kernel, _ = _matern(self._z, z)
        v = self._root @ kernel
        own, _ = _matern(z, z)
        return self._weights @ kernel, self._deviation**2 * (own - v.T @ v)

    def distrust(self, factor: float) -> None:
        """Widen every deviation by `factor`."""
        self._deviation *= factor


def _cholesky(kernel: FloatArray, noise: float) -> FloatArray:
    """Lower factor of `kernel` plus noise on its diagonal, raised until it is positive definite."""
    added = noise
    while True:
        kernel.flat[:: len(kernel) + 1] += added
        try:
            return np.asarray(np.linalg.cholesky(kernel), dtype=float)
        except np.linalg.LinAlgError:
            added *= 10.0
