"""Small signals and noise of many sizings at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3eda.coarse.solve import Batch, solved
from m3eda.coarse.transistor import Point
from m3eda.design.ranges import FloatArray

BOLTZMANN = 1.380649e-23


def response(batch: Batch, conductance: FloatArray, storage: FloatArray, frequencies: FloatArray,
             driven: int | None = None) -> FloatArray:  # fmt: skip
    """Small signals at `frequencies` (f,) or (n, f): complex, shape (n, f, size + 1); by 1 V of
    the source whose current is at the place `driven` alone, where it is given."""
    size, small = batch.netlist.size, batch.small
    if driven is not None:
        small = np.zeros_like(batch.small)
        small[:, driven] = 1.0
    omega = 2.0 * np.pi * np.broadcast_to(frequencies, (batch.count, frequencies.shape[-1]))
    if batch.compiled:
        return batch.compiled.response(conductance, storage, omega, small)
    found = np.zeros((batch.count, omega.shape[1], size + 1), dtype=complex)
    given = small[:, :size].astype(complex)
    for k in range(omega.shape[1]):
        matrix = conductance + 1j * omega[:, k, None, None] * storage
        found[:, k, :size] = solved(matrix, given)
    return found


def noise(batch: Batch, conductance: FloatArray, storage: FloatArray, at: Point,
          frequencies: FloatArray, output: Sequence[int], source: int,
          ) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Densities at the output and at the input, V/sqrt(Hz), each (n, f); `source` is the
    place of the input's current among the unknowns."""
    size = batch.netlist.size
    pick = np.zeros(size + 1)
    pick[output[0]] += 1.0
    if len(output) > 1:
        pick[output[1]] -= 1.0
    pick[size] = 0.0
    omega = 2.0 * np.pi * np.broadcast_to(frequencies, (batch.count, frequencies.shape[-1]))
    ends, white, flicker = _noisy(batch, at)
    if batch.compiled:
        out, gain = batch.compiled.noise(
            conductance, storage, omega, pick, ends, white, flicker, source
        )
        return out, out / np.maximum(gain, 1e-30)
    out, gain = np.empty(omega.shape), np.empty(omega.shape)
    given = np.broadcast_to(pick[:size].astype(complex), (batch.count, size))
    for k in range(omega.shape[1]):
        matrix = conductance + 1j * omega[:, k, None, None] * storage
        adjoint = np.zeros((batch.count, size + 1), dtype=complex)
        adjoint[:, :size] = solved(matrix.transpose(0, 2, 1), given)
        total = np.zeros(batch.count)
        for j, (a, b) in enumerate(ends):
            power = np.abs(adjoint[:, a] - adjoint[:, b]) ** 2
            total += power * (white[:, j] + flicker[:, j] / omega[:, k])
        out[:, k], gain[:, k] = np.sqrt(total), np.abs(adjoint[:, source])
    return out, out / np.maximum(gain, 1e-30)


def _noisy(batch: Batch, at: Point) -> tuple[list[tuple[int, int]], FloatArray, FloatArray]:
    """Places between which there is a noise current, p of them; of its density in A^2/Hz what
    is white, and what is over the frequency in radians a second, each (n, p)."""
    thermal = 4.0 * BOLTZMANN * batch.kelvin
    ends = [(int(d), int(s)) for d, _, s, _ in batch.places]
    ends += [(a, b) for a, b, _ in (*batch.resistors, *batch.shot)]
    channels = thermal * ((2.0 / 3.0) * np.abs(at.gm) + np.abs(at.gds))
    white = [channels, *(thermal * amount[:, None] for _, _, amount in batch.resistors),
             *(density[:, None] for _, _, density in batch.shot)]  # fmt: skip
    flicker = np.zeros((batch.count, len(ends)))
    strength = np.abs(at.gm) + batch.fluctuation * np.abs(at.current)
    flicker[:, : len(batch.places)] = 2.0 * np.pi * strength**2 * batch.flicker
    return ends, np.hstack(white), flicker
