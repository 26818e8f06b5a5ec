"""Networks of one shape as one batched network, for a GPU, where each launch of a kernel counts.

Twin critics and the ensemble of environment models run their members one after the other on a CPU,
which nothing beats there. On a GPU `Stack` runs them at once, and `graphed` replays the launches of
a forward and a backward as one CUDA graph each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from m3eda.policy.encoders import LstmEncoder, computed

_log = logging.getLogger(__name__)


class Stack(nn.Module):
    """Members' outputs, one behind the other: shape (members, ...).

    members: networks of one shape whose forward takes and gives tensors. Their parameters are
    copied, with the member as first dimension; an optimizer takes those of the stack. apart: the
    arguments of `forward` have the member as first dimension too; else all members see the same.
    """

    def __init__(self, members: Sequence[nn.Module], apart: bool = False) -> None:
        super().__init__()
        self.apart, self.count = apart, len(members)
        # within a list it is no submodule, so that its own parameters are not the stack's
        self._member = [members[0]]
        self._one_by_one = any(isinstance(each, LstmEncoder) for each in members[0].modules())
        parameters, buffers = stack_module_state(list(members))
        for name, tensor in parameters.items():
            self.register_parameter(_flat(name), nn.Parameter(tensor.detach()))
        for name, tensor in buffers.items():
            self.register_buffer(_flat(name), tensor)

    def forward(self, *arguments: Tensor) -> Tensor:
        """Each member's output for its arguments."""
        state = {_dotted(name): each for name, each in self.state_dict(keep_vars=True).items()}

        def one(own: dict[str, Tensor], *given: Tensor) -> Tensor:
            found: Tensor = functional_call(self._member[0], own, given)
            return found

        if self._one_by_one:  # an LSTM knows no such dimension
            return torch.stack([self._alone(one, state, row, arguments) for row in self._rows()])
        given = 0 if self.apart else None
        with computed("closed"):  # what is compiled knows none either
            found: Tensor = vmap(one, in_dims=(0, *[given] * len(arguments)))(state, *arguments)
        return found

    def member(self, row: int) -> dict[str, Tensor]:
        """The state dict of one member, a copy."""
        return {_dotted(name): each[row].clone() for name, each in self.state_dict().items()}

    def give(self, members: Sequence[nn.Module]) -> None:
        """Put the stack's state into networks of its shape."""
        for row, each in zip(self._rows(), members, strict=True):
            each.load_state_dict(self.member(row))

    def take(self, members: Sequence[nn.Module]) -> None:
        """Put the state of networks of its shape into the stack."""
        every = [each.state_dict() for each in members]
        stacked = {_flat(name): torch.stack([each[name] for each in every]) for name in every[0]}
        self.load_state_dict(stacked)

    def _rows(self) -> range:
        return range(self.count)

    def _alone(
        self, one: Callable[..., Tensor], state: dict[str, Tensor], row: int,
        arguments: Sequence[Tensor],
    ) -> Tensor:  # fmt: skip
        own = {name: each[row] for name, each in state.items()}
        return one(own, *(each[row] if self.apart else each for each in arguments))


def graphed(network: nn.Module, samples: tuple[Tensor, ...]) -> nn.Module:
    """`network` with its forward and backward captured as CUDA graphs.

    samples: arguments of the shapes, types and `requires_grad` of all later ones. Away from CUDA,
    and where the capture fails, it is the network as it was.
    """
    if not all(each.is_cuda for each in samples):
        return network
    try:
        made: nn.Module = torch.cuda.make_graphed_callables(network, samples)  # type: ignore[assignment]
    except Exception as error:  # noqa: BLE001  drivers raise errors of their own
        _log.debug("no CUDA graph, kernels are launched one by one: %s", error)
        return network
    return made


def _flat(name: str) -> str:
    """A parameter's own name has no dots."""
    return name.replace(".", "/")


def _dotted(name: str) -> str:
    return name.replace("/", ".")
