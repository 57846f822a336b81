"""The codec's network: signs, masks, weights and loss, against the formulas written out."""

import numpy as np
import pytest
import torch

from pipelines.codec.masks import Masking, blocks_of, pixels_of, squared_error_at
from pipelines.codec.network import NUM_BITS, STRIDE, States, binarize, reconstruction_loss
from tests.unit.codec.conftest import ITERATIONS, make_codec


def test_stochastic_signs_have_the_value_as_their_mean_and_pass_the_gradient() -> None:
    values = torch.linspace(-1, 1, 9).requires_grad_()
    generator_state = torch.manual_seed(0)
    assert generator_state is not None
    draws = torch.stack([binarize(values, stochastic=True) for _ in range(4000)])
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    # Five standard deviations of a mean of 4000 signs, at most 1 each.
    torch.testing.assert_close(draws.mean(0), values, rtol=0, atol=5 / 4000**0.5)
    draws.sum().backward()
    assert torch.equal(values.grad, torch.full((9,), 4000.0))
    signs = binarize(values, stochastic=False)
    assert signs.tolist() == [-1, -1, -1, -1, 1, 1, 1, 1, 1]


def test_a_forward_pass_gives_images_and_weights_of_every_iteration() -> None:
    codec = make_codec()
    images = torch.randn(2, 3, 32, 48)
    outputs = codec(images)
    assert outputs.shape == (2, ITERATIONS, 4, 32, 48)
    assert torch.equal(outputs[:, :, 3], torch.ones(2, ITERATIONS, 32, 48))
    reconstruction_loss(outputs, images).backward()
    unused = [name for name, one in codec.named_parameters() if one.grad is None]
    assert unused == []


def test_the_gradient_is_that_of_finite_differences() -> None:
    """With signs that do not change: of the decoder, in float64."""
    codec = make_codec().double().eval()
    images = torch.randn(1, 3, 16, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    # Signs of later iterations depend on what was decoded, and their gradient is no derivative.
    codec.iterations = 1
    reconstruction_loss(codec(images), images).backward()
    weight, step = codec.decoder.units[1].inputs.weight, 1e-6
    place = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
    with torch.no_grad():
        weight[place] += step
        above = reconstruction_loss(codec(images), images)
        weight[place] -= 2 * step
        below = reconstruction_loss(codec(images), images)
    # A rounding of a loss of about 1, by twice the step: 1e-10.
    slope = float((above - below) / (2 * step))
    assert abs(slope) > 1e-5
    assert float(weight.grad[place]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_loss_is_the_weighted_mean_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.rand(2, 3, 3, 4, 5, generator=generator)
    images = torch.rand(2, 2, 4, 5, generator=generator)
    total = weight = 0.0
    for b, t, y, x in np.ndindex(2, 3, 4, 5):
        w = float(outputs[b, t, 2, y, x])
        for c in range(2):
            total += w * abs(float(outputs[b, t, c, y, x]) - float(images[b, c, y, x]))
            weight += w
    # float32 sums of 240 terms
    assert float(reconstruction_loss(outputs, images)) == pytest.approx(total / weight, rel=1e-5)


def test_blocks_and_their_pixels() -> None:
    values = torch.arange(2 * 2 * 4 * 6).float().view(2, 2, 4, 6)
    means = blocks_of(values, 2)
    assert float(means[1, 1, 2]) == float(values[1, :, 2:4, 4:6].mean())
    pixels = pixels_of(means, 2)
    assert pixels.shape == (2, 1, 4, 6)
    assert float(pixels[1, 0, 3, 4]) == float(means[1, 1, 2])


def test_a_quality_is_the_squared_error_of_its_definition() -> None:
    codec = make_codec()
    wanted = squared_error_at(torch.tensor([20.0, 30.0]))
    assert wanted.tolist() == pytest.approx([255**2 / 100, 255**2 / 1000], rel=1e-5)
    # A residual of 1 in normalised units is a standard deviation of pixels in 0..1, here 0.25.
    assert float(codec.squared_error(torch.ones(1, 3, 16, 16))) == pytest.approx((255 * 0.25) ** 2)


def test_random_masks_stop_the_share_they_say_at_every_iteration_alike() -> None:
    torch.manual_seed(0)
    masking = Masking(random_share=0.5)
    stops = masking.draw_stops((100, 20, 20), 4, torch.device("cpu"))
    assert stops is not None
    shares = torch.bincount(stops.flatten(), minlength=5) / stops.numel()
    # Five standard deviations of a share of 40,000 draws.
    assert shares.tolist() == pytest.approx([0.125] * 4 + [0.5], abs=5 * (0.25 / 40_000) ** 0.5)


def test_a_stopped_position_has_stop_codes_from_then_on_and_its_surroundings_count_more() -> None:
    masking = Masking(random_share=0.5, added_weight=2.0)
    codec = make_codec(masking=masking)
    seen: list[torch.Tensor] = []
    codec.decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    torch.manual_seed(1)
    outputs = codec(torch.randn(4, 3, 64, 64))
    stopped = torch.stack([(codes == -1).all(1) for codes in seen])  # [t, b, p, q]; by chance 2 ** -32
    assert stopped.any()
    assert not stopped.all()
    assert not (stopped[:-1] & ~stopped[1:]).any()
    weights = outputs[:, :, 3, ::STRIDE, ::STRIDE].transpose(0, 1).detach()
    for t, b, y, x in np.ndindex(*stopped.shape):
        around = stopped[t, b, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        more = bool(around.any()) and not bool(stopped[t, b, y, x])
        assert float(weights[t, b, y, x]) == (3.0 if more else 1.0)


def test_a_reached_quality_stops_and_what_is_still_coded_counts_more() -> None:
    codec = make_codec(masking=Masking(qualities=(20.0, 20.0), added_weight=1.0))
    images = torch.cat([torch.zeros(1, 3, 32, 16), torch.full((1, 3, 32, 16), 3.0)], 3)
    outputs = codec(images)
    weights = outputs[0, 0, 3, ::STRIDE, ::STRIDE]
    # What is the mean grey anyway is not coded at all; 3 standard deviations off are 12 dB below 20.
    assert weights.tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_encoder_and_decoder_halve_and_double_to_the_same_shape() -> None:
    codec = make_codec(channels=1)
    states = States()
    values = codec.encode(torch.randn(2, 1, 48, 16), 0, states)
    assert values.shape == (2, NUM_BITS, 3, 1)
    assert float(values.detach().abs().max()) <= 1
    assert codec.decode(values, 0, States()).shape == (2, 1, 48, 16)
    before = [states[index] for index in range(2)]
    codec.encode(torch.randn(2, 1, 48, 16), 1, states)
    assert not any(torch.equal(old, states[index]) for index, old in enumerate(before))
