"""Operators, problems and priors go to deepinv and back unchanged; run on the real package."""

import importlib
import runpy
from pathlib import Path

import pytest
import torch
from attrs import evolve, frozen
from dense import generator, noise, relative_error

from visionxl import (
    DampedCG,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseLevel,
    restore,
    simulate,
    vision_xl,
)
from visionxl.metrics import psnr
from visionxl.operators import (
    AveragePool,
    Blur,
    GaussianBlur,
    Grayscale,
    Mask,
    Scale,
    Stack,
    TemporalAverage,
    check_adjoint,
)
from visionxl.solvers import ConstantSpread

deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed: docs/deepinv.rst")
physics_of = deepinv.physics
bridge = importlib.import_module("visionxl.interop.deepinv")

FRAMES, HEIGHT, WIDTH = 5, 16, 24
SHAPE = (FRAMES, 3, HEIGHT, WIDTH)
KERNEL = torch.rand(1, 1, 5, 3, generator=generator(1))


def spatial_physics():
    """Physics of pictures, each with the same linear map of ours where there is one."""
    half = Mask.random(0.5, HEIGHT, WIDTH, generator())
    box = torch.ones(1, 1, 4, 4) / 16
    size = (3, HEIGHT, WIDTH)
    return {
        "mask": (physics_of.Inpainting(size, mask=half.mask.float().expand(size)), half),
        "pool": (
            physics_of.Downsampling(size, filter=box, factor=4, padding="valid"),
            AveragePool(4),
        ),
        "blur": (physics_of.Blur(filter=gaussian(), padding="reflect"), GaussianBlur(0.4)),
        "fft": (physics_of.BlurFFT(size, filter=KERNEL), None),
        "valid": (physics_of.Blur(filter=KERNEL, padding="valid"), None),
        "flip": (
            physics_of.Blur(filter=KERNEL, padding="circular"),
            Blur(KERNEL[0, 0].flip(0, 1), "circular"),
        ),
        "grey": (physics_of.Decolorize(srf=(0.299, 0.587, 0.114)), Grayscale()),
    }


def gaussian():
    """The plane kernel of GaussianBlur(0.4), read off its answer to a point."""
    point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    point[..., 4, 4] = 1
    return GaussianBlur(0.4, "zero").forward(point).float()


OPERATORS = {
    "deblur+": GaussianBlur(0.8) @ TemporalAverage(3),
    "sr4+": AveragePool(4) @ TemporalAverage(3),
    "inpaint+": Mask.random(0.5, HEIGHT, WIDTH, generator()) @ TemporalAverage(3),
    "stack": Stack([Scale(0.5), AveragePool(4)], SHAPE),
}


@pytest.mark.parametrize("name", spatial_physics())
def test_a_physics_is_the_same_linear_map_here_with_its_exact_adjoint(name):
    physics, same = spatial_physics()[name]
    operator = bridge.from_deepinv(physics)
    video = noise(*SHAPE, dtype=torch.float32)
    measured = operator.forward(video)
    assert torch.equal(measured, physics.A(video))
    assert torch.equal(operator.adjoint(measured), physics.A_adjoint(measured))
    assert check_adjoint(operator, SHAPE) < 1e-10  # on a copy in float64
    if same is not None:
        assert relative_error(measured, same.forward(video)) < 1e-6


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_comes_back_as_itself_and_is_the_same_map_there(operator):
    physics = bridge.to_deepinv(operator)
    assert bridge.from_deepinv(physics) is operator
    videos = [noise(*SHAPE, seed=seed) for seed in (0, 1)]
    batch = torch.stack([video.transpose(0, 1) for video in videos])
    measured = physics.A(batch)
    for i, video in enumerate(videos):
        ours = operator.forward(video)
        theirs = measured[i].transpose(0, 1) if ours.ndim == 4 else measured[i]
        assert torch.equal(theirs, ours)
        back = physics.A_adjoint(measured)[i].transpose(0, 1)
        assert torch.equal(back, operator.adjoint(ours))
    assert physics.adjointness_test(u=batch) < 1e-12


