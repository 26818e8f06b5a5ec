"""Small feed-forward networks in numpy: an ensemble trained side by side by Adam."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
"""Adam's constants: Kingma and Ba, arXiv 1412.6980."""


class Ensemble:
    """`members` networks of the same shape, each with weights and a bootstrap of its own.

    Three layers of weights, tanh between them, linear outputs. Arrays carry the member first:
    weights (members, inputs, outputs).
    """

    def __init__(
        self, members: int, layers: Sequence[int], rng: np.random.Generator, rate: float = 3e-3
    ) -> None:
        """`layers` gives the widths from input to output; `rate` is Adam's learning rate."""
        self.members = members
        self._rng = rng
        self._rate = rate
        self._steps = 0
        self._weights: list[Array] = []
        for fan_in, fan_out in itertools.pairwise(layers):
            spread = np.sqrt(2.0 / (fan_in + fan_out))
            weight = rng.normal(0.0, spread, (members, fan_in, fan_out))
            self._weights += [_single(weight), _single(np.zeros((members, 1, fan_out)))]
        self._first = [np.zeros_like(weight) for weight in self._weights]
        self._second = [np.zeros_like(weight) for weight in self._weights]

    @property
    def weights(self) -> list[Array]:
        """Weights and biases of each layer in turn, the member first."""
        return [weight.copy() for weight in self._weights]

    def take(self, weights: Sequence[NDArray[np.float32]]) -> None:
        """Go on from `weights` of a network of the same shape; Adam begins anew. Raises ValueError
        where the shapes differ."""
        if [each.shape for each in weights] != [each.shape for each in self._weights]:
            raise ValueError("weights of another shape")
        self._weights = [each.astype(np.float32) for each in weights]

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs at x, shape (n, inputs), of every member: shape (members, n, outputs)."""
        return self._forward(_single(x))[-1].astype(np.float64)

    def predict_member(self, member: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs of one member at x, shape (n, inputs): shape (n, outputs)."""
        hidden = _single(x)
        for layer in range(0, len(self._weights), 2):
            hidden = hidden @ self._weights[layer][member] + self._weights[layer + 1][member]
            if layer + 2 < len(self._weights):
                hidden = np.tanh(hidden)
        return hidden.astype(np.float64)

    def train(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        draws: NDArray[np.intp],
    ) -> None:
        """One Adam step for each row of `draws`, shape (steps, members, batch), of row numbers.

        The loss is the mean squared error over the entries of y, shape (n, outputs), that are not
        nan.
        """
        inputs, known = _single(x), np.isfinite(y)
        targets, weights = _single(np.where(known, y, 0.0)), _single(known)
        for rows in draws:
            outputs = self._forward(inputs[rows])
            error = (outputs[-1] - targets[rows]) * weights[rows]
            self._step(outputs, error / np.float32(rows.shape[-1]))

    def _forward(self, x: Array) -> list[Array]:
        """The input and what each layer gives, each (members, n, width)."""
        outputs = [np.broadcast_to(x, (self.members, *x.shape[-2:]))]
        for layer in range(0, len(self._weights), 2):
            hidden = outputs[-1] @ self._weights[layer] + self._weights[layer + 1]
            last = layer + 2 == len(self._weights)
            outputs.append(hidden if last else np.tanh(hidden))
        return outputs

    def _step(self, outputs: list[Array], slope: Array) -> None:
        """Back-propagate `slope`, the loss's derivative by the last output, and update."""
        gradients: list[Array] = []
        for layer in reversed(range(len(self._weights) // 2)):
            before = outputs[layer]
            gradients += [slope.sum(axis=1, keepdims=True), before.swapaxes(1, 2) @ slope]
            if layer:
                slope = (slope @ self._weights[2 * layer].swapaxes(1, 2)) * (1.0 - before**2)
        self._steps += 1
        scale = self._rate * np.sqrt(1.0 - _BETA2**self._steps) / (1.0 - _BETA1**self._steps)
        for index, gradient in enumerate(reversed(gradients)):
            first, second = self._first[index], self._second[index]
            first += np.float32(1.0 - _BETA1) * (gradient - first)
            second += np.float32(1.0 - _BETA2) * (gradient * gradient - second)
            self._weights[index] -= np.float32(scale) * first / (np.sqrt(second) + _EPSILON)


def _single(values: NDArray[np.float64] | NDArray[np.bool_]) -> Array:
    return values.astype(np.float32)
