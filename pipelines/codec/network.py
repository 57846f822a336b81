"""The recurrent image codec of Toderici et al. 2017 (arXiv:1608.05148), with stop codes after Covell et al. 2017.

An image is coded in iterations. Each codes what is still missing, the residual, as `NUM_BITS` values of -1 and +1 at
every position, a block of `STRIDE` x `STRIDE` pixels; the decoder adds what it makes of them. A position that has
stopped has the stop code, -1 in all values, from then on (arXiv:1705.06687). Shapes in comments: b images, c channels,
h x w pixels, p x q positions, t iterations.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.codec.masks import PEAK, Masking, blocks_of, pixels_of

NUM_BITS = 32
"""Values a position and iteration (Toderici et al. 2017, section 3: 2 x 2 x 32 of a patch of 32 x 32 pixels)."""
STRIDE = 16
"""Pixels a position on a side."""
STEM_STRIDE = 4
STOP = -1.0
"""Value of every bit of a stop code."""
MOST_ITERATIONS = 16
"""Of Toderici et al. 2017."""

States = dict[int, Tensor]
"""States of recurrent units by their place; a unit that has none yet starts from zeros."""


@dataclass(frozen=True, kw_only=True)
class CodecShape:
    """All that determines the network before training."""

    num_channels: int
    width: int
    """Feature maps at a quarter of the image's resolution; twice as many at an eighth, four times at a sixteenth."""
    iterations: int
    """Of a forward pass; at most `MOST_ITERATIONS`."""


