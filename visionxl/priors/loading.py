"""Reading models in diffusers' folder layout, with errors that say what to do."""

from pathlib import Path
from typing import Any

import torch

from visionxl.errors import InputError


def load_pipeline(
    source: str | Path, dtype: torch.dtype, device: torch.device | str, **components: Any
) -> Any:
    """The diffusers pipeline of a hub id or folder, from safetensors alone.

    Args:
        source: hub id or folder.
        dtype: of the networks.
        device: of the networks.
        components: loaded parts that replace those of ``source``.
    """
    from diffusers import DiffusionPipeline

    _check_source(source)
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source, torch_dtype=dtype, use_safetensors=True, **components
        )
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(source, error) from error
    for name in ("unet", "vae", "scheduler"):
        if getattr(pipeline, name, None) is None:
            raise InputError(
                f"prior {str(source)!r} is a {type(pipeline).__name__} without {name}: expected a "
                "latent diffusion model with a U-Net, an autoencoder and a scheduler"
            )
    return pipeline.to(device)


def load_autoencoder(source: str | Path, dtype: torch.dtype) -> Any:
    """An ``AutoencoderKL`` or ``AutoencoderTiny``, as the configuration names it."""
    import diffusers

    try:
        config: Any = diffusers.AutoencoderKL.load_config(source)
        autoencoder = getattr(diffusers, config["_class_name"])
        return autoencoder.from_pretrained(source, torch_dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(source, error) from error


def release(pipeline: Any, *names: str) -> None:
    """Let go of parts that are not needed any more, and of their memory."""
    for name in names:
        setattr(pipeline, name, None)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _check_source(source: str | Path) -> None:
    path = Path(source)
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise InputError(
            f"prior {str(source)!r} is a folder without model_index.json: give a folder in "
            "diffusers' layout, as DiffusionPipeline.save_pretrained writes it"
        )
    looks_local = isinstance(source, Path) or len(path.parts) != 2 or path.is_absolute()
    if looks_local and not path.is_dir():
        raise InputError(
            f"prior {str(source)!r} is neither a folder nor a hub id: give a folder in "
            "diffusers' layout or an id such as 'stabilityai/stable-diffusion-xl-base-1.0'"
        )


def _not_loaded(source: str | Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(source).is_dir():
        return InputError(f"prior {str(source)!r} cannot be read: {reason}")
    return InputError(
        f"prior {str(source)!r} cannot be had from the hub ({reason}): check the id and the "
        "network, or download it elsewhere and give the folder"
    )
