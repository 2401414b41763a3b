"""From a name on the command line to a prior."""

from pathlib import Path
from typing import Any

import torch
from attrs import evolve

from visionxl.cli.own import made_by_own
from visionxl.errors import InputError, nearest
from visionxl.priors import (
    AutoencoderCodec,
    DiffusersPrior,
    FlowPrior,
    Padded,
    PocketPrior,
    SDXLPrior,
)
from visionxl.priors.index import index_of
from visionxl.priors.loading import check_place, load_autoencoder, without_text
from visionxl.priors.network import NetworkPrior
from visionxl.priors.normalising import with_large_norms
from visionxl.protocols import LatentPrior
from visionxl.sizes import next_multiple

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def prior_named(
    name: str, device: str = "cpu", dtype: str = "float32", **text: Any
) -> NetworkPrior:
    """``pocket``, or a folder or hub id of diffusers' layout with its text options."""
    place = _place(device, dtype)
    quiet_diffusers()
    if name == "pocket":
        _check_no_text("the pocket prior", text)
        return PocketPrior.load(dtype=DTYPES[dtype], device=place)
    check_source(name)
    kind = _kind_of(name)
    both = "SDXL and Stable Diffusion 1 and 2"
    for option, names, others in (
        ("unet", "SDXL", (DiffusersPrior, FlowPrior)),
        ("lora", both, (FlowPrior,)),
    ):
        if option in text and kind in others:
            raise InputError(
                f"--{option} {text[option]!r}: prior {name!r} takes none, only {names}; leave it "
                "out"
            )
    return kind.from_pretrained(name, dtype=DTYPES[dtype], device=place, **text)


def own_prior(name: str, device: str, dtype: str, **text: Any) -> LatentPrior:
    """A user-defined prior, which ``FILE.py:FUNCTION`` makes from ``device`` and ``dtype``."""
    place = _place(device, dtype)
    _check_no_text(name, text)
    given = {"device": place, "dtype": DTYPES[dtype]}
    return made_by_own("--prior", name, "a prior", LatentPrior, **given)


def _place(device: str, dtype: str) -> torch.device:
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype!r} is unknown: {nearest(dtype, DTYPES)}")
    try:
        check_place(DTYPES[dtype], device)
    except InputError as error:
        raise InputError(f"--{error}") from error
    place = torch.device(device)
    if place.type == "meta":
        raise InputError(
            "--device 'meta' cannot be used, because nothing is computed there: give cpu or cuda"
        )
    return place


def _check_no_text(whose: str, text: dict[str, Any]) -> None:
    for option, value in text.items():
        if value not in ("", None):
            words = option.replace("_", "-")
            raise InputError(f"--{words} {value!r}: {whose} takes none; leave it out")


def check_source(name: str) -> None:
    """Raise InputError for what is neither ``pocket``, nor a folder, nor like a hub id."""
    folder = Path(name)
    there = name == "pocket" or folder.is_dir()
    if not there and (name.count("/") != 1 or folder.is_absolute()):
        raise InputError(
            f"--prior {name!r} is unknown: give pocket, a folder in diffusers' layout, a hub id "
            "such as stabilityai/stable-diffusion-xl-base-1.0, or FILE.py:FUNCTION"
        )


def _kind_of(source: str) -> type[DiffusersPrior | FlowPrior]:
    """SDXL has a second text encoder, a flow model a transformer, by the model's index."""
    if without_text(source):
        return DiffusersPrior
    parts = index_of(source)
    if "transformer" in parts:
        return FlowPrior
    # Where it cannot be read, loading it will say why.
    return SDXLPrior if not parts or "text_encoder_2" in parts else DiffusersPrior


def quiet_diffusers() -> None:
    """Our own words are enough: no log lines and no second progress bar."""
    from diffusers.utils import logging

    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()


def prior_for(prior: LatentPrior, height: int, width: int) -> tuple[LatentPrior, list[str]]:
    """The prior for frames of that size, reflected to what it needs, and a word about it."""
    multiple = getattr(prior, "multiple", None)
    if not isinstance(multiple, int):  # one's own, that takes any size
        return prior, []
    if min(height, width) < multiple:
        raise InputError(
            f"frames of {height}x{width} are too small for the prior: it needs at least "
            f"{multiple}x{multiple}; take a larger clip (simulate --size)"
        )
    up = [next_multiple(size, multiple) for size in (height, width)]
    if up == [height, width]:
        return prior, []
    note = (
        f"frames of {height}x{width} were reflected to {up[0]}x{up[1]} for the prior, which needs "
        f"multiples of {multiple}, and the result was cut back"
    )
    return Padded(prior, height, width, multiple), [note]


def fitted_like(fitted: LatentPrior, other: NetworkPrior) -> LatentPrior:
    """``other`` padded as ``fitted`` is."""
    return evolve(fitted, prior=other) if isinstance(fitted, Padded) else other


def with_autoencoder(prior: LatentPrior, source: str) -> NetworkPrior:
    """The prior with another autoencoder of the same latents: a hub id or a folder."""
    if not isinstance(prior, NetworkPrior):
        raise InputError(
            f"--inner-autoencoder {source!r}: a prior of your own has no autoencoder of diffusers; "
            "leave it out"
        )
    mine = prior.codec.vae
    like = next(mine.parameters())
    vae = load_autoencoder(source, like.dtype).to(like.device)
    channels, factor = vae.config.latent_channels, AutoencoderCodec(vae).factor
    if (channels, factor) != (mine.config.latent_channels, prior.codec.factor):
        raise InputError(
            f"--inner-autoencoder {source!r} has {channels} latent channels of {factor} pixels and "
            f"the prior's own has {mine.config.latent_channels} of {prior.codec.factor}: give one "
            "with the same latents (for SDXL, madebyollin/taesdxl)"
        )
    with_large_norms(vae.eval().requires_grad_(False)).to(memory_format=torch.channels_last)
    return evolve(prior, codec=AutoencoderCodec(vae))
