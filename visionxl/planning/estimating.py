"""What a plan takes, from counted bytes."""

import torch
from attrs import frozen

from visionxl.operators.factors import Shape
from visionxl.operators.tasks import TASKS, Task
from visionxl.planning.counts import Held, Networks, count_held, count_networks, required_networks
from visionxl.planning.obey import device_of
from visionxl.planning.plan import MemoryPlan, gigabytes
from visionxl.protocols import LatentPrior
from visionxl.solvers.hosted_closed_form import MODES_KEPT
from visionxl.solvers.loop import Sampler
from visionxl.solvers.methods import vision_tv
from visionxl.solvers.motion import arrival_bytes
from visionxl.solvers.placing import DEVICE_CORE

HOST = torch.device("cpu")


@frozen
class Estimate:
    """Bytes on the networks' device during each stage of a step, including weights and videos.

    If the videos are in host memory, ``consistency`` counts the few of their frames that are on the
    device at a time (:func:`~visionxl.solvers.hosted`).
    """

    denoise: int
    decode: int
    encode: int
    consistency: int

    @property
    def peak(self) -> int:
        """The most of the four."""
        return max(self.denoise, self.decode, self.encode, self.consistency)

    def words(self, budget: int | None = None) -> str:
        """``about 7.9 GB of 12 GB``."""
        of = "" if budget is None else f" of {gigabytes(budget)}"
        return f"about {gigabytes(self.peak)}{of}"


def estimate(
    prior: LatentPrior,
    plan: MemoryPlan,
    height: int,
    width: int,
    frames: int,
    *,
    sampler: Sampler | None = None,
    task: Task = TASKS["deblur+"],
    device: torch.device | str | None = None,
) -> Estimate:
    """The bytes that a plan takes on the networks' device.

    Args:
        prior: a :class:`~visionxl.priors.DiffusersPrior`, :class:`~visionxl.priors.FlowPrior`, or
            :class:`~visionxl.priors.Padded`.
        plan: to count.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        frames: of the video.
        sampler: the method, by default ``vision_tv()``.
        task: ``(frames, height, width, generator) -> operator``: what was measured. The memory of
            the consistency depends on it; by default a blur and a temporal average.
        device: where the networks work; by default where they are.

    Raises:
        InputError: a prior without networks of diffusers.
    """
    place = place_of(prior, device)
    sampler = sampler or vision_tv()
    networks = count_networks(prior, plan, height, width, host_of(place))
    held = count_held(sampler, task, frames)
    shape = frames, required_networks(prior).codec.channels, height, width
    return added(networks, held, plan, place, shape)


def added(
    networks: Networks,
    held: Held,
    plan: MemoryPlan,
    place: torch.device,
    shape: Shape,
) -> Estimate:
    """The stages' bytes: weights, what a call makes, and what the loop holds meanwhile."""
    frames, channels, height, width = shape
    pixels = height * width
    frame = 4 * channels * pixels
    here = plan.video_device.type == place.type
    video, latents = (x * here for x in (frames * frame, frames * networks.latent))
    together = min(frames, plan.frames_at_once)
    coded = min(together, plan.vae_frames or together)
    # Where a call of the autoencoder has fewer frames than one of the U-Net, its parts wait for
    # the others, to be put together.
    parts = here * (coded < together) * together * (networks.padding or frame)
    longer = frames > plan.frames_at_once  # otherwise a call's result is the loop's own
    during_unet = networks.unet + (0 if plan.offload else networks.vae)
    during_vae = networks.vae + (0 if plan.offload else networks.unet)
    # What a prior pads, and what is cut off again, is there a second time.
    padded = during_vae + together * networks.padding
    # The loop holds the measurement and latents: clean and noise, encoded and renoised ones. Only
    # while it encodes are there videos beside: the decoded, the corrected and the filtered one.
    between = round(held.measurement * video + held.kept * frame) + 4 * latents
    # What belongs to the frames that are on the device together is in held.consistency already.
    consistent = held.together + (plan.core - DEVICE_CORE if held.windows and held.together else 0)
    waiting = max(frames - held.together, 0) * frame // channels if held.modes and not here else 0
    modes = 2 * min(waiting, 4 * MODES_KEPT)
    alone = place.type == HOST.type
    motion = arrival_bytes(frames, pixels) if held.prepared and alone else 0
    return Estimate(
        denoise=during_unet + together * networks.denoise + between + 2 * longer * latents,
        decode=padded + coded * networks.decode + between + longer * video + parts,
        encode=padded + coded * networks.encode + between + 3 * video + longer * latents,
        consistency=during_vae
        + round(held.consistency * (video if here else min(frames, consistent) * frame))
        + modes
        + motion
        + 4 * latents,
    )


def host_of(place: torch.device) -> str:
    """Where strips wait, for a count: on a CPU it is the networks' own memory."""
    return "meta" if place.type == HOST.type else "cpu"


def place_of(prior: LatentPrior, device: torch.device | str | None) -> torch.device:
    return device_of(required_networks(prior).network) if device is None else torch.device(device)
