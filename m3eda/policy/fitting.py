"""Fits the networks of `m3eda.policy.response` to simulations of one circuit, with torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, silu, smooth_l1_loss

from m3eda.design.ranges import FloatArray
from m3eda.design.space import Axis
from m3eda.policy.response import Array, Response, Scale, inputs

DECIDING = 90.0
"""Percentile of errors that is taken for their standard deviation: they have long tails, and what
is chosen for what the networks say of it lies where they say too much."""
FULL = 19_000
LEAST_ERROR = 1e-3
"""On the scale of a measure."""
LEAST_VALUES = 8
"""Values of a measure below which there is nothing to learn."""
WARM_UP = 0.05
"""Share of the training in which the learning rate rises."""


@dataclass(frozen=True)
class Fitting:
    """How networks are fitted."""

    networks: int = 2
    width: int = 160
    blocks: int = 3
    batch: int = 512
    steps: int = 3000
    """For `FULL` points; fewer take as many as the root of their share."""
    learning_rate: float = 3e-3
    held: float = 0.05
    """Share of points held back, on which errors are found."""
    seconds: float = math.inf
    """Wall time at which it ends, the learning rate falling with it; then no two fits are alike."""


FITTING = Fitting()
Heard = Callable[[float, float], None]
"""Hears of the share that is done and of the loss."""


def fit_response(
    axes: Sequence[Axis], measures: Sequence[str], x: FloatArray, values: FloatArray, seed: int,
    facts: Mapping[str, Any], fitting: Fitting = FITTING, heard: Heard = lambda done, loss: None,
    first: Response | None = None,
) -> Response:  # fmt: skip
    """Networks that have learnt `values`, shape (n, m), nan where none, at unit points `x`, (n, d).

    They begin as those of `first`, on its scales, where it is given: of the same parameters and
    measures. Raises FloatingPointError where the loss is no number.
    """
    known = first.scales if first else (None,) * len(measures)
    scales = tuple(scale_of(c, scale) for c, scale in zip(values.T, known, strict=True))
    given = inputs(axes, x)
    goals = np.stack([s.forward(column) for s, column in zip(scales, values.T, strict=True)], 1)
    order = np.random.default_rng([seed, 2]).permutation(len(x))
    held = order[: max(int(len(x) * fitting.held), 1)]
    learnt = order[len(held) :] if len(order) > len(held) else order
    weights = first.weights if first else None
    arrays = fit_networks(given, goals, learnt, seed, fitting, heard, weights)
    single = x.astype(np.float32), values.astype(np.float32)
    found = Response(tuple(axes), tuple(measures), scales, np.zeros(len(measures)), arrays,
                     *single, facts)  # fmt: skip
    missed = np.abs(found.answer(x[held], measures).mean - goals[held])
    return replace(found, errors=errors_of(missed))


def fit_networks(
    given: Array, goals: FloatArray, learnt: NDArray[np.intp], seed: int, fitting: Fitting,
    heard: Heard, first: Mapping[str, Array] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """The weights of networks from rows, shape (n, f), to `goals`, (n, m), nan where there is none.

    `learnt` are the rows to learn from; one that comes twice counts twice. `first` are the weights
    to begin with, else random ones. Raises FloatingPointError where the loss is no number.
    """
    exists = np.isfinite(goals)
    data = [torch.from_numpy(given),
            torch.from_numpy(np.where(exists, goals, 0.0).astype(np.float32)),
            torch.from_numpy(exists.astype(np.float32))]  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    if first is None:
        weights = make_weights(given.shape[1], 2 * goals.shape[1], fitting, generator)
    else:
        weights = {name: torch.tensor(array, requires_grad=True) for name, array in first.items()}
    _train(weights, data, torch.from_numpy(learnt), fitting, generator, heard)
    return {name: each.detach().numpy() for name, each in weights.items()}


def errors_of(missed: FloatArray) -> FloatArray:
    """Of each measure, from how far networks miss it, shape (n, m), nan where it does not exist."""
    return np.array([_error(column[np.isfinite(column)]) for column in missed.T])


def make_weights(
    width_in: int, width_out: int, fitting: Fitting, generator: torch.Generator
) -> dict[str, Tensor]:
    """By name, each with the network's number as its first axis, the block's as its second."""
    count, width, blocks = fitting.networks, fitting.width, fitting.blocks
    shapes: dict[str, tuple[tuple[int, ...], float]] = {
        "first.weight": ((count, width_in, width), 1.0 / width_in),
        "first.bias": ((count, 1, width), 0.1),
        "inner.weight": ((count, blocks, width, width), 1.0 / width),
        "inner.bias": ((count, blocks, 1, width), 0.0),
        "outer.weight": ((count, blocks, width, width), 0.1 / width),
        "last.weight": ((count, width, width_out), 0.1 / width),
        "last.bias": ((count, 1, width_out), 0.0),
    }
    return {
        name: (torch.randn(shape, generator=generator) * math.sqrt(variance)).requires_grad_()
        for name, (shape, variance) in shapes.items()
    }


def outputs_of(weights: Mapping[str, Tensor], given: Tensor) -> Tensor:
    """As `answers_of` of `response`, of given rows, shape (networks, B, f)."""
    hidden = torch.baddbmm(weights["first.bias"], given, weights["first.weight"])
    for k in range(weights["inner.weight"].shape[1]):
        w, b = weights["inner.weight"][:, k], weights["inner.bias"][:, k]
        hidden = torch.baddbmm(hidden, silu(torch.baddbmm(b, hidden, w)),
                               weights["outer.weight"][:, k])  # fmt: skip
    return torch.baddbmm(weights["last.bias"], silu(hidden), weights["last.weight"])


def _train(
    weights: Mapping[str, Tensor], data: Sequence[Tensor], rows: Tensor, fitting: Fitting,
    generator: torch.Generator, heard: Heard,
) -> None:  # fmt: skip
    optimizer = torch.optim.Adam(weights.values(), fitting.learning_rate, fused=True)
    began, step = time.perf_counter(), 0
    steps = max(fitting.steps * min(math.sqrt(len(rows) / FULL), 1.0), 1.0)
    given, goals, exists = data
    count = goals.shape[1]
    while True:
        done = step / steps
        if fitting.seconds < math.inf:
            done = (time.perf_counter() - began) / max(fitting.seconds, 1e-9)
        if done >= 1.0:
            return
        for group in optimizer.param_groups:
            group["lr"] = fitting.learning_rate * _rate(done)
        drawn = torch.randint(len(rows), (fitting.networks, fitting.batch), generator=generator)
        some = rows[drawn]
        found = outputs_of(weights, given[some])
        missed = smooth_l1_loss(found[..., :count], goals[some], reduction="none", beta=0.1)
        there = exists[some]
        loss = (missed * there).sum() / there.sum().clamp(min=1.0)
        loss = loss + 0.1 * binary_cross_entropy_with_logits(found[..., count:], there)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss of step {step} is {value}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()
        step += 1
        heard(min(done, 1.0), value)


def _rate(done: float) -> float:
    """Of the largest learning rate: it rises in a line, then falls as a cosine."""
    if done < WARM_UP:
        return max(done / WARM_UP, 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * (done - WARM_UP) / (1.0 - WARM_UP)))


def scale_of(values: FloatArray, known: Scale | None = None) -> Scale:
    """The scale of values, nan where there is none, shape (n,): `known` where it has room for all
    of them."""
    finite = values[np.isfinite(values)]
    if known is not None and (not known.log or (finite > 0.0).all()):
        return known
    return Scale.of(finite) if len(finite) >= LEAST_VALUES else Scale(False, 0.0, 1.0)


def _error(missed: FloatArray) -> float:
    return max(float(np.percentile(missed, DECIDING)), LEAST_ERROR) if len(missed) else 1.0
