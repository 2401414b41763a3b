"""info: what a report of a bug needs to know of the installation and the machine; and plans."""

import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from textwrap import TextWrapper
from typing import Annotated, Any

import torch
import typer

from visionxl.cli.memory import working_bytes
from visionxl.cli.options import JsonOption, app, examples, integer, real
from visionxl.cli.plans import say_plans
from visionxl.errors import InputError
from visionxl.memory import machine_memory
from visionxl.operators import TASK_NAMES
from visionxl.report.record import version_of
from visionxl.solvers import METHODS

SIZES = ((25, 288, 512), (25, 768, 1280), (25, 1024, 1024))
DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "mpeg4")
VARIABLES = re.compile(
    r"HF_|TORCH|CUDA_|PYTORCH_|THP_|OMP_|MKL_|RANK|LOCAL_RANK|WORLD_SIZE|MASTER_|NO_COLOR|FORCE_COLOR|TERM$|COLUMNS"
)
KEEP = "\N{NO-BREAK SPACE}"  # a name and its value stay on one line
SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD")


def facts() -> dict[str, Any]:
    """Of versions, machine, codecs, models, and of what can be asked for."""
    return {
        "versions": _versions(),
        "system": platform.platform(),
        "installed": _short(Path(__file__).parents[1]),
        "devices": _devices(),
        "gpus": [_gpu(i) for i in range(torch.cuda.device_count())],
        "threads": f"{torch.get_num_threads()} on {os.cpu_count()} processors",
        "memory_bytes": machine_memory(),
        "video": _video(),
        "models": _models(),
        "environment": _environment(),
        "tasks": list(TASK_NAMES),
        "methods": list(METHODS),
        "priors": ["pocket", "a folder in diffusers' layout", "a hub id"],
        "process_memory_bytes": {
            f"{f} frames of {h}x{w}": working_bytes(f, h, w) for f, h, w in SIZES
        },
    }


def words(values: dict[str, Any]) -> str:
    """The same for people, a paragraph each."""
    whole = TextWrapper(100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    paragraphs = []
    for name, value in values.items():
        title = name.replace("_bytes", "").replace("_", " ")
        if isinstance(value, dict):
            value = [f"{key}{KEEP}{_amount(entry)}" for key, entry in value.items()]
        listed = ", ".join(value) if isinstance(value, list) else _amount(value)
        paragraphs.append(whole.fill(f"{title}: {listed or 'none'}"))
    return "\n".join(paragraphs).replace(KEEP, " ")


def _amount(value: Any) -> Any:
    return f"{value / 1e9:.1f} GB" if isinstance(value, int) else value


def _versions() -> dict[str, str]:
    """Of Python, of the package, and of all that it requires."""
    found = {"python": platform.python_version()}
    try:
        wanted = [line for line in requires("visionxl") or () if "extra ==" not in line]
    except PackageNotFoundError:  # it runs from its sources
        wanted = ["torch", "diffusers", "transformers", "safetensors", "av", "numpy"]
    for line in ["visionxl", *wanted]:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        found[name] = version_of(name)
    return found


def _devices() -> list[str]:
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, "mps"] if torch.backends.mps.is_available() else devices


def _gpu(index: int) -> str:
    its = torch.cuda.get_device_properties(index)
    return f"{its.name}, {its.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def _video() -> dict[str, str]:
    """What the video library inside PyAV can do; visionxl calls no ffmpeg program."""
    from av import library_versions
    from av.codec import codecs_available

    from visionxl.writing import ENCODINGS

    number = ".".join(map(str, library_versions["libavcodec"]))
    writes = [
        f"{kind} ({e.codec}{'' if e.codec in codecs_available else ' is missing'})"
        for kind, e in ENCODINGS.items()
    ]
    reads = [name for name in DECODERS if name in codecs_available]
    return {"libavcodec": number, "writes": " ".join(writes), "reads": " ".join(reads)}


def _models() -> dict[str, str]:
    """Where weights are looked for."""
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    cache = Path(HF_HUB_CACHE)
    kept = len(list(cache.glob("models--*")))
    return {
        "hub cache": f"{_short(cache)} ({kept} models)",
        "hub is": "offline" if HF_HUB_OFFLINE else "used if the cache lacks a model",
        "lpips weights": _short(Path(torch.hub.get_dir(), "checkpoints")),
    }


def _environment() -> dict[str, str]:
    """The variables that change a run, but no secret."""
    return {
        name: value.replace(str(Path.home()), "~")
        for name, value in sorted(os.environ.items())
        if VARIABLES.match(name) and not SECRET.search(name)
    }


def _short(path: Path) -> str:
    """A path that does not tell who its owner is."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


@app.command(
    short_help="What a bug report needs; tasks, methods and priors; or memory plans.",
    epilog=examples("visionxl info", "visionxl info --plan --size 1080x1920 --memory 16"),
)
def info(
    plan: Annotated[
        bool, typer.Option("--plan", help="Show memory plans instead: how to fit a GPU.")
    ] = False,
    prior: Annotated[
        str | None,
        typer.Option(help="For --plan; default: pocket, and SDXL in bfloat16."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the prior's networks, as in restore; default: float32.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="For --plan: HEIGHTxWIDTH; default: 768x1280.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(parser=integer(1), help="For --plan; default: 25.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(parser=real(0.0, above=True), help="For --plan, in GB; default: 8, 12, 24."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, mps or cuda (default; without --memory also this CPU)."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """What a bug report needs; tasks, methods and priors; or memory plans."""
    if plan:
        say_plans(prior, dtype, size or "768x1280", frames or 25, memory, device or "cuda", json_)
        return
    given = {"prior": prior, "dtype": dtype, "size": size, "frames": frames}
    given |= {"memory": memory, "device": device}
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{name} is for memory plans: add --plan, or leave it out")
    known = facts()
    print(json.dumps(known, indent=2) if json_ else words(known))
