"""Encoders of sequences: what an actor, a critic or an environment model reads its input with.

Each is a module that takes `Tokens` and gives the last output y_l, shape (B, width), before the
activation and the linear layer of section III-B of the M3 paper (arXiv 2411.16019). The circuit's
token is a learned vector, o_e of section III-A; every other is a scalar embedded in R^d.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from m3eda.errors import DesignError, Mistake
from m3eda.policy.kernel import Kernel, Shape, fused, kernel_of
from m3eda.policy.mamba import Mamba, cuda_scan
from m3eda.policy.tokens import Tokens

Kind = Literal["mamba", "transformer", "lstm", "mlp"]
Way = Literal["loop", "closed", "quickest"]
WIDTHS: dict[str, int] = {"mamba": 64, "transformer": 128, "lstm": 256, "mlp": 512}
"""Kind -> d_model where nothing is said: Table I for Mamba. Those of the others follow from the
numbers of parameters in section IV-A (of the LSTM it says 512 in words, 256 by its number)."""

_way: ContextVar[Way] = ContextVar("way", default="quickest")


@contextmanager
def computed(way: Way) -> Iterator[None]:
    """Within, a Mamba block's output comes from the loop over time or the closed form, in place of
    what is quickest on its device."""
    before = _way.set(way)
    try:
        yield
    finally:
        _way.reset(before)


@dataclass(frozen=True)
class EncoderSettings:
    """What `make_encoder` makes; the defaults are the paper's. Raises DesignError."""

    kind: Kind = "mamba"
    d_model: int = 0
    """Width of y_l; 0 stands for the kind's own in `WIDTHS`."""
    d_state: int = 16
    """Mamba: states of a channel."""
    d_conv: int = 4
    """Mamba: taps of the convolution."""
    expand: int = 2
    """Mamba: channels for each of d_model."""
    heads: int = 8
    """Transformer: attention heads, a divisor of d_model."""
    feed_forward: int = 2048
    """Transformer: width within its feed-forward network."""
    length: int = 0
    """MLP: tokens of the padded sequence, its circuit's among them; the others take any."""

    def __post_init__(self) -> None:
        if self.kind not in WIDTHS:
            hint = f"one of {', '.join(WIDTHS)}"
            raise DesignError([Mistake(f"no encoder '{self.kind}'", key="kind", hint=hint)])
        least = {"d_model": 0, "length": 1 if self.kind == "mlp" else 0}
        names = ("d_model", "d_state", "d_conv", "expand", "heads", "feed_forward", "length")
        low = [name for name in names if getattr(self, name) < least.get(name, 1)]
        mistakes = [
            Mistake(f"is {getattr(self, name)}", key=name, hint=f"at least {least.get(name, 1)}")
            for name in low
        ]
        if not low and self.kind == "transformer" and self.width % self.heads:
            hint = f"divides the width {self.width}"
            mistakes.append(Mistake(f"is {self.heads}", key="heads", hint=hint))
        if mistakes:
            raise DesignError(mistakes)

    @property
    def width(self) -> int:
        """Of y_l."""
        return self.d_model or WIDTHS[self.kind]