class ConvGru(nn.Module):
    """A convolutional gated recurrent unit (Cho et al. 2014), 3 x 3 over its inputs and 1 x 1 over its state."""

    def __init__(self, num_inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.width = width
        self.inputs = nn.Conv2d(num_inputs, 3 * width, 3, stride, padding=1)
        self.state = nn.Conv2d(width, 3 * width, 1)

    def forward(self, inputs: Tensor, state: Tensor | None) -> Tensor:
        """Return the next state [b, width, ...]; None stands for zeros."""
        from_inputs = self.inputs(inputs)
        if state is None:
            state = from_inputs.new_zeros(()).expand_as(from_inputs[:, : self.width])
        update, reset, fresh = from_inputs.chunk(3, 1)
        old_update, old_reset, old = self.state(state).chunk(3, 1)
        gate = torch.sigmoid(update + old_update)
        candidate = torch.tanh(fresh + torch.sigmoid(reset + old_reset) * old)
        return torch.lerp(candidate, state, gate)


class Encoder(nn.Module):
    """From a scaled residual to what recurrent units add to the `NUM_BITS` values of a position; at first nothing."""

    def __init__(self, shape: CodecShape) -> None:
        super().__init__()
        width = shape.width
        self.stem = nn.Conv2d(shape.num_channels, width, STEM_STRIDE + 2, STEM_STRIDE, padding=1)
        self.units = nn.ModuleList([ConvGru(width, 2 * width, 2), ConvGru(2 * width, 4 * width, 2)])
        self.head = nn.Conv2d(4 * width, NUM_BITS, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, residual: Tensor, states: States) -> Tensor:
        """Return float [b, NUM_BITS, p, q] of a residual [b, c, h, w]; replaces the units' `states`."""
        maps = torch.tanh(self.stem(residual))
        for index, unit in enumerate(self.units):
            maps = states[index] = unit(maps, states.get(index))
        added: Tensor = self.head(maps)
        return added


class Decoder(nn.Module):
    """From codes to what recurrent units add to the image, by depth to space; at first nothing."""

    def __init__(self, shape: CodecShape) -> None:
        super().__init__()
        width = shape.width
        self.stem = nn.Conv2d(NUM_BITS, 4 * width, 1)
        self.units = nn.ModuleList(
            [ConvGru(4 * width, 4 * width), ConvGru(width, 2 * width), ConvGru(width // 2, width)]
        )
        self.head = nn.Conv2d(width, shape.num_channels * STEM_STRIDE**2, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, codes: Tensor, states: States) -> Tensor:
        """Return float [b, c, h, w] of codes [b, NUM_BITS, p, q]; replaces the units' `states`."""
        maps = torch.tanh(self.stem(codes))
        for index, unit in enumerate(self.units):
            maps = functional.pixel_shuffle(maps, 2) if index else maps
            maps = states[index] = unit(maps, states.get(index))
        return functional.pixel_shuffle(self.head(maps), STEM_STRIDE)


def binarize(values: Tensor, *, stochastic: bool) -> Tensor:
    """Return the signs of `values` in -1..1, 0 being +1; the gradient passes unchanged (Toderici et al. 2016, eq. 4).

    `stochastic`: +1 with the probability (1 + value) / 2, whose mean is the value, drawn from torch's global state.
    """
    noise = torch.rand_like(values) * 2 - 1 if stochastic else torch.zeros_like(values)
    signs = torch.where(values + noise >= 0, 1.0, -1.0).to(values.dtype)
    passed: Tensor = values + (signs - values).detach()
    return passed


class Codec(nn.Module):
    """Encoder, binarizer and decoder, over the images as the training loop gives them: (pixel / 255 - mean) / std.

    Two things are ours and let it learn by plain SGD in minutes. The residual is scaled by a learned gain of the
    iteration (Toderici et al. 2017, section 3.3, estimate one from the image). Beside the recurrent units stands a
    linear path, a transform of a block for each iteration, which `pipelines.codec.transform` gives its first weights; a
    position that has stopped adds nothing on it. The units see stop codes as they are and have to learn them.

    Args:
        shape: what is built.
        mean, std: a number a channel, of pixels in 0..1.
        masking: which positions stop when, in a forward pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        shape: CodecShape,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        masking: Masking,
    ) -> None:
        super().__init__()
        self.shape, self.iterations, self.masking = shape, shape.iterations, masking
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        rows = torch.empty(shape.iterations, NUM_BITS, shape.num_channels, STRIDE, STRIDE)
        for iteration in rows:
            nn.init.orthogonal_(iteration)
        self.analysis, self.synthesis = nn.Parameter(rows), nn.Parameter(rows / 2)
        self.log_gains = nn.Parameter(torch.zeros(shape.iterations))
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def description(self) -> dict[str, int]:
        """Return the shape as plain values."""
        return asdict(self.shape)

    def encode(self, residual: Tensor, iteration: int, states: States) -> Tensor:
        """Return values in -1..1 [b, NUM_BITS, p, q] of a residual [b, c, h, w]; replaces `states`."""
        values: Tensor = self.encoder(residual / self.log_gains[iteration].exp(), states)
        return torch.tanh(values + functional.conv2d(residual, self.analysis[iteration], stride=STRIDE))

    def decode(self, codes: Tensor, iteration: int, states: States) -> Tensor:
        """Return what codes [b, NUM_BITS, p, q] add to the image, [b, c, h, w]; replaces `states`."""
        added: Tensor = self.decoder(codes, states) * self.log_gains[iteration].exp()
        going_on = (codes != STOP).any(1, keepdim=True)
        linear = functional.conv_transpose2d(codes * going_on, self.synthesis[iteration], stride=STRIDE)
        return added + linear

    def squared_error(self, residual: Tensor) -> Tensor:
        """Return the mean squared error of every position's block, [b, p, q], in grey levels of 0..255, squared."""
        return blocks_of((residual * (PEAK * self.std)).square(), STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        """Code and decode images [b, c, h, w] whose sides are multiples of STRIDE.

        Returns [b, t, c + 1, h, w]: of each iteration the decoded image, and last the weight of its pixels in the
        loss. In training mode the signs are stochastic. Draws from torch's global state.
        """
        positions = (len(images), images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
        stops = self.masking.draw_stops(positions, self.iterations, images.device)
        limits = self.masking.draw_limits(len(images), images.device)
        decoded, encoder, decoder = torch.zeros_like(images), States(), States()
        active = torch.ones(positions, dtype=torch.bool, device=images.device)
        results = []
        for iteration in range(self.iterations):
            residual = images - decoded
            if stops is not None:
                active = active & (iteration < stops)
            if limits is not None:
                active = active & (self.squared_error(residual.detach()) > limits)
            codes = binarize(self.encode(residual, iteration, encoder), stochastic=self.training)
            codes = torch.where(active.unsqueeze(1), codes, STOP)
            decoded = decoded + self.decode(codes, iteration, decoder)
            weights = pixels_of(self.masking.weights(active), STRIDE)
            results.append(torch.cat([decoded, weights], 1))
        return torch.stack(results, 1)


def reconstruction_loss(outputs: Tensor, images: Tensor) -> Tensor:
    """Return the weighted mean of absolute differences over pixels and iterations; L1 of Toderici et al. 2017, eq. 3.

    Args:
        outputs: [b, t, c + 1, h, w] of `Codec.forward`.
        images: [b, c, h, w].
    """
    decoded, weights = outputs[:, :, :-1], outputs[:, :, -1:]
    errors = (decoded - images.unsqueeze(1)).abs()
    return (errors * weights).sum() / (weights.sum() * images.shape[1])
