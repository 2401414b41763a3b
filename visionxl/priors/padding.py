"""A prior for frames of any size."""

from attrs import frozen

from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.sizes import fit_to, next_multiple


@frozen(eq=False)
class Padded:
    """Reflects frames up to the next multiple before encoding, and cuts them back after decoding.

    Args:
        prior: whose sizes are multiples of ``multiple``.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        multiple: what the prior's networks need; ``DiffusersPrior.multiple``.
    """

    prior: LatentPrior
    height: int
    width: int
    multiple: int

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        height, width = (next_multiple(s, self.multiple) for s in (self.height, self.width))
        return self.prior.encode(fit_to(video, height, width))

    def decode(self, latent: Latent) -> Video:
        return self.prior.decode(latent)[..., : self.height, : self.width]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return self.prior.denoise(latent, level)
