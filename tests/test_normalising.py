"""Group normalisation by channel sums is PyTorch's own to rounding, wherever it is used."""

import pytest
import torch
from dense import generator
from hypothesis import given
from hypothesis import strategies as st
from models import autoencoder
from torch import nn
from torch.nn.functional import group_norm

from visionxl.priors import AutoencoderCodec
from visionxl.priors.normalising import LARGE, LargeGroupNorm, _means, with_large_norms

# Half a unit in the last place of a number of each kind, and what the sums add to it.
ROUNDING = {torch.float16: 5e-4, torch.bfloat16: 4e-3, torch.float32: 1e-5}


def norm(groups: int, channels: int, dtype: torch.dtype, *, affine: bool = True) -> LargeGroupNorm:
    made = LargeGroupNorm(groups, channels, affine=affine).requires_grad_(False)
    for parameter in made.parameters():
        parameter.copy_(torch.randn(channels, generator=generator(1)))
    return made.to(dtype)


def values(*shape: int, dtype: torch.dtype, mean: float, spread: float) -> torch.Tensor:
    drawn = torch.randn(shape, generator=generator()) * spread + mean
    return drawn.to(dtype).to(memory_format=torch.channels_last)


def distance(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((got.double() - wanted).norm() / wanted.norm().clamp(min=1e-6)).item()


@given(
    dtype=st.sampled_from(list(ROUNDING)),
    frames=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
    of_each=st.integers(1, 3),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    mean=st.floats(-8, 8),
    spread=st.floats(0.5, 100),
    affine=st.booleans(),
)
def test_it_is_group_normalisation(
    dtype, frames, groups, of_each, height, width, mean, spread, affine
):
    channels = groups * of_each
    layer = norm(groups, channels, dtype, affine=affine)
    given = values(frames, channels, height, width, dtype=dtype, mean=mean, spread=spread)
    weights = (p.double() for p in layer.parameters()) if affine else (None, None)
    wanted = group_norm(given.double(), groups, *weights, layer.eps)
    got = layer.by_channels(given)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    var, middle = torch.var_mean(given.double().reshape(frames, groups, -1), 2, correction=0)
    share = (middle**2 / (var + layer.eps)).max().item()
    cancelled = 2e-7 * share  # of the variance, as a mean square less a squared mean
    assert distance(got, wanted) < ROUNDING[dtype] + cancelled


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_compiled_it_is_the_same(frames, affine, monkeypatch):
    layer = norm(2, 6, torch.float16, affine=affine)
    given = values(frames, 6, 8, 9, dtype=torch.float16, mean=3, spread=2)
    wanted = layer.by_channels(given)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    got = layer.by_channels(given)
    assert got.dtype == torch.float16
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert distance(got, wanted.double()) < ROUNDING[torch.float16]


def test_positions_that_are_summed_side_by_side_are_each_counted_once():
    given = values(2, 4, 6, 8, dtype=torch.float32, mean=1, spread=2)
    mean, square = _means(given)
    torch.testing.assert_close(mean, given.mean((2, 3)))
    torch.testing.assert_close(square, given.square().mean((2, 3)))


def test_large_numbers_in_half_precision_do_not_overflow():
    layer = norm(2, 4, torch.float16)
    given = values(1, 4, 16, 16, dtype=torch.float16, mean=0, spread=5000)  # squares beyond 65504
    weights = (p.double() for p in layer.parameters())
    wanted = group_norm(given.double(), 2, *weights, layer.eps)
    assert distance(layer.by_channels(given), wanted) < ROUNDING[torch.float16]


class Far(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


@pytest.mark.parametrize("side", [32, 2 * int(LARGE**0.5)])
def test_only_large_frames_of_a_gpu_without_gradients_go_the_other_way(side):
    layer = norm(1, 1, torch.float32)
    given = torch.zeros(1, 1, side, side)
    assert not layer._is_large(given)
    there = given.as_subclass(Far)
    assert layer._is_large(there) == (side > 32)
    assert not layer._is_large(there[0])
    with torch.enable_grad():
        asked = there.detach().requires_grad_()
        assert not layer._is_large(asked)
        with torch.no_grad():
            assert layer._is_large(asked) == (side > 32)


def test_an_autoencoder_decodes_and_encodes_the_same(monkeypatch):
    plain = autoencoder().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    changed = autoencoder().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    changed.load_state_dict(plain.state_dict())
    names = list(plain.state_dict())
    with_large_norms(changed)
    assert list(changed.state_dict()) == names
    norms = [m for m in changed.modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert all(type(m) is LargeGroupNorm for m in norms)
    plain, changed = AutoencoderCodec(plain), AutoencoderCodec(changed)
    video = torch.rand(2, 3, 32, 48, generator=generator()) * 2 - 1
    assert torch.equal(changed.encode(video), plain.encode(video))  # on a CPU nothing changes
    monkeypatch.setattr(LargeGroupNorm, "_is_large", lambda self, values: values.ndim == 4)
    latent = plain.encode(video)
    assert distance(changed.encode(video), latent.double()) < 1e-5
    assert distance(changed.decode(latent), plain.decode(latent).double()) < 1e-5


def test_a_group_of_one_value_is_no_negative_variance():
    layer = norm(1, 4, torch.float32, affine=False)
    for value in (100.3, 1000.7, 54321.0):
        given = torch.full((1, 4, 33, 35), value).to(memory_format=torch.channels_last)
        assert layer.by_channels(given).isfinite().all()


def test_trainable_norms_doubles_and_other_layouts_stay_with_pytorch():
    large = torch.zeros(1, 4, LARGE // 64, 64)  # four times as much
    there = large.to(memory_format=torch.channels_last).as_subclass(Far)
    layer = norm(1, 4, torch.float32)
    assert layer._is_large(there)
    assert not layer._is_large(there.double())
    assert not layer._is_large(large.as_subclass(Far))
    layer.requires_grad_(True)
    assert not layer._is_large(there)