@pytest.mark.parametrize("name", spatial_physics())
def test_a_physics_comes_back_as_the_same_map(name):
    physics, _ = spatial_physics()[name]
    again = bridge.to_deepinv(bridge.from_deepinv(physics))
    frames = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=generator())
    assert torch.equal(again.A(frames.transpose(0, 1)[None])[0].transpose(0, 1), physics.A(frames))


def test_a_physics_in_time_takes_the_video_as_one_element():
    filter = torch.ones(1, 1, 3, 1, 1) / 3
    physics = physics_of.Blur(filter=filter, padding="circular", use_fft=True)
    operator = bridge.from_deepinv(physics, "video", shape=SHAPE)
    video = noise(*SHAPE)
    assert relative_error(operator.forward(video), TemporalAverage(3).forward(video)) < 1e-6
    assert check_adjoint(operator, SHAPE) < 1e-10


def test_what_changes_a_physics_later_does_not_change_the_operator():
    physics = physics_of.Blur(filter=KERNEL.clone(), padding="circular")
    operator = bridge.from_deepinv(physics)
    video = noise(*SHAPE, dtype=torch.float32)
    before = operator.forward(video)
    physics.A(video, filter=KERNEL.flip(-1))  # a call that deepinv remembers
    physics.update(filter=2 * KERNEL)
    physics.filter.zero_()
    assert torch.equal(operator.forward(video), before)


def test_dtype_is_kept_also_by_a_complex_physics():
    physics = physics_of.BlurFFT((3, HEIGHT, WIDTH), filter=KERNEL)
    operator = bridge.from_deepinv(physics)
    video = noise(*SHAPE)
    exact = operator.forward(video)
    assert exact.dtype == torch.float64
    assert relative_error(operator.forward(video.float()).double(), exact) < 1e-6
    assert physics.A(video.float()).dtype == torch.float32


def test_a_measurement_is_that_of_the_video_in_our_range():
    """``2 A u - A 1 = A (2 u - 1)``, and a mask's missing pixels stay 0."""
    for physics, _ in spatial_physics().values():
        unit = torch.rand(SHAPE, generator=generator())
        problem = bridge.problem_from_deepinv(physics, physics.A(unit))
        expected = problem.operator.forward(2 * unit - 1)
        assert torch.allclose(problem.measurement, expected, atol=1e-5)
        assert problem.noise_std == 0


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_a_problem_goes_there_and_back(operator):
    video = torch.rand(SHAPE, generator=generator(), dtype=torch.float64) * 2 - 1
    problem = simulate(video, operator, noise_std=0.04, generator=generator())
    physics, measurement = bridge.problem_to_deepinv(problem)
    clean = physics.A(((video + 1) / 2).transpose(0, 1)[None])
    assert torch.std(measurement - clean).item() == pytest.approx(0.02, rel=0.1)
    again = bridge.problem_from_deepinv(physics, measurement)
    assert again.operator is operator
    assert torch.allclose(again.measurement, problem.measurement, rtol=0, atol=1e-14)
    assert again.noise_std == pytest.approx(0.04, rel=1e-7)  # deepinv keeps sigma in float32


def test_the_noise_model_adds_half_of_our_noise_from_the_generator():
    operator = TemporalAverage(3)
    video = torch.zeros(1, 3, FRAMES, 64, 64)

    def measured():
        return bridge.to_deepinv(operator, 0.2, generator=generator(3))(video)

    assert measured().std().item() == pytest.approx(0.1, rel=0.02)
    assert torch.equal(measured(), measured())
    silent = bridge.to_deepinv(operator)
    assert torch.equal(silent(video), silent.A(video))


def test_their_proximal_step_of_our_operator_is_our_damped_least_squares():
    """One scalar per video, though frames are coupled: the batch has one element."""
    problem = InverseProblem(OPERATORS["deblur+"], noise(*SHAPE, seed=1), noise_std=0.1)
    estimate = noise(*SHAPE, seed=2)
    solver = DampedCG(ConstantSpread(0.2), iterations=60, tolerance=1e-12)
    ours = solver.correct(estimate, problem, NoiseLevel(0.1, 0.9, 0.4)).video
    physics, _ = bridge.problem_to_deepinv(problem)
    theirs = physics.prox_l2(  # gamma / 2 |A x - y|^2 + |x - z|^2 / 2
        estimate.transpose(0, 1)[None],
        problem.measurement.transpose(0, 1)[None],
        gamma=0.2**2 / 0.1**2,
        solver="CG",
        max_iter=60,
        tol=1e-12,
    )
    assert relative_error(theirs[0].transpose(0, 1), ours) < 1e-5  # their CG adds 1e-8


