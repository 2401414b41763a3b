"""What a model in diffusers' layout is made of, read before its weights are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionxl.errors import InputError

INDEX = "model_index.json"  # of a pipeline


def index_of(source: str | Path) -> dict[str, Any]:
    """What a pipeline is made of, by its index; nothing where that cannot be read."""
    return _read(source, INDEX)


def config_of(source: str | Path, part: str) -> dict[str, Any]:
    """The configuration of a pipeline's part; nothing where that cannot be read."""
    return _read(source, f"{part}/config.json")


def check_index(
    source: str | Path, denoiser: str, replaced: set[str], index: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The index. Raises InputError for a model that no prior supports, before it is downloaded.

    Args:
        source: hub id or folder.
        denoiser: the pipeline's name for its denoiser, ``unet`` or ``transformer``.
        replaced: parts that are not those of ``source``.
        index: where it was read already.
    """
    index = index_of(source) if index is None else index
    if not index:  # loading it will say why
        return index
    kind = str(index.get("_class_name"))
    _check_text(source, kind)
    for name in (denoiser, "vae", "scheduler"):
        if name not in replaced and not has_part(index, name):
            raise without(source, kind, name, denoiser)
    if index.get("requires_aesthetics_score"):
        raise InputError(
            f"prior {str(source)!r} is SDXL's refiner, which needs other inputs than the base "
            "model: give the base model"
        )
    if denoiser == "unet":
        _check_saved_scheduler(source, str(index["scheduler"][1]))
    if denoiser not in replaced:
        network = config_of(source, denoiser)
        kind = str(network.get("_class_name", denoiser))
        check_denoiser(kind, network, config_of(source, "vae"))
    return index


def _check_saved_scheduler(source: str | Path, kind: str) -> None:
    import diffusers

    config = _read(source, "scheduler/scheduler_config.json")
    scheduler: Any = getattr(diffusers, kind, None)
    if config and scheduler is not None:
        check_scheduler(scheduler.from_config(config))


def check_scheduler(scheduler: object) -> None:
    """Raise InputError for a scheduler of another kind of model than a prior with a U-Net has."""
    if not hasattr(scheduler, "alphas_cumprod"):
        raise InputError(
            f"scheduler {type(scheduler).__name__} has no alphas_cumprod: if its model is a "
            "discrete variance-preserving one, give DDIMScheduler; another (EDM, a flow) does "
            "not fit this prior"
        )


def has_part(index: dict[str, Any], name: str) -> bool:
    """Whether a pipeline has a part: one that was saved without it says null."""
    return bool((index.get(name) or [None])[0])


def without(source: str | Path, kind: str, name: str, denoiser: str) -> InputError:
    """The error for a model that lacks a network."""
    expected = "latent diffusion model with a U-Net" if denoiser == "unet" else "flow model"
    return InputError(
        f"prior {str(source)!r} is a {kind} without {name}: expected a {expected}, an autoencoder "
        "and a scheduler; a model of pixels is wrapped in a few lines of Python (docs, Your prior)"
    )


def told(config: Any) -> dict[str, Any]:
    """A network's configuration, also where it is not one of diffusers."""
    return dict(config) if isinstance(config, Mapping) else dict(vars(config))


def check_denoiser(kind: str, network: dict[str, Any], vae: dict[str, Any]) -> None:
    """Raise InputError for a denoiser with other inputs than latents and a text.

    Args:
        kind: its class.
        network: its configuration.
        vae: that of the autoencoder.
    """
    if network.get("class_embed_type") or network.get("num_class_embeds"):
        raise InputError(
            f"{kind} is conditioned on a class or an image (class_embed_type): give a model that "
            "is conditioned on text alone, or on nothing"
        )
    taken, made = network.get("in_channels"), vae.get("latent_channels")
    if None not in (taken, made) and taken != made:
        raise InputError(
            f"{kind} takes {taken} channels and the autoencoder makes latents of {made}: one for "
            "inpainting or upscaling takes more than latents; give the base model"
        )


def _check_text(source: str | Path, kind: str) -> None:
    """Raise InputError for a pipeline of diffusers that is not told a text."""
    import diffusers

    pipeline = getattr(diffusers, kind, None)
    if pipeline is not None and not hasattr(pipeline, "encode_prompt"):
        raise InputError(
            f"prior {str(source)!r} is a {kind}, which is not conditioned on text: give a model of "
            "Stable Diffusion's, SDXL's or Stable Diffusion 3's layout, or one without any "
            "condition (docs, Your prior)"
        )


def _read(source: str | Path, name: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    file = Path(source) / name
    try:
        if not Path(source).is_dir():
            file = Path(hf_hub_download(str(source), name))
        read = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
