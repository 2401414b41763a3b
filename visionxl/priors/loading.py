"""Reading models in diffusers' folder layout, with errors that say what to do."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from visionxl.errors import InputError
from visionxl.priors.index import INDEX, without

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

MOST_TOKENS = 256  # of a text that diffusers has T5 read
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
"""Suffixes of files of weights; all but the first may contain pickles."""


@contextmanager
def _readable(name: str, source: str | Path) -> Iterator[None]:
    """What is wrong with a model becomes an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise _not_loaded(name, source, error) from error


def loading_options(dtype: torch.dtype) -> dict[str, Any]:
    """For diffusers' ``from_pretrained``, which calls the dtype ``torch_dtype`` before 0.40."""
    import diffusers

    major, minor = diffusers.__version__.split(".")[:2]
    name = "dtype" if (int(major), int(minor)) >= (0, 40) else "torch_dtype"
    return {"use_safetensors": True, name: dtype}


def check_place(dtype: object, device: object) -> None:
    """Raise InputError for a dtype that networks cannot have, or a device that is not there."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype {dtype!r} is none of networks: give torch.float32, bfloat16, ...")
    try:
        torch.empty(1, device=torch.device(cast(Any, device)))
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {str(device)!r} cannot be used ({reason}): visionxl info lists the devices"
        ) from error


def load_pipeline(
    source: str | Path,
    index: dict[str, Any],
    dtype: torch.dtype,
    device: torch.device | str,
    denoiser: str = "unet",
    lora: str | Path | None = None,
    **components: Any,
) -> Any:
    """The diffusers pipeline of a hub id or folder, from safetensors only.

    The text encoders are moved to the device; :func:`without_encoders` moves the other networks:
    together they could take twice the memory of either.

    Args:
        source: hub id or folder.
        index: of ``source``, checked.
        dtype: of the networks.
        device: of the networks.
        denoiser: the pipeline's name for its denoiser, ``unet`` or ``transformer``.
        lora: a safetensors file that is added to the weights for good.
        components: loaded parts that replace those of ``source``.
    """
    from diffusers import DiffusionPipeline

    check_place(dtype, device)
    _check_source("prior", source, INDEX)
    if "safety_checker" in index:  # of pictures, not of restorations
        components = {"safety_checker": None, "requires_safety_checker": False, **components}
    options = {**loading_options(dtype), **components}
    with _readable("prior", source):
        pipeline = _any_variant(DiffusionPipeline.from_pretrained, source, options)
    for name in (denoiser, "vae", "scheduler"):
        if getattr(pipeline, name, None) is None:
            raise without(source, type(pipeline).__name__, name, denoiser)
    if lora is not None:
        _fuse(pipeline, lora)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and name not in (denoiser, "vae"):
            part.to(device)
    return pipeline


def check_texts(pipeline: Any, **texts: str | None) -> None:
    """Warn of a text that is too long for all text encoders, so that only its beginning is read."""
    parts = pipeline.components
    limits = {
        parts[name]: min(parts[name].model_max_length, MOST_TOKENS)
        for name in parts
        if name.startswith("tokenizer")
        and parts.get(name.replace("tokenizer", "text_encoder")) is not None
    }
    for name, text in texts.items():
        counted = [(len(t(text or "").input_ids), most) for t, most in limits.items()]
        if counted and all(tokens > most for tokens, most in counted):
            tokens, most = max(counted, key=lambda both: both[1])
            warnings.warn(
                f"{name} {text!r} has {tokens} tokens, of which the model reads the first {most}: "
                "make it shorter",
                stacklevel=3,
            )


def without_encoders(pipeline: Any, denoiser: str, device: torch.device | str) -> None:
    """Release the text encoders, and then move the denoiser and the autoencoder to the device."""
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and name not in (denoiser, "vae"):
            setattr(pipeline, name, None)
    torch.cuda.empty_cache()
    for name in (denoiser, "vae"):
        getattr(pipeline, name).to(device)


VARIANT = re.compile(r"\.(fp16|bf16)[.-]")  # in the name of a file of weights, whole or in shards


def _any_variant(load: Any, source: str | Path, options: dict[str, Any]) -> Any:
    """What ``load`` makes of the weights as they are, or of those in half precision where there are
    no others."""
    try:
        return load(source, variant=_variant(Path(source)), **options)
    except OSError as error:  # of the hub it is known only now
        if Path(source).is_dir() or "safetensors" not in str(error):
            raise
        return load(source, variant="fp16", **options)


def _variant(folder: Path) -> str | None:
    """``fp16`` or ``bf16``, where the folder, or one inside, has its weights in no other way."""
    for part in (folder, *sorted(folder.glob("*/"))) if folder.is_dir() else ():
        found = [VARIANT.search(file.name) for file in part.glob("*.safetensors")]
        if found and all(found):
            return next(match[1] for match in found if match)
    return None


def embedded_guidance(pipeline: Any, guidance: float | None, like: Tensor) -> dict[str, Tensor]:
    """The guidance input of a U-Net with embedded guidance (LCM, Luo et al. 2023), or no input.

    The scale is 1 if ``guidance`` is None.
    """
    size = getattr(pipeline.unet.config, "time_cond_proj_dim", None)
    if size is None:
        return {}
    scale = torch.tensor([(1.0 if guidance is None else guidance) - 1])
    return {"timestep_cond": pipeline.get_guidance_scale_embedding(scale, size).to(like)}


def load_parts(
    source: str | Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[Any, Any, Any]:
    """U-Net, autoencoder and scheduler of a folder that has them and no text encoder.

    As ``save_pretrained`` of each writes them: ``unet/``, ``vae/`` and ``scheduler/``.
    """
    import diffusers
    from diffusers import DDIMScheduler, UNet2DModel

    check_place(dtype, device)
    folder, network = Path(source), cast(Any, UNet2DModel)
    with _readable("prior", source):
        kind = network.load_config(folder / "unet")["_class_name"]
        if kind != "UNet2DModel":
            raise InputError(
                f"prior {str(source)!r} has a {kind}, which is conditioned on text or more: save "
                "the whole pipeline, or make the prior in Python (DiffusersPrior.assemble)"
            )
        options = loading_options(dtype)
        unet = network.from_pretrained(folder / "unet", **options).to(device)
        vae = load_autoencoder(folder / "vae", dtype).to(device)
        config: Any = cast(Any, DDIMScheduler).load_config(folder / "scheduler")
        scheduler: Any = getattr(diffusers, config["_class_name"])
        return unet, vae, scheduler.from_pretrained(folder / "scheduler")


def without_text(source: str | Path) -> bool:
    """Whether a folder has the parts of an unconditional model, and no pipeline around them."""
    parts = [Path(source) / name for name in ("unet", "vae", "scheduler")]
    return all(part.is_dir() for part in parts) and not (Path(source) / INDEX).exists()


def _fuse(pipeline: Any, lora: str | Path) -> None:
    """Add ``scale * up @ down`` of a LoRA (Hu et al. 2021) to the weights it was trained for."""
    with _readable("lora", lora):
        path = _weights_file("lora", lora)
        if find_spec("peft") is None:
            raise InputError(f"lora {str(lora)!r} needs the package peft: pip install 'peft>=0.17'")
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, use_safetensors=True)
        found = pipeline.get_list_adapters()
        if not found:
            raise InputError(
                f"lora {str(lora)!r} has nothing for a {type(pipeline).__name__}: give one that "
                "was trained for this model"
            )
        pipeline.fuse_lora(components=list(found))
        pipeline.unload_lora_weights()


def load_autoencoder(source: str | Path, dtype: torch.dtype) -> Any:
    """An ``AutoencoderKL`` or ``AutoencoderTiny``, as the configuration names it."""
    import diffusers

    _check_source("autoencoder", source, "config.json")
    with _readable("autoencoder", source):
        config: Any = diffusers.AutoencoderKL.load_config(source)
        kind = config["_class_name"]
        if kind not in ("AutoencoderKL", "AutoencoderTiny"):
            raise InputError(
                f"autoencoder {str(source)!r} is a {kind}: give an AutoencoderKL or AutoencoderTiny"
            )
        autoencoder: Any = getattr(diffusers, kind)
        options = loading_options(dtype)
        return _any_variant(autoencoder.from_pretrained, source, options)


def load_unet(source: str | Path, base: str | Path, dtype: torch.dtype) -> Any:
    """The U-Net of a distilled checkpoint.

    Args:
        source: a folder or hub id of a ``UNet2DConditionModel`` (LCM), or a file of weights alone
            (Lightning): ``unet.safetensors``, or ``owner/name/unet.safetensors`` of the hub.
        base: the model whose U-Net has the same configuration as a file of weights.
        dtype: of the network.
    """
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    network: Any = UNet2DConditionModel
    with _readable("unet", source):
        if Path(source).suffix not in WEIGHTS:
            _check_source("unet", source, "config.json")
            options = loading_options(dtype)
            return _any_variant(network.from_pretrained, source, options)
        weights = load_file(_weights_file("unet", source))
        with torch.device("meta"):  # no memory for values that are replaced at once
            model = network.from_config(_unet_config(base))
        model.load_state_dict(weights, assign=True)
        return model.to(dtype).eval()


def _unet_config(base: str | Path) -> Any:
    from diffusers import UNet2DConditionModel

    network: Any = UNet2DConditionModel
    with _readable("prior", base):
        return network.load_config(base, subfolder="unet")


def _weights_file(name: str, source: str | Path) -> Path:
    """A safetensors file, here or fetched from the hub as ``owner/name/file``."""
    from huggingface_hub import hf_hub_download

    path = Path(source)
    if path.suffix != ".safetensors":
        raise InputError(
            f"{name} {str(source)!r} may be a pickle, which runs code: give a .safetensors file"
            if path.suffix in WEIGHTS
            else f"{name} {str(source)!r} is no .safetensors file: give one, or the hub's "
            "owner/name/file.safetensors"
        )
    if path.is_file():
        return path
    if path.is_absolute() or len(path.parts) < 3:
        raise InputError(
            f"{name} {str(source)!r} is no file: give one, or the hub's owner/name/file.safetensors"
        )
    return Path(hf_hub_download("/".join(path.parts[:2]), "/".join(path.parts[2:])))


def _check_source(name: str, source: str | Path, index: str) -> None:
    path = Path(source)
    if path.is_dir() and not (path / index).is_file():
        raise InputError(
            f"{name} {str(source)!r} is a folder without {index}: give one that save_pretrained "
            f"wrote{', or one with unet, vae and scheduler' if index == INDEX else ''}"
        )
    looks_local = isinstance(source, Path) or len(path.parts) != 2 or source.startswith((".", "/"))
    if looks_local and not path.is_dir():
        raise InputError(
            f"{name} {str(source)!r} is neither a folder nor a hub id: give a folder in "
            "diffusers' layout, or the hub's 'owner/name'"
        )


def _not_loaded(name: str, source: str | Path, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].split(". Please ")[0].rstrip(".")  # some advise to look at a traceback
    if Path(source).is_dir():
        return InputError(
            f"{name} {str(source)!r} cannot be read ({reason}): download it again, or save it "
            "again with save_pretrained, which writes safetensors"
        )
    if Path(source).exists() or not isinstance(error, OSError):  # it came, and does not fit
        return InputError(
            f"{name} {str(source)!r} cannot be read ({reason}): download it again, or give one "
            "that was made for this model"
        )
    words = str(error).lower()
    if any(word in words for word in ("gated", "restricted", "401 client", "403 client")):
        return InputError(
            f"{name} {str(source)!r} is not given to everyone ({reason}): accept its licence on "
            "its page of the hub, log in (hf auth login, or HF_TOKEN), and check the id"
        )
    reason = reason.partition(" (")[0]  # after it, of calls that nobody sees
    return InputError(
        f"{name} {str(source)!r} is not here, and the hub did not provide it ({reason}): check the "
        "id and the network, or download it elsewhere and give the folder"
    )