def lying_physics():
    def clamped(y):
        return physics_of.Blur(filter=KERNEL, padding="reflect").A(y)  # not flipped, not folded

    blur = physics_of.Blur(filter=KERNEL, padding="reflect")
    return physics_of.LinearPhysics(A=blur.A, A_adjoint=clamped)


def test_a_wrong_adjoint_is_refused_with_one_that_works():
    physics = lying_physics()
    with pytest.raises(InputError, match=r"not the adjoint.*deepinv derives from A"):
        bridge.from_deepinv(physics)
    derived = physics_of.LinearPhysics(A=physics.A, img_size=SHAPE[1:])
    assert check_adjoint(bridge.from_deepinv(derived), SHAPE, dtype=torch.float32) < 1e-6


def test_back_projection_in_place_of_an_adjoint_is_refused():
    """The fast adjoint of deepinv's tomography is not that of its own forward."""
    physics = physics_of.Tomography(12, img_width=16, normalize=False, adjoint_via_backprop=False)
    with pytest.raises(InputError, match="Tomography"):
        bridge.from_deepinv(physics, shape=(1, 1, 16, 16))


@pytest.mark.parametrize(
    ("physics", "words"),
    [
        (physics_of.PhaseRetrieval(physics_of.LinearPhysics()), "not linear|no deepinv LinearPhy"),
        (physics_of.Blur(filter=torch.ones(1, 2, 5, 5)), "cannot take a video of"),
        (physics_of.DownsamplingMatlab(factor=3), "cannot take a video of"),
        (physics_of.LinearPhysics().stack(physics_of.LinearPhysics()), "Stack"),
        (None, "no deepinv LinearPhysics"),
    ],
    ids=["nonlinear", "channels", "shape", "stacked", "none"],
)
def test_a_physics_that_cannot_be_used_is_refused(physics, words):
    with pytest.raises(InputError, match=words):
        bridge.from_deepinv(physics)


def test_bad_input_is_refused():
    operator = TemporalAverage(3)
    physics = bridge.to_deepinv(operator)
    with pytest.raises(InputError, match=r"unsqueeze\(2\)"):
        physics.A(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="did you mean 'frames'"):
        bridge.DeepinvOperator(physics, "frame")
    with pytest.raises(InputError, match="batch of 2"):
        bridge.problem_from_deepinv(physics, torch.zeros(2, 3, 5, 8, 8))
    with pytest.raises(InputError, match=r"PoissonNoise.*GaussianNoise"):
        bridge.problem_from_deepinv(
            physics_of.Denoising(physics_of.PoissonNoise()), torch.zeros(SHAPE)
        )
    with pytest.raises(InputError, match="expected \\(batch"):
        bridge.prior_to_deepinv(GaussianPrior.natural(8, 8))(torch.zeros(3, 8, 8), 0.1)


class Shrinkage(deepinv.models.Denoiser):
    """The exact denoiser of white Gaussian pixels of mean 0.5 and deviation 0.25 in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, sigma):
        assert x.dtype == self.weight.dtype
        return 0.5 + self.weight * 0.25**2 / (0.25**2 + sigma**2) * (x - 0.5)


WHITE = GaussianPrior(torch.full((8, 8), 0.25))  # the same pixels in [-1, 1]: deviation 0.5


@pytest.mark.parametrize("time", [0.001, 0.1, 0.3, 1.0])
def test_a_denoiser_is_a_prior_on_pixels_with_their_range_and_noise(time):
    prior = bridge.prior_from_deepinv(Shrinkage())
    level = prior.schedule.level(time)
    latent = noise(2, 3, 8, 8)
    ours, theirs = WHITE.denoise(latent, level), prior.denoise(latent, level)
    assert theirs.clean.dtype == torch.float64
    assert relative_error(theirs.clean, ours.clean) < 1e-5  # the denoiser is float32
    assert relative_error(theirs.noise, ours.noise) < 1e-5 / level.noise
    assert not theirs.clean.requires_grad
    assert torch.equal(prior.decode(prior.encode(latent)), latent)


@frozen
class Straight:
    """Flow matching's schedule."""

    def level(self, time):
        return NoiseLevel(time, 1 - time, time)


