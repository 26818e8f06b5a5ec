"""One Mamba block (Gu and Dao, arXiv 2312.00752), in plain PyTorch.

Its state dict is that of `mamba_ssm.Mamba`, names and shapes. Two ways of the same function are
here: `forward` steps through time as the paper writes it and gives every output; `last` gives the
last output only, by a closed form without a recurrence; `scanned` gives it by a selective scan of
someone else's, such as mamba-ssm's for CUDA. docs/mamba.md has the one of `kernel.py` too.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu, softplus

Scan = Callable[..., Tensor]
"""With the arguments of mamba_ssm's `selective_scan_fn`."""
_log = logging.getLogger(__name__)


class Mamba(nn.Module):
    """A selective state space model behind a causal convolution, with a gate.

    d_model: width of inputs and outputs; d_state: N, states of each channel; d_conv: K, taps of the
    convolution; expand: channels for each of d_model.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = inner = expand * d_model
        self.dt_rank = rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        states = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(torch.log(states).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self._start_steps()

    def _start_steps(self, shortest: float = 1e-3, longest: float = 1e-1) -> None:
        """Steps dt begin log-uniform between the two (mamba_ssm's own initialisation)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        exponents = torch.rand(self.d_inner) * math.log(longest / shortest)
        steps = shortest * torch.exp(exponents)
        with torch.no_grad():
            # the inverse of softplus
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    @property
    def A(self) -> Tensor:
        """Negative, shape (d_inner, N)."""
        return -torch.exp(self.A_log)

    def forward(self, hidden: Tensor, used: Tensor | None = None) -> Tensor:
        """Every output y_t, shape (B, L, d_model), by steps through time.

        hidden: shape (B, L, d_model). used: True where a sequence has a token, shape (B, L), for
        sequences aligned at the right end; outputs in front of a sequence mean nothing.
        """
        convolved, gate = self._convolved(hidden, used)
        steps, inputs, outputs = self._selected(convolved)
        decays = steps[..., None] * self.A
        kicks = (steps * self._only(convolved, used))[..., None] * inputs[:, :, None, :]
        state = torch.zeros_like(kicks[:, 0])
        found = []
        for t in range(hidden.shape[1]):
            state = torch.exp(decays[:, t]) * state + kicks[:, t]
            found.append((state * outputs[:, t, None, :]).sum(dim=2))
        mixed = torch.stack(found, dim=1) + self.D * convolved
        projected: Tensor = self.out_proj(mixed * silu(gate))
        return projected

    def last(self, hidden: Tensor, used: Tensor | None = None) -> Tensor:
        """The last output y_L, shape (B, d_model), of the inputs of `forward`.

        With R_t the sum of the steps dt behind t, the recurrence unrolls to
        y_L = sum_t dt_t u_t sum_n exp(A_n R_t) B_tn C_Ln + D u_L. No exponent is positive.
        """
        convolved, gate = self._convolved(hidden, used, gate_of=slice(-1, None))
        steps, inputs, outputs = self._selected(convolved)
        behind = steps.flip(1).cumsum(1).flip(1) - steps
        weights = (inputs * outputs[:, -1:, :])[:, :, None, :]
        kernel = (torch.exp(behind[..., None] * self.A) * weights).sum(dim=3)
        mixed = (kernel * steps * self._only(convolved, used)).sum(dim=1)
        mixed = mixed + self.D * convolved[:, -1]
        projected: Tensor = self.out_proj(mixed * silu(gate[:, 0]))
        return projected

    def scanned(self, hidden: Tensor, used: Tensor | None, scan: Scan) -> Tensor:
        """The same as `last`, by `scan`, which gives every output before the gate."""
        convolved, gate = self._convolved(hidden, used, gate_of=slice(-1, None))
        raw, inputs, outputs = self._projected(convolved)
        rows = [self._only(convolved, used), linear(raw, self.dt_proj.weight), inputs, outputs]
        channels, steps, *selected = (each.transpose(1, 2).contiguous() for each in rows)
        found = scan(
            channels, steps, self.A, *selected, D=self.D, delta_bias=self.dt_proj.bias,
            delta_softplus=True,
        )  # fmt: skip
        projected: Tensor = self.out_proj(found[..., -1] * silu(gate[:, 0]))
        return projected

    def _convolved(
        self, hidden: Tensor, used: Tensor | None, gate_of: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """u, shape (B, L, d_inner), and the gate before its activation at `gate_of`."""
        inner = self.d_inner
        channels = self._only(linear(hidden, self.in_proj.weight[:inner]), used)
        gate = linear(hidden[:, gate_of], self.in_proj.weight[inner:])
        # the convolution pads both ends; what it gives beyond the last token looks ahead
        wide = self.conv1d(channels.transpose(1, 2))[..., : hidden.shape[1]]
        return silu(wide).transpose(1, 2), gate

    def _selected(self, convolved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Steps dt (B, L, d_inner), B and C (B, L, N), which the inputs select."""
        raw, inputs, outputs = self._projected(convolved)
        return softplus(self.dt_proj(raw)), inputs, outputs

    def _projected(self, convolved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw, inputs, outputs = self.x_proj(convolved).split(
            [self.dt_rank, self.d_state, self.d_state], dim=2
        )
        return raw, inputs, outputs

    @staticmethod
    def _only(values: Tensor, used: Tensor | None) -> Tensor:
        return values if used is None else values * used[..., None]


@functools.cache
def cuda_scan() -> Scan | None:
    """The selective scan of the package mamba-ssm; None where it cannot be imported."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except Exception as error:  # noqa: BLE001  triton and drivers raise errors of their own
        _log.debug("no scan of mamba-ssm, the closed form takes its place: %s", error)
        return None
    scan: Scan = selective_scan_fn
    return scan
