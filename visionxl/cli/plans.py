"""Memory plans on the command line."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import torch

from visionxl.cli.own import is_own
from visionxl.cli.priors import prior_for, prior_named, quiet_diffusers
from visionxl.cli.reading import height_and_width
from visionxl.errors import InputError
from visionxl.memory import machine_memory
from visionxl.planning import Estimate, MemoryPlan
from visionxl.planning.choice import fastest, plans
from visionxl.planning.plan import counted
from visionxl.planning.structures import sdxl_structure
from visionxl.priors.network import NetworkPrior

GB = 10**9
BUDGETS = (8, 12, 24)
Option = tuple[MemoryPlan, Estimate]
LARGEST = 2**15  # pixels a side


def say_plans(
    prior: str | None,
    dtype: str | None,
    size: str,
    frames: int,
    budget: float | None,
    device: str,
    as_json: bool,
) -> None:
    """The plans for one or more priors and budgets, in words or as JSON."""
    height, width = height_and_width(size)
    if max(height, width) > LARGEST:
        raise InputError(f"--size {size} is larger than can be planned: at most {LARGEST} a side")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"--device {device!r} is unknown: give cuda, cpu or mps") from error
    if place.type not in ("cuda", "cpu", "mps"):
        raise InputError(f"--device {device!r} cannot be planned for: give cuda, cpu or mps")
    video = f"{counted(frames)} of {height}x{width}"
    entries = []
    for name, structure in _priors(prior, dtype).items():
        prior_for(structure, height, width)  # says what is too small
        options = _kept(plans(structure, height, width, frames, device=place))
        entries += [
            _entry(name, bytes_, video, place, options()) for bytes_ in _budgets(budget, place)
        ]
        if place.type != "cpu" and budget is None and machine_memory():
            here = torch.device("cpu")
            options = _kept(plans(structure, height, width, frames, device=here))
            entries.append(_entry(name, machine_memory() or 0, video, here, options()))
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    print(f"{video}, method vision_tv, task deblur+")
    for entry in entries:
        words = entry.get("estimate_words") or entry["error"]
        plan = f"{entry['plan']}: " if "plan" in entry else ""
        print(f"{entry['prior']} on {entry['device']}, {entry['budget_gb']:g} GB: {plan}{words}")


def _priors(name: str | None, dtype: str | None) -> dict[str, NetworkPrior]:
    quiet_diffusers()
    if name is None and dtype is not None:
        raise InputError(f"--dtype {dtype!r} needs a --prior: name one, or leave --dtype out")
    if name is not None and is_own(name):
        raise InputError(
            f"--prior {name!r}: the memory of a prior of your own cannot be counted; give pocket, "
            "a folder in diffusers' layout or a hub id"
        )
    if name is not None:
        label = name if dtype is None else f"{name} in {dtype}"
        return {label: prior_named(name, dtype=dtype or "float32")}
    return {"pocket": prior_named("pocket"), "sdxl in bfloat16": sdxl_structure()}


def _budgets(budget: float | None, place: torch.device) -> list[int]:
    if budget is not None:
        return [round(budget * GB)]
    if place.type == "cpu":
        return [machine_memory() or BUDGETS[0] * GB]
    return [gb * GB for gb in BUDGETS]


def _kept(options: Iterator[Option]) -> Callable[[], Iterator[Option]]:
    """The same plans from the first on, as often as asked; each is counted once, when needed.

    The first is counted at once: what cannot be planned at all is refused here.
    """
    seen = [next(options)]

    def again() -> Iterator[Option]:
        yield from seen
        for option in options:
            seen.append(option)
            yield option

    return again


def _entry(
    name: str, budget: int, video: str, place: torch.device, options: Iterator[Option]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "prior": name,
        "device": str(place),
        "budget_gb": round(budget / GB, 1),
    }
    try:
        plan, taken = fastest(options, budget, video)
    except InputError as error:
        return {**entry, "error": str(error)}
    return {
        **entry,
        "plan": str(plan),
        "frames_at_once": plan.frames_at_once,
        "vae_frames": plan.vae_frames,
        "vae_tile": plan.vae_tile,
        "offload": plan.offload,
        "video_device": str(plan.video_device),
        "core": plan.core,
        "attention": plan.attention,
        "estimate_bytes": taken.peak,
        "estimate_words": taken.words(budget),
    }