class Encoder(nn.Module):
    """What is common to all: `width` of the output and `latent`, what the paper counts."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings, self.width = settings, settings.width

    @property
    def latent(self) -> nn.Module:
        """The part whose parameters the paper counts (section IV-A): without what embeds."""
        raise NotImplementedError


class SequenceEncoder(Encoder):
    """An encoder of embedded tokens."""

    def __init__(self, settings: EncoderSettings, circuits: int) -> None:
        super().__init__(settings)
        self.embed = nn.Linear(1, self.width)
        self.circuits = nn.Embedding(circuits, self.width)

    def embedded(self, tokens: Tokens) -> Tensor:
        """Shape (B, L, d): the circuit's vector at its token, E(x) elsewhere. What stands in front
        of a sequence means nothing."""
        scalars = self.embed(tokens.values[..., None])
        places = torch.arange(tokens.values.shape[1], device=scalars.device)
        at_first = (places == tokens.first[:, None])[..., None]
        return torch.where(at_first, self.circuits(tokens.circuits)[:, None], scalars)


class MambaEncoder(SequenceEncoder):
    """One Mamba block, of which the last output is read."""

    def __init__(self, settings: EncoderSettings, circuits: int) -> None:
        super().__init__(settings, circuits)
        self.block = Mamba(self.width, settings.d_state, settings.d_conv, settings.expand)

    @property
    def latent(self) -> nn.Module:
        return self.block

    def forward(self, tokens: Tokens) -> Tensor:
        way, values = _way.get(), tokens.values
        if way == "loop":
            return self.block(self.embedded(tokens), tokens.used)[:, -1]
        if way == "quickest" and self._alike(values):
            if kernel := self._kernel(values):
                return self._fused(kernel, tokens)
            if values.is_cuda and values.dtype == torch.float32 and (scan := cuda_scan()):
                return self.block.scanned(self.embedded(tokens), tokens.used, scan)
        return self.block.last(self.embedded(tokens), tokens.used)

    def _alike(self, values: Tensor) -> bool:
        one = self.block.D
        return one.dtype == values.dtype and one.device == values.device

    def _kernel(self, values: Tensor) -> Kernel | None:
        block, types = self.block, (torch.float32, torch.float64)
        if values.device.type != "cpu" or values.dtype not in types:
            return None
        sizes = (block.d_inner, block.d_state, block.dt_rank, block.d_conv)
        return kernel_of(Shape(*sizes, double=values.dtype == torch.float64))

    def _fused(self, kernel: Kernel, tokens: Tokens) -> Tensor:
        block, bias = self.block, self.block.conv1d.bias
        assert bias is not None, "mamba-ssm's has one"
        weights: list[Tensor] = [
            self.embed.weight, self.embed.bias, self.circuits.weight, block.in_proj.weight,
            block.conv1d.weight, bias, block.x_proj.weight, block.dt_proj.weight,
            block.dt_proj.bias, block.A_log, block.D, block.out_proj.weight,
        ]  # fmt: skip
        return fused(kernel, tokens.values, tokens.lengths, tokens.circuits, weights)


class TransformerEncoder(SequenceEncoder):
    """One layer as published, with the places of tokens added as sines and without dropout.

    Only the last output is read, so only its query is asked: the same numbers at a fraction of the
    cost.
    """

    def __init__(self, settings: EncoderSettings, circuits: int) -> None:
        super().__init__(settings, circuits)
        self.layer = nn.TransformerEncoderLayer(
            self.width, settings.heads, settings.feed_forward, dropout=0.0, layer_norm_eps=1e-5,
            batch_first=True,
        )  # fmt: skip

    @property
    def latent(self) -> nn.Module:
        return self.layer

    def placed(self, tokens: Tokens) -> Tensor:
        """Embedded tokens with their places, counted from each sequence's first."""
        hidden = self.embedded(tokens)
        places = torch.arange(tokens.values.shape[1], device=hidden.device)
        counted = (places - tokens.first[:, None]).clamp(min=0)
        return hidden + _sines(tokens.values.shape[1], self.width).to(hidden)[counted]

    def forward(self, tokens: Tokens) -> Tensor:
        layer, hidden = self.layer, self.placed(tokens)
        last = hidden[:, -1:]
        read, _ = layer.self_attn(
            last, hidden, hidden, key_padding_mask=~tokens.used, need_weights=False
        )
        seen = layer.norm1(last + read)
        found: Tensor = layer.norm2(seen + layer.linear2(torch.relu(layer.linear1(seen))))
        return found[:, 0]


def _sines(length: int, width: int) -> Tensor:
    """Places as in "Attention is all you need" (arXiv 1706.03762, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


class LstmEncoder(SequenceEncoder):
    """One layer of as many units as inputs."""

    def __init__(self, settings: EncoderSettings, circuits: int) -> None:
        super().__init__(settings, circuits)
        self.lstm = nn.LSTM(self.width, self.width, batch_first=True)

    @property
    def latent(self) -> nn.Module:
        return self.lstm

    def forward(self, tokens: Tokens) -> Tensor:
        # turned to the left end, so that every sequence begins with the first state
        length = tokens.values.shape[1]
        places = torch.arange(length, device=tokens.values.device) + tokens.first[:, None]
        values = pad(tokens.values, (0, length)).gather(1, places)
        scalars = self.embed(values[:, 1:, None])
        found, _ = self.lstm(torch.cat([self.circuits(tokens.circuits)[:, None], scalars], dim=1))
        rows = torch.arange(len(values), device=values.device)
        last: Tensor = found[rows, tokens.lengths - 1]
        return last


class MlpEncoder(Encoder):
    """Two square layers behind one that takes the padded values and the circuit, one-hot."""

    def __init__(self, settings: EncoderSettings, circuits: int) -> None:
        super().__init__(settings)
        self.circuits, width = circuits, self.width
        self.embed = nn.Linear(settings.length + circuits, width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    @property
    def latent(self) -> nn.Module:
        return self.layers

    def forward(self, tokens: Tokens) -> Tensor:
        """Raises DesignError where sequences are longer than the settings say."""
        missing = self.settings.length - tokens.values.shape[1]
        if missing < 0:
            text = f"is {self.settings.length} for sequences of {tokens.values.shape[1]}"
            raise DesignError([Mistake(text, key="length")])
        values = pad(tokens.values, (missing, 0))
        circuit = one_hot(tokens.circuits, self.circuits).to(values)
        found: Tensor = self.layers(torch.relu(self.embed(torch.cat([values, circuit], dim=1))))
        return found


KINDS: dict[str, type[Encoder]] = {
    "mamba": MambaEncoder,
    "transformer": TransformerEncoder,
    "lstm": LstmEncoder,
    "mlp": MlpEncoder,
}


def make_encoder(settings: EncoderSettings, circuits: int) -> Encoder:
    """An encoder of `settings` for so many circuits."""
    made: Encoder = KINDS[settings.kind](settings, circuits)  # type: ignore[call-arg]
    return made
