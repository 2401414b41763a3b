"""Reading models in diffusers' folder layout, with errors that say what to do."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from visionxl.errors import InputError

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
"""What diffusers, transformers and safetensors raise for a model that is not whole."""


def dtype_keyword(dtype: torch.dtype) -> dict[str, Any]:
    """``dtype`` as diffusers' ``from_pretrained`` calls it: ``torch_dtype`` before 0.40."""
    import diffusers

    major, minor = diffusers.__version__.split(".")[:2]
    return {"dtype" if (int(major), int(minor)) >= (0, 40) else "torch_dtype": dtype}


def load_pipeline(
    source: str | Path,
    dtype: torch.dtype,
    device: torch.device | str,
    denoiser: str = "unet",
    **components: Any,
) -> Any:
    """The diffusers pipeline of a hub id or folder, from safetensors alone.

    Args:
        source: hub id or folder.
        dtype: of the networks.
        device: of the networks.
        denoiser: the pipeline's name for its denoiser, ``unet`` or ``transformer``.
        components: loaded parts that replace those of ``source``.
    """
    from diffusers import DiffusionPipeline

    _check_source("prior", source, "model_index.json")
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source, use_safetensors=True, **dtype_keyword(dtype), **components
        )
    except UNREADABLE as error:
        raise _not_loaded("prior", source, error) from error
    kind = {"unet": "latent diffusion model with a U-Net"}.get(denoiser, "flow model")
    for name in (denoiser, "vae", "scheduler"):
        if getattr(pipeline, name, None) is None:
            raise InputError(
                f"prior {str(source)!r} is a {type(pipeline).__name__} without {name}: expected a "
                f"{kind}, an autoencoder and a scheduler"
            )
    return pipeline.to(device)


def load_autoencoder(source: str | Path, dtype: torch.dtype) -> Any:
    """An ``AutoencoderKL`` or ``AutoencoderTiny``, as the configuration names it."""
    import diffusers

    _check_source("autoencoder", source, "config.json")
    try:
        config: Any = diffusers.AutoencoderKL.load_config(source)
        kind = config["_class_name"]
        if kind not in ("AutoencoderKL", "AutoencoderTiny"):
            raise InputError(
                f"autoencoder {str(source)!r} is a {kind}: give an AutoencoderKL or AutoencoderTiny"
            )
        autoencoder: Any = getattr(diffusers, kind)
        return autoencoder.from_pretrained(source, use_safetensors=True, **dtype_keyword(dtype))
    except InputError:
        raise
    except UNREADABLE as error:
        raise _not_loaded("autoencoder", source, error) from error


def load_unet(source: str | Path, base: str | Path, dtype: torch.dtype) -> Any:
    """The U-Net of a distilled checkpoint.

    Args:
        source: a folder or hub id of a ``UNet2DConditionModel`` (LCM), or a file of weights alone
            (Lightning, DMD2): ``unet.safetensors``, or ``owner/name/unet.safetensors`` of the hub.
        base: the model whose U-Net has the same configuration as a file of weights.
        dtype: of the network.
    """
    from diffusers import UNet2DConditionModel
    from huggingface_hub import hf_hub_download
    from safetensors.torch import load_file

    path, keyword = Path(source), dtype_keyword(dtype)
    alone = path.suffix in (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
    if alone and path.suffix != ".safetensors":
        raise InputError(
            f"unet {str(source)!r} may be a pickle, which runs code: give a .safetensors file"
        )
    if not alone:
        _check_source("unet", source, "config.json")
    elif not path.is_file() and len(path.parts) != 3:
        raise InputError(
            f"unet {str(source)!r} is no file: give one, or the hub's owner/name/file.safetensors"
        )
    network: Any = UNet2DConditionModel
    try:
        if not alone:
            return network.from_pretrained(source, use_safetensors=True, **keyword)
        if not path.is_file():
            path = Path(hf_hub_download("/".join(path.parts[:2]), path.parts[2]))
        model = network.from_config(network.load_config(base, subfolder="unet"))
        model.load_state_dict(load_file(path))
        return model.to(dtype)
    except UNREADABLE as error:
        raise _not_loaded("unet", source, error) from error


def release(pipeline: Any, *names: str) -> None:
    """Let go of parts that are not needed any more, and of their memory."""
    for name in names:
        setattr(pipeline, name, None)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _check_source(name: str, source: str | Path, index: str) -> None:
    path = Path(source)
    if path.is_dir() and not (path / index).is_file():
        raise InputError(
            f"{name} {str(source)!r} is a folder without {index}: give a folder in "
            "diffusers' layout, as save_pretrained writes it"
        )
    looks_local = isinstance(source, Path) or len(path.parts) != 2 or source.startswith((".", "/"))
    if looks_local and not path.is_dir():
        raise InputError(
            f"{name} {str(source)!r} is neither a folder nor a hub id: give a folder in "
            "diffusers' layout, or the hub's 'owner/name'"
        )


def _not_loaded(name: str, source: str | Path, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(".")
    if Path(source).is_dir():
        return InputError(
            f"{name} {str(source)!r} cannot be read ({reason}): download it again, or save it "
            "again with save_pretrained, which writes safetensors"
        )
    return InputError(
        f"{name} {str(source)!r} cannot be had from the hub ({reason}): check the id and the "
        "network, or download it elsewhere and give the folder"
    )
