"""The rows of the benchmark, by name, in the order of its tables."""

from peers.case import Method
from peers.classical import back_projection, cg, tikhonov, tv
from peers.published import default, no_prior, noise_aware, paper, paper_exact

CLASSICAL: dict[str, Method] = {
    "back-projection": back_projection,
    "cg": cg,
    "tikhonov": tikhonov,
    "tv": tv,
    "no-prior": no_prior,
}
"""Without a network and without chance: the same problem gives the same answer."""

METHODS: dict[str, Method] = {
    **CLASSICAL,
    "paper": paper,
    "paper-exact": paper_exact,
    "vision_xl": noise_aware,
    "default": default,
}
