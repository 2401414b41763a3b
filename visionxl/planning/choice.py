"""The fastest plan that fits a budget of memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import torch
from attrs import evolve

from visionxl.errors import InputError
from visionxl.operators.tasks import TASKS, Task
from visionxl.planning.counts import Networks, count_held, count_networks, required_networks
from visionxl.planning.estimating import HOST, Estimate, added, host_of, place_of
from visionxl.planning.obey import networks_of
from visionxl.planning.plan import LEAST_TILE, MOST_TILE, MemoryPlan, counted, gigabytes
from visionxl.priors.tiling import striped, unstriped
from visionxl.protocols import LatentPrior
from visionxl.solvers.loop import Sampler, unconditioned
from visionxl.solvers.methods import vision_tv
from visionxl.solvers.placing import DEVICE_CORE

MOST_AT_ONCE = 32  # frames: more are no faster
MOST_VALUES = 2**31 - 1  # of a tensor: PyTorch's upsampling refuses more in channels-last format
# Where videos may be, by the kind of the networks' device: the loop adds up in float64.
VIDEO_DEVICES = {"mps": (HOST,)}


def plans(
    prior: LatentPrior,
    height: int,
    width: int,
    frames: int,
    *,
    sampler: Sampler | None = None,
    task: Task = TASKS["deblur+"],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    frames_at_once: int | None = None,
) -> Iterator[tuple[MemoryPlan, Estimate]]:
    """All useful plans, the fastest first, with the memory that they take.

    Later plans have fewer frames at once, then offloading by turns, then the autoencoder in strips,
    and only then videos in host memory. Nothing is loaded, moved or changed. The arguments are
    those of :func:`plan_memory`.
    """
    counts = _counts(frames) if frames_at_once is None else [frames_at_once]
    sizes = {"height": height, "width": width, "frames": frames, "frames_at_once": min(counts)}
    for name, value in sizes.items():
        if value < 1:
            raise InputError(f"{name} {value} is too small: give a number from 1")
    place = place_of(prior, device)
    sampler = sampler or vision_tv()
    held = count_held(sampler, task, frames)
    shape = frames, required_networks(prior).codec.channels, height, width
    counted: dict[int | None, Networks] = {}
    longer = held.windows and 0 < held.together < frames
    cores = _cores(frames) if longer else [DEVICE_CORE]
    strips = sampler.condition is unconditioned  # which let no gradients through
    for plan in _fastest_first(prior, place, (height, width), counts, cores, dtype, strips):
        if plan.vae_tile not in counted:
            counted[plan.vae_tile] = count_networks(prior, plan, height, width, host_of(place))
        networks = counted[plan.vae_tile]
        taken = added(networks, held, plan, place, shape)
        yield plan, taken


def plan_memory(
    prior: LatentPrior,
    height: int,
    width: int,
    frames: int,
    budget: int,
    *,
    sampler: Sampler | None = None,
    task: Task = TASKS["deblur+"],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    frames_at_once: int | None = None,
) -> MemoryPlan:
    """The fastest plan whose counted peak fits a budget: the first such plan of :func:`plans`.

    Args:
        prior: a :class:`~visionxl.priors.DiffusersPrior`, :class:`~visionxl.priors.FlowPrior`, or
            :class:`~visionxl.priors.Padded`.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        frames: of the video.
        budget: bytes on the networks' device.
        sampler: the method, by default ``vision_tv()``.
        task: what was measured, as for :func:`estimate`.
        device: where the networks work; by default where they are.
        dtype: of the networks; None leaves each as it is.
        frames_at_once: in one call of the U-Net; None to choose.

    Raises:
        InputError: no plan fits; the message names a budget that would.
    """
    options = plans(
        prior,
        height,
        width,
        frames,
        sampler=sampler,
        task=task,
        device=device,
        dtype=dtype,
        frames_at_once=frames_at_once,
    )
    return fastest(options, budget, f"{counted(frames)} of {height}x{width}")[0]


def fastest(
    options: Iterable[tuple[MemoryPlan, Estimate]], budget: int, video: str
) -> tuple[MemoryPlan, Estimate]:
    """The first of the plans that fits a budget. Raises InputError, with what would fit, for none.

    Args:
        options: of :func:`plans`.
        budget: bytes on the networks' device.
        video: in words, for the error.
    """
    least: tuple[MemoryPlan, Estimate] | None = None
    for plan, taken in options:
        if taken.peak <= budget:
            return plan, taken
        if least is None or taken.peak < least[1].peak:
            least = plan, taken
    assert least is not None  # there always is a plan
    unit = 10**8 if least[1].peak >= 10**9 else 10**6  # of what is shown: rounded up, it fits
    enough = -(-least[1].peak // unit) * unit
    raise InputError(
        f"budget {gigabytes(budget)} is too small for {video}: {gigabytes(enough)} would "
        f"fit ({least[0]}); or make the frames smaller, or fewer (restore --windows takes a clip "
        "in parts), or take networks in bfloat16"
    )


def _fastest_first(
    prior: LatentPrior,
    place: torch.device,
    size: tuple[int, int],
    counts: Sequence[int],
    cores: Sequence[int],
    dtype: torch.dtype | None,
    strips: bool,
) -> Iterator[MemoryPlan]:
    tiles: list[int | None] = [None]
    if strips and striped(unstriped(required_networks(prior).codec.vae)):
        tiles += [t for t in (MOST_TILE, MOST_TILE // 2, LEAST_TILE) if t < size[0]]
    coded = coded_at_once(prior, *size)
    alone = place.type == HOST.type  # one memory for all: neither turns nor moves save any
    for video_device in (place,) if alone else VIDEO_DEVICES.get(place.type, (place, HOST)):
        for tile in tiles:
            for offload in (False,) if alone else (False, True):
                plan = MemoryPlan(1, tile, offload, video_device, dtype, attention_on(place))
                hosted = video_device != place and place.type not in VIDEO_DEVICES
                for core, count in product(cores if hosted else [DEVICE_CORE], counts):
                    if count == 1 or count <= coded:
                        yield evolve(plan, frames_at_once=count, core=core)
                    if count > 1:
                        yield evolve(plan, frames_at_once=count, vae_frames=1, core=core)


def uncounted(
    prior: LatentPrior, height: int, width: int, frames_at_once: int, device: torch.device
) -> MemoryPlan:
    """The default plan with this many frames at once, whatever memory it takes."""
    coded = None
    if networks_of(prior) is not None and coded_at_once(prior, height, width) < frames_at_once:
        coded = 1
    places = VIDEO_DEVICES.get(device.type, (device,))
    return MemoryPlan(
        frames_at_once, None, False, places[0], attention=attention_on(device), vae_frames=coded
    )


def attention_on(device: torch.device) -> str:
    """The attention to use on a device."""
    return "sliced" if device.type == "mps" else "fused"


def coded_at_once(prior: LatentPrior, height: int, width: int) -> int:
    """The most frames per autoencoder call whose largest tensor, at full size, PyTorch allows."""
    codec = required_networks(prior).codec
    channels = codec.vae.config.block_out_channels
    widest = channels[min(1, len(channels) - 1)]  # as it comes from the layer below
    return MOST_VALUES // (widest * (height // codec.patch) * (width // codec.patch))


def _cores(frames: int) -> list[int]:
    """Cores of one, two, three, four, six and more equally long windows: 100, 50, 34, 25, 17."""
    cores, windows = [], 1
    while -(-frames // windows) > DEVICE_CORE:
        cores.append(-(-frames // windows))
        windows += max(windows // 2, 1)
    return [*cores, DEVICE_CORE]


def _counts(frames: int) -> list[int]:
    """Halving: 25, 13, 7, 4, 2, 1."""
    counts = [min(frames, MOST_AT_ONCE)]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    return counts
