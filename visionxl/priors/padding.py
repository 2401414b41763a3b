"""A prior for frames of any size."""

from attrs import field, frozen

from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.sizes import fit_to, next_multiple
from visionxl.validators import from_one, of_kind


@frozen(eq=False)
class Padded:
    """Reflects frames up to the next multiple before encoding, and cuts them back after decoding.

    Args:
        prior: one that needs sizes that are multiples of ``multiple``.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        multiple: what the prior's networks need; ``DiffusersPrior.multiple``.
    """

    prior: LatentPrior = field(validator=of_kind(LatentPrior))
    height: int = field(validator=from_one)
    width: int = field(validator=from_one)
    multiple: int = field(validator=from_one)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the prior is given."""
        return next_multiple(self.height, self.multiple), next_multiple(self.width, self.multiple)

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return self.prior.encode(fit_to(video, *self.size))

    def decode(self, latent: Latent) -> Video:
        return self.prior.decode(latent)[..., : self.height, : self.width]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return self.prior.denoise(latent, level)
