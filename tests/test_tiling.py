"""Autoencoders in strips give the result of whole frames."""

import math

import models
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from visionxl import InputError, PocketPrior
from visionxl.memory import peak_bytes_of
from visionxl.priors.attention import FusedAttention
from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.tiling import StripedAutoencoder, ratio, reach


def tiny():
    return AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(2, 2, 2, 1),
    )


def kl():
    """``AutoencoderKL`` in small: every norm divides by what it sees of the frame."""
    return models.autoencoder(scaling_factor=0.13)


def plain_kl():
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


MAKERS = {"kl": kl, "plain kl": plain_kl, "tiny": tiny, "pocket": lambda: pocket()}


def pocket():
    return PocketPrior.load().codec.vae


def pair(name, rows):
    """Codecs with one autoencoder, in float64: whole frames, and strips."""
    torch.manual_seed(0)
    vae = MAKERS[name]().eval().requires_grad_(False)
    vae = torch.nn.Module.to(vae, torch.float64)
    return AutoencoderCodec(vae), AutoencoderCodec(StripedAutoencoder(vae, rows))


def scene(height, width):
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    shades = torch.stack([torch.sin(rows / p) * torch.cos(columns / 5) for p in (3, 7, 11)])
    generator = torch.Generator().manual_seed(0)
    frames = torch.stack([shades, -shades.flip(-1)]).double()
    return frames + 0.1 * torch.randn(frames.shape, generator=generator, dtype=torch.float64)


def near_borders(values, rows):
    """Values within a row of the border of a strip."""
    places = torch.arange(values.shape[-2])
    close = (places % rows == 0) | (places % rows == rows - 1)
    return values[..., close, :]


@pytest.mark.parametrize("rows", [8, 24, 64])
@pytest.mark.parametrize("name", MAKERS)
def test_strips_encode_and_decode_as_whole_frames(name, rows):
    whole, strips = pair(name, rows)
    video = scene(128, 48)
    latent = whole.encode(video)
    torch.testing.assert_close(strips.encode(video), latent, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(strips.decode(latent), whole.decode(latent), rtol=1e-9, atol=1e-9)


def psnr_of(answer, known):
    span = known.max() - known.min()
    return 20 * torch.log10(span / (answer - known).square().mean().sqrt())


def test_diffusers_own_tiles_are_far_from_it():
    whole, strips = pair("kl", 64)
    video = scene(128, 128)
    latent = whole.encode(video)
    known, ours = whole.decode(latent), strips.decode(latent)
    whole.vae.enable_tiling()
    whole.vae.tile_sample_min_size, whole.vae.tile_latent_min_size = 64, 8
    theirs = whole.decode(latent)
    assert psnr_of(theirs, known) < 50 < 150 < psnr_of(ours, known)


def test_no_seam_where_strips_meet():
    whole, strips = pair("kl", 16)
    latent = whole.encode(scene(128, 96))
    error = (strips.decode(latent) - whole.decode(latent)).abs()
    assert near_borders(error, 16).mean() < 2 * error.mean() + 1e-12


def test_strips_in_float32_are_as_good_as_rounding():
    torch.manual_seed(0)
    vae = pocket()
    whole, strips = AutoencoderCodec(vae), AutoencoderCodec(StripedAutoencoder(vae, 32))
    video = scene(128, 96).float()
    latent = whole.encode(video)
    assert psnr_of(strips.decode(latent), whole.decode(latent)) > 120
    assert psnr_of(strips.encode(video), latent) > 120


def test_the_device_holds_a_strip():
    """The meta device stands for the device; whole frames wait in this machine's memory."""
    vae = models.autoencoder(widths=(16,) * 4).eval().requires_grad_(False).to("meta")
    whole, strips = AutoencoderCodec(vae), AutoencoderCodec(StripedAutoencoder(vae, 32))

    def most(codec, height):
        latent = torch.empty(1, 4, height // 8, 8, device="meta")
        with FusedAttention():
            return peak_bytes_of(lambda: codec.decode(latent), "meta")

    assert most(strips, 512) < most(whole, 512) / 3
    # What still grows is the result, and the middle layers on frames of an eighth.
    assert most(strips, 1024) - most(strips, 512) < (most(whole, 1024) - most(whole, 512)) / 8


def test_how_far_layers_see():
    # Convolutions of three rows at an eighth, a quarter, a half and the whole of the height.
    assert reach(tiny().decoder) == math.ceil(7 + 7 / 2 + 7 / 4 + 5 / 8)
    assert ratio(tiny().decoder) == (1, 8)
    assert ratio(tiny().encoder) == (8, 1)


def sees(network, rows, at, outside):
    """Rows of the input that a row of the output depends on."""
    given = torch.randn(1, network_channels(network), rows, 8, requires_grad=True)
    network(given)[..., at * outside, :].sum().backward()
    return given.grad.abs().sum((0, 1, 3)).nonzero().flatten()


def network_channels(network):
    return next(network.parameters()).shape[1]


def test_no_layer_sees_further_than_reach():
    torch.manual_seed(0)
    decoder = tiny().decoder
    seen = sees(decoder, 80, 40, 8)
    assert 40 - seen.min() <= reach(decoder)
    assert seen.max() - 40 <= reach(decoder)
    encoder = tiny().encoder
    seen = sees(encoder, 400, 25, 1)
    assert 25 - seen.min() / 8 <= reach(encoder)
    assert seen.max() / 8 - 25 <= reach(encoder) + 1


def test_what_cannot_work_in_strips_is_refused():
    with pytest.raises(InputError, match="rows 0 is not a whole number from 1"):
        StripedAutoencoder(tiny(), 0)
    attending = AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",),
        norm_num_groups=4,
    )
    with pytest.raises(InputError, match="AutoencoderKL cannot work in strips"):
        StripedAutoencoder(attending, 64)
