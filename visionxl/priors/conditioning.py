"""What a denoiser is told beside the latents and the time, and classifier-free guidance."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.protocols import Latent


@frozen(eq=False)
class Conditioning:
    """The inputs of a denoiser besides the latents and the time, for one frame.

    Args:
        arguments: keyword arguments of the network, batch size 1 (``encoder_hidden_states``, ...).
        added: entries of its ``added_cond_kwargs``; SDXL's ``text_embeds``.
        with_size: also pass SDXL's ``time_ids``: the frame's height and width, as the original
            and as the target size, and no crop.
    """

    arguments: Mapping[str, Tensor] = field(factory=dict)
    added: Mapping[str, Tensor] = field(factory=dict)
    with_size: bool = False

    def keywords(self, frames: int, height: int, width: int) -> dict[str, Any]:
        """The network's keyword arguments for a batch of frames of that size in pixels."""

        def batch(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {k: v.expand(frames, *v.shape[1:]) for k, v in tensors.items()}

        keywords: dict[str, Any] = batch(self.arguments)
        added = dict(self.added)
        if self.with_size:
            like = added["text_embeds"]
            added["time_ids"] = torch.tensor([[height, width, 0, 0, height, width]]).to(like)
        if added:
            keywords["added_cond_kwargs"] = batch(added)
        return keywords

    def equals(self, other: "Conditioning") -> bool:
        """Whether both tell the network the same."""
        mine, theirs = ({**c.arguments, **c.added} for c in (self, other))
        return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def needed(
    conditional: Conditioning, unconditional: Conditioning, guidance: float | None
) -> tuple[Conditioning, ...]:
    """The conditionings that have to be evaluated; the one to renoise with comes first.

    An evaluation whose output is already known, or not used, is left out.
    """
    if guidance is None:
        return (conditional,)
    if guidance == 0 or conditional.equals(unconditional):
        return (unconditional,)
    return unconditional, conditional


def guided(outputs: Sequence[Latent], guidance: float | None) -> Latent:
    """``u + guidance (c - u)`` of the outputs for the conditionings that are :func:`needed`."""
    if len(outputs) == 1 or guidance is None:
        return outputs[0]
    unconditional, conditional = outputs
    return unconditional + guidance * (conditional - unconditional)