@pytest.mark.parametrize("prior", [WHITE, evolve(WHITE, schedule=Straight())], ids=["vp", "flow"])
@pytest.mark.parametrize("sigma", [1e-3, 0.05, 0.5, 3.0])
def test_a_prior_is_a_denoiser_at_exactly_the_noise_it_is_asked_for(prior, sigma):
    denoiser = bridge.prior_to_deepinv(prior)
    pictures = torch.rand(2, 3, 8, 8, generator=generator(), dtype=torch.float64)
    expected = 0.5 + 0.25**2 / (0.25**2 + sigma**2) * (pictures - 0.5)
    assert torch.allclose(denoiser(pictures, sigma), expected, atol=1e-12)


def test_a_prior_takes_one_noise_for_each_element_and_videos():
    denoiser = bridge.prior_to_deepinv(WHITE)
    pictures = torch.rand(3, 3, 8, 8, generator=generator(), dtype=torch.float64)
    sigmas = torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)
    together = denoiser(pictures, sigmas)
    apart = [denoiser(p[None], s.item())[0] for p, s in zip(pictures, sigmas, strict=True)]
    assert torch.equal(together, torch.stack(apart))
    assert torch.equal(together[0], pictures[0])
    video = pictures.transpose(0, 1)[None]  # three frames
    assert torch.equal(denoiser(video, 0.1)[0].transpose(0, 1), denoiser(pictures, 0.1))


def test_priors_come_back_as_themselves():
    denoiser = Shrinkage()
    assert bridge.prior_to_deepinv(bridge.prior_from_deepinv(denoiser)) is denoiser
    assert bridge.prior_from_deepinv(bridge.prior_to_deepinv(WHITE)) is WHITE


def test_a_denoiser_of_deepinv_restores_here():
    denoiser = deepinv.models.TVDenoiser(n_it_max=30)
    video = torch.zeros(FRAMES, 3, 16, 16)
    video[..., 4:12, 4:12] = 0.8
    operator = Mask.random(0.5, 16, 16, generator())
    problem = simulate(video, operator, noise_std=0.05, generator=generator())
    method = vision_xl(count=10)
    prior = bridge.prior_from_deepinv(denoiser)
    restored = restore(problem, prior, method, generator=generator()).video
    assert (restored - video).norm() < 0.75 * (problem.measurement - video).norm()


def test_our_prior_and_operator_restore_there():
    """Plug and play of deepinv comes to the Gaussian posterior's mean, where that is exact."""
    problem = InverseProblem(TemporalAverage(3), noise(FRAMES, 3, 8, 8), noise_std=0.5)
    physics, measurement = bridge.problem_to_deepinv(problem)
    pnp = deepinv.optim.PnP(bridge.prior_to_deepinv(WHITE))
    # prox of |x - 0.5|^2 / (2 0.25^2) with step gamma is the denoiser at sigma = sqrt(gamma)
    gamma = 0.01
    estimate = physics.A_adjoint(measurement)
    for _ in range(300):
        gradient = physics.A_adjoint(physics.A(estimate) - measurement) / 0.25**2
        estimate = pnp.prox(estimate - gamma * gradient, gamma**0.5)
    prior_mean = torch.zeros(FRAMES, 3, 8, 8, dtype=torch.float64)
    solver = DampedCG(ConstantSpread(0.5), iterations=200, tolerance=1e-14)
    exact = solver.correct(prior_mean, problem, NoiseLevel(0.1, 0.9, 0.4)).video
    assert relative_error(2 * estimate[0].transpose(0, 1) - 1, exact) < 1e-6


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = Path(__file__).parent.parent / "docs" / "deepinv_example.py"
    results = runpy.run_path(str(example))
    clip, problem = results["clip"], results["problem"]
    for restored in (results["ours"].video, results["theirs"]):
        assert psnr(restored, clip) > psnr(problem.measurement, clip) + 0.5
    assert psnr(results["flat"].video, clip) > psnr(problem.measurement, clip)
