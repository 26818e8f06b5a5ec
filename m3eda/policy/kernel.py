"""The fused way of a Mamba block's last output on a CPU: a C kernel, compiled where it runs.

`mamba_kernel.c` holds it. It is compiled once for each shape of a block. Where there is no
compiler, or it fails, `kernel_of` gives None and the closed form of `mamba.py` does the work.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m3eda.simulate.compiled import FAILURES, library

SOURCE = Path(__file__).with_name("mamba_kernel.c")
HEADERS = ("mamba_kernel_math.h", "mamba_kernel_weights.h")
_REASONS = {1: MemoryError("no memory for the kernel's rows"),
            2: IndexError("a sequence's length or circuit is out of range")}  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """What a kernel is compiled for."""

    d_inner: int
    d_state: int
    dt_rank: int
    d_conv: int
    double: bool

    @property
    def flags(self) -> tuple[str, ...]:
        names = ("d_inner", "d_state", "dt_rank", "d_conv")
        sizes = tuple(f"-D{name.upper()}={getattr(self, name)}" for name in names)
        return sizes + (("-DDOUBLE",) if self.double else ())


class Kernel:
    """A loaded kernel: tensors in and out, without gradients."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._forward, self._backward = loaded.mamba_forward, loaded.mamba_backward
        pointer, size = ctypes.c_void_p, ctypes.c_long
        self._forward.argtypes = [size] * 3 + [pointer] * 6
        self._backward.argtypes = [size] * 3 + [pointer] * 8

    def forward(
        self, values: Tensor, lengths: Tensor, circuits: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The sum over tokens before and behind its gate, each of shape (B, d_inner).

        weights: in_proj of what embeds (2 + circuits, 2 d_inner): a scalar's slope, the level, each
        circuit's vector; the convolution's taps (d_inner, K) and bias, x_proj, dt_proj's weight and
        bias, A, D.
        """
        mixed = values.new_empty(len(values), weights[-1].shape[0])
        gated = torch.empty_like(mixed)
        rows = [values, lengths, circuits]
        code = self._forward(
            *values.shape, len(weights[0]) - 2, *map(Tensor.data_ptr, rows), _pointers(weights),
            mixed.data_ptr(), gated.data_ptr(),
        )  # fmt: skip
        _raise(code)
        return mixed, gated

    def backward(
        self, rows: Sequence[Tensor], weights: Sequence[Tensor], grad: Tensor, wanted: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradients in the values and, where `wanted`, in each of the weights.

        rows: values, lengths, circuits and the sum before its gate.
        """
        found = torch.zeros_like(rows[0])
        through = [torch.zeros_like(each) for each in weights] if wanted else []
        code = self._backward(
            *rows[0].shape, len(weights[0]) - 2, *map(Tensor.data_ptr, rows[:3]),
            _pointers(weights), rows[3].data_ptr(), grad.data_ptr(), found.data_ptr(),
            _pointers(through) if wanted else None,
        )  # fmt: skip
        _raise(code)
        return found, through


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(each.data_ptr() for each in tensors))


def _raise(code: int) -> None:
    if code:
        raise _REASONS[code]


class _Fused(torch.autograd.Function):
    """All between tokens and y_L is one step of autograd: at a batch of 100 its bookkeeping costs
    as much as the kernel."""

    @staticmethod
    def forward(
        context: Any, kernel: Kernel, values: Tensor, lengths: Tensor, circuits: Tensor,
        *weights: Tensor,
    ) -> Tensor:  # fmt: skip
        values, lengths, circuits = (each.contiguous() for each in (values, lengths, circuits))
        slope, level, table, in_proj, *inside, a_log, skip, out_proj = weights
        embedding = torch.cat([slope.T, level[None], table])
        inside = [each.contiguous() for each in inside]
        taken = [embedding @ in_proj.T, *inside, -a_log.exp(), skip.contiguous()]
        mixed, gated = kernel.forward(values, lengths, circuits, taken)
        context.kernel, context.counts = kernel, (1, 1, len(table))
        context.save_for_backward(
            values, lengths, circuits, mixed, gated, embedding, in_proj, out_proj, *taken
        )
        return gated @ out_proj.T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *rows, gated, embedding, in_proj, out_proj = context.saved_tensors[:8]
        taken = context.saved_tensors[8:]
        wanted = any(context.needs_input_grad[4:])
        back = grad @ out_proj
        found, through = context.kernel.backward(rows, taken, back, wanted)
        if not wanted:
            return (None, found, *[None] * 14)
        heads, *inside, a, skip = through
        slope, level, table = (heads @ in_proj).split(context.counts)
        return (
            None, found, None, None, slope.T, level[0], table, heads.T @ embedding, *inside,
            a.mul_(taken[-2]), skip, grad.T @ gated,
        )  # fmt: skip


def fused(
    kernel: Kernel, values: Tensor, lengths: Tensor, circuits: Tensor, weights: Sequence[Tensor]
) -> Tensor:
    """The last output y_L, shape (B, d_model), differentiable once in the values and the weights.

    values, lengths, circuits: of `Tokens`. weights, in the shapes of their modules: of the
    embedding of scalars and its bias, of the circuits; of in_proj, the convolution and its bias,
    x_proj, dt_proj and its bias, A_log, D, out_proj. Raises IndexError.
    """
    found: Tensor = _Fused.apply(kernel, values, lengths, circuits, *weights)
    return found


@functools.cache
def kernel_of(shape: Shape) -> Kernel | None:
    """The kernel of this shape, compiled where it is not there yet; None where it cannot be."""
    try:
        return Kernel(library(SOURCE, HEADERS, shape.flags))
    except FAILURES as error:
        _log.debug("no fused kernel, the closed form takes its place: %s", error)
        return None
