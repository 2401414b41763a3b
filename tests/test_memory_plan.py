"""The memory plan: counted before a run, chosen for a budget, obeyed, and made smaller in need."""

import json
import math
import re
import warnings
from copy import deepcopy
from dataclasses import dataclass
from types import SimpleNamespace

import memory_plan as benchmark
import pytest
import torch
from attrs import evolve, frozen
from command_line import visionxl
from models import autoencoder

from visionxl import (
    DampedCG,
    GaussianPrior,
    InputError,
    Padded,
    PocketPrior,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.cli.running import SHARE, Run, plan_for
from visionxl.operators import TASKS, AveragePool, task_named
from visionxl.planning import (
    MemoryPlan,
    Persistent,
    estimate,
    plan_memory,
    planned,
    ran_out_of_memory,
    repeated,
)
from visionxl.planning.choice import coded_at_once, fastest, plans, uncounted
from visionxl.planning.counts import count_held, count_networks, weight_bytes
from visionxl.planning.estimating import Estimate
from visionxl.planning.obey import _waiting
from visionxl.planning.structures import sdxl_structure
from visionxl.priors import DiffusersPrior, compiled, warm_up
from visionxl.priors.attention import SlicedAttention
from visionxl.solvers import ddnm, dds, latent_dps, method_named
from visionxl.solvers.placing import DEVICE_CORE


@pytest.fixture(scope="module")
def pocket():
    return PocketPrior.load()


@pytest.fixture(scope="module")
def small():
    return benchmark.stable_diffusion()


def cases(pocket, small):
    one, three = MemoryPlan(), MemoryPlan(frames_at_once=3)
    strips, few = MemoryPlan(vae_tile=32), MemoryPlan(frames_at_once=6, vae_frames=1)
    many = MemoryPlan(frames_at_once=13)
    return {
        "latents count": ("pocket", pocket, "deblur+", "vision_xl", 5, 64, 96, one),
        "videos count": ("pocket", pocket, "sr4+", "vision_tv", 4, 64, 64, one),
        "a chunk": ("small", small, "sr4+", "vision_xl", 5, 64, 96, three),
        "few in the autoencoder": ("small", small, "sr4+", "vision_xl", 6, 64, 96, few),
        "a mask": ("small", small, "inpaint+", "vision_xl", 4, 64, 64, one),
        "all at once": ("small", small, "deblur+", "vision_xl", 3, 96, 96, three),
        "strips": ("small", small, "sr4", "vision_xl", 1, 96, 96, strips),
        "padded": ("small", Padded(small, 36, 36, 32), "sr4", "vision_xl", 13, 36, 36, many),
        "padded, few": ("small", Padded(small, 36, 36, 32), "sr4", "vision_xl", 13, 36, 36, few),
    }


def test_a_part_without_a_hash_is_counted_too():
    @dataclass
    class Own:
        iterations: int = 5

        def correct(self, estimate, problem, level):
            return DampedCG(iterations=self.iterations).correct(estimate, problem, level)

    own, known = (
        count_held(vision_xl(consistency=consistency), TASKS["deblur+"], 5)
        for consistency in (Own(), DampedCG(iterations=5))
    )
    assert own.consistency == known.consistency


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
@pytest.mark.parametrize("name", cases(*[GaussianPrior.natural(8, 8)] * 2))
def test_the_estimate_is_within_fifteen_percent(name, pocket, small):
    case = benchmark.Case(*cases(pocket, small)[name])
    resting = benchmark.weights(case)  # known exactly: what is estimated is the rest
    guess, real = benchmark.estimated(case) - resting, benchmark.counted(case) - resting
    assert guess == pytest.approx(real, rel=0.15)


def test_the_weights_are_counted_as_they_are(small):
    networks = count_networks(small, MemoryPlan(), 64, 64)
    assert networks.unet == sum(4 * p.numel() for p in small.unet.parameters())
    half = count_networks(small, MemoryPlan(dtype=torch.bfloat16), 64, 64)
    assert (half.unet, half.vae) == (networks.unet // 2, networks.vae // 2)
    assert half.decode < networks.decode


@pytest.mark.parametrize("name", ["pocket", "small"])
def test_compiled_networks_are_counted_as_they_were(name, pocket, small):
    prior = {"pocket": pocket, "small": small}[name]
    quick, plain = (
        count_networks(p, MemoryPlan(), 64, 96) for p in (compiled(prior, "eager"), prior)
    )
    assert quick == plain


def test_sdxl_has_its_published_size():
    structure = sdxl_structure(torch.float16)
    assert structure.unet.num_parameters() == 2_567_463_684
    assert structure.codec.vae.num_parameters() == 83_653_863
    # Its autoencoder says that it overflows in float16.
    assert weight_bytes(structure.codec.vae, torch.float16) == 4 * 83_653_863


@pytest.fixture(scope="module")
def options(small):
    return list(plans(small, 128, 128, 6, sampler=vision_xl(), device="cuda"))


def test_a_larger_budget_never_gives_a_slower_plan(options):
    place_of = {plan: i for i, (plan, _) in enumerate(options)}
    places = []
    for budget in sorted({taken.peak for _, taken in options}):
        plan, taken = fastest(options, budget, "six frames")
        assert taken.peak <= budget
        places.append(place_of[plan])
    assert places == sorted(places, reverse=True)
    assert places[-1] == 0


def test_the_plan_is_what_the_budget_asks(options, small):
    whole, tight = 10**12, min(taken.peak for _, taken in options)
    assert plan_memory(small, 128, 128, 6, whole, sampler=vision_xl(), device="cuda") == MemoryPlan(
        6, None, False, "cuda"
    )
    plan, _ = fastest(options, tight, "six frames")
    assert plan.offload
    assert plan.video_device.type == "cpu"
    assert plan.vae_frames == 1
    with pytest.raises(InputError, match=r"small for six frames: .* would fit \(.* in host memory"):
        fastest(options, tight - 1, "six frames")


def test_each_choice_takes_less(options, small):
    known = dict(options)

    def of(count, *choices):
        return known[MemoryPlan(count, *choices)]

    one = of(1, None, False, "cuda")
    assert of(3, None, False, "cuda").decode > one.decode > of(1, 64, False, "cuda").decode
    turns, host = of(1, None, True, "cuda"), of(1)
    assert turns.denoise == one.denoise - weight_bytes(small.codec.vae)
    assert turns.decode == one.decode - weight_bytes(small.unet)
    assert host.consistency <= one.consistency
    assert host.decode < one.decode


def test_no_tensor_of_the_autoencoder_has_more_values_than_kernels_count():
    """In SDXL's decoder 256 channels of the whole size: 8 frames of 768x1280 are the most."""
    assert 256 * 768 * 1280 * 8 < 2**31 < 256 * 768 * 1280 * 9
    assert coded_at_once(sdxl_structure(), 768, 1280) == 8


def test_windows_are_as_large_as_the_memory_allows(small):
    options = list(plans(small, 128, 128, 60, sampler=vision_tv(), device="cuda", frames_at_once=1))
    hosted = [(plan, taken) for plan, taken in options if plan.video_device.type == "cpu"]
    assert {plan.core for plan, _ in options if plan.video_device.type == "cuda"} == {DEVICE_CORE}
    alike = [(p, t) for p, t in hosted if (p.vae_tile, p.offload) == (None, False)]
    assert [plan.core for plan, _ in alike] == [60, 30, 20, 15, DEVICE_CORE]
    taken = [option.consistency for _, option in alike]
    assert taken == sorted(taken, reverse=True)
    held = count_held(vision_tv(), TASKS["deblur+"], 60)
    frame = 12 * 128 * 128
    # 7 frames on either side of each core, but for the one that is the clip.
    assert taken[1] - taken[2] == pytest.approx(10 * held.consistency * frame, abs=2)
    assert taken[0] - taken[1] == pytest.approx(16 * held.consistency * frame, abs=2)
    exact = plans(small, 128, 128, 60, sampler=vision_xl(), device="cuda", frames_at_once=1)
    assert {plan.core for plan, _ in exact} == {DEVICE_CORE}
    assert "total variation of 30 frames at once" in str(alike[1][0])


def test_a_plan_has_no_more_frames_in_the_autoencoder_than_are_allowed(small, monkeypatch):
    monkeypatch.setattr("visionxl.planning.choice.coded_at_once", lambda *_: 3)
    every = [plan for plan, _ in plans(small, 64, 64, 7, sampler=vision_xl(), device="cuda")]
    assert every[0] == MemoryPlan(7, None, False, "cuda", vae_frames=1)
    assert max(plan.vae_frames or plan.frames_at_once for plan in every) == 2  # of 7, 4, 2, 1


def test_a_gpu_is_planned_for_without_being_asked(small, monkeypatch):
    def planned(**given):
        run = Run({}, 0, show=False, device=torch.device("cuda"), **given)
        return plan_for(small, vision_xl(), torch.Size((6, 3, 128, 128)), run)

    def has(memory):
        there = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: there)

    has(10**12)
    assert planned() == MemoryPlan(6, None, False, "cuda")
    assert planned(frames_at_once=2) == MemoryPlan(2, None, False, "cuda")
    options = list(plans(small, 128, 128, 6, sampler=vision_xl(), device="cuda"))
    tight = min(taken.peak for _, taken in options)
    has(math.ceil(tight / SHARE))
    assert planned().video_device.type == "cpu"
    has(tight // 2)  # what cannot fit is tried all the same: the count is an estimate
    assert planned() == min(options, key=lambda option: option[1].peak)[0]
    with pytest.raises(InputError, match="--memory 4 MB"):
        planned(memory=tight // 2)


def test_the_frames_at_once_that_were_asked_for_are_counted(small):
    """They are not put into a plan that was made for others."""
    options = list(plans(small, 128, 128, 6, sampler=vision_xl(), device="cuda", frames_at_once=5))
    assert {plan.frames_at_once for plan, _ in options} == {5}
    budget = min(taken.peak for _, taken in options)
    run = Run({}, 0, show=False, device=torch.device("cuda"), frames_at_once=5, memory=budget)
    plan = plan_for(small, vision_xl(), torch.Size((6, 3, 128, 128)), run)
    assert dict(options)[plan].peak <= budget
    with pytest.raises(InputError, match="frames_at_once 0 is too small"):
        plan_memory(small, 128, 128, 6, budget, frames_at_once=0)


def test_where_nothing_is_counted_the_autoencoder_is_not_asked_for_too_much():
    """A tensor of more values than kernels count is no lack of memory, and ends a run."""
    structure, cuda = sdxl_structure(), torch.device("cuda")
    assert uncounted(structure, 768, 1280, 8, cuda) == MemoryPlan(8, None, False, "cuda")
    nine = uncounted(structure, 768, 1280, 9, cuda)
    assert (nine.frames_at_once, nine.vae_frames) == (9, 1)


def test_videos_are_not_on_a_device_without_float64(small):
    mps = torch.device("mps")
    every = [plan for plan, _ in plans(small, 128, 128, 6, sampler=vision_xl(), device=mps)]
    for plan in [*every, uncounted(small, 128, 128, 3, mps)]:
        assert plan.video_device.type == "cpu"
        assert plan.attention == "sliced"


def test_with_videos_on_the_host_the_device_is_as_full_for_any_length(small, monkeypatch):
    def full(sampler, frames):
        taken = estimate(small, MemoryPlan(4), 64, 64, frames, sampler=sampler, device="cuda")
        return taken.consistency

    assert full(vision_tv(), 30) == pytest.approx(full(vision_tv(), 100), rel=1e-3)
    few, more = (full(vision_xl(), frames) for frames in (30, 52))
    modes = 2 * 4 * 64 * 64 * 22  # of a channel, measured and estimated
    assert more - few == pytest.approx(modes, rel=0.05)
    monkeypatch.setattr("visionxl.planning.estimating.MODES_KEPT", 64 * 64 * 10)
    assert full(vision_xl(), 30) == pytest.approx(full(vision_xl(), 100), rel=1e-3)


@pytest.mark.parametrize("name", ["vision_tv", "vision_xl", "gauss_newton"])
def test_a_motion_that_a_part_of_a_part_sorts_is_counted(name):
    held = count_held(method_named(name)(), TASKS["deblur+"], 9)
    assert held.prepared == (name != "vision_xl")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"frames_at_once": 0}, "frames_at_once 0 is not a whole number from 1"),
        ({"vae_tile": 0}, "vae_tile 0 is not a whole number from 1"),
        ({"dtype": torch.int8}, "dtype torch.int8 is no floating point type"),
        ({"attention": "slice"}, "attention 'slice' is unknown: did you mean 'sliced'"),
    ],
)
def test_a_plan_of_bad_choices_is_refused(choices, message):
    with pytest.raises(InputError, match=message):
        MemoryPlan(**choices)


def test_a_plan_speaks():
    plan = MemoryPlan(4, 128, True, "cpu", torch.bfloat16, "sliced")
    assert str(plan) == (
        "4 frames at once, networks in bfloat16, autoencoder in strips of 128 rows, denoiser and "
        "autoencoder take turns on the device, attention in slices, videos in host memory"
    )
    assert Estimate(1, 7_900_000_000, 2, 3).words(12 * 10**9) == "about 7.9 GB of 12.0 GB"


def test_a_prior_without_networks_cannot_be_counted():
    prior = GaussianPrior.natural(16, 16)
    told = "GaussianPrior has no networks.*: give a DiffusersPrior or FlowPrior, or"
    with pytest.raises(InputError, match=told):
        plan_memory(prior, 16, 16, 2, 10**9)
    with pytest.raises(InputError, match=told):
        planned(prior, MemoryPlan(vae_tile=64))
    assert planned(prior, MemoryPlan(frames_at_once=4)) is prior


def latents_and_video():
    generator = torch.Generator().manual_seed(3)
    video = torch.rand(2, 3, 64, 96, generator=generator) * 2 - 1
    return torch.randn(2, 4, 8, 12, generator=generator), video


def answers(prior: DiffusersPrior):
    latent, video = latents_and_video()
    denoised = prior.denoise(latent, prior.schedule.level(0.2))
    return denoised.clean, denoised.noise, prior.decode(latent), prior.encode(video)


@pytest.mark.parametrize(
    "plan",
    [
        MemoryPlan(offload=True),
        MemoryPlan(vae_tile=16),
        MemoryPlan(attention="sliced"),
        MemoryPlan(vae_tile=16, offload=True, attention="sliced"),
    ],
    ids=str,
)
def test_a_planned_prior_answers_as_the_prior_does(small, plan):
    in_double = planned(small, MemoryPlan(dtype=torch.float64))
    double = in_double.unet.dtype
    assert double == torch.float64
    for known, answer in zip(answers(in_double), answers(planned(in_double, plan)), strict=True):
        torch.testing.assert_close(answer, known, rtol=1e-6, atol=1e-6)
    for known, answer in zip(answers(small), answers(planned(small, plan)), strict=True):
        if plan == MemoryPlan(offload=True):
            assert torch.equal(known, answer)
        assert (known - answer).abs().max() < 1e-3 * known.abs().max()


def test_another_dtype_is_a_copy(small):
    half = planned(small, MemoryPlan(dtype=torch.bfloat16))
    assert half.unet.dtype == half.codec.vae.dtype == torch.bfloat16
    assert half.conditional.arguments["encoder_hidden_states"].dtype == torch.bfloat16
    assert small.unet.dtype == small.codec.vae.dtype == torch.float32


def test_a_padded_prior_is_planned_within(small):
    padded = planned(Padded(small, 60, 90, small.multiple), MemoryPlan(vae_tile=16))
    _, video = latents_and_video()
    assert padded.decode(padded.encode(video[..., :60, :90])).shape == (2, 3, 60, 90)


def where(network):
    return {w.device.type for w in (*network.parameters(), *network.buffers())}


def test_networks_take_turns_on_the_device():
    prior = benchmark.stable_diffusion()
    told = prior.conditional.arguments["encoder_hidden_states"]
    prior = evolve(prior, guidance=None)
    turns = planned(prior, MemoryPlan(offload=True), device="meta")
    assert where(prior.unet) == where(prior.codec.vae) == {"cpu"}
    before = [p.clone() for p in prior.unet.parameters()]
    latent, video = (x.to("meta") for x in latents_and_video())
    turns.denoise(latent, prior.schedule.level(0.1))
    assert (where(prior.unet), where(prior.codec.vae)) == ({"meta"}, {"cpu"})
    turns.decode(latent)
    assert (where(prior.unet), where(prior.codec.vae)) == ({"cpu"}, {"meta"})
    turns.encode(video)
    assert all(torch.equal(a, b) for a, b in zip(before, prior.unet.parameters(), strict=True))
    assert told.device.type == "cpu"


def test_sliced_attention_holds_few_scores():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 50, 8, generator=generator).double() for _ in "qkv")
    attention = torch.nn.functional.scaled_dot_product_attention
    seen = []

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is attention:
                seen.append(args[0].shape[-2])
            return function(*args, **(kwargs or {}))

    with Spy(), SlicedAttention(scores=2 * 3 * 50 * 8 * 20):
        sliced = attention(query, key, value)
    assert max(seen) == 20
    torch.testing.assert_close(sliced, attention(query, key, value))


@frozen(eq=False)
class Cramped:
    """A prior that has memory for so many frames at once, in one of its methods."""

    prior: object
    most: int
    method: str
    error: Exception

    @property
    def schedule(self):
        return self.prior.schedule

    def _checked(self, method, tensor):
        if method == self.method and len(tensor) > self.most:
            raise self.error
        return tensor

    def encode(self, video):
        return self.prior.encode(self._checked("encode", video))

    def decode(self, latent):
        return self.prior.decode(self._checked("decode", latent))

    def denoise(self, latent, level):
        return self.prior.denoise(self._checked("denoise", latent), level)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["denoise", "decode", "encode"])
def test_a_run_goes_on_with_fewer_frames_where_memory_runs_out(method, error):
    generator = torch.Generator().manual_seed(0)
    prior = GaussianPrior.natural(16, 24)
    video = prior.sample(6, 3, generator).float()
    problem = simulate(video, AveragePool(4), 0.01, generator=generator)

    def run(some_prior):
        seeded = torch.Generator().manual_seed(1)
        sampler = vision_xl(count=7)
        return restore(problem, some_prior, sampler, generator=seeded, frames_at_once=6).video

    sentences = []
    persistent = Persistent(
        Cramped(prior, 2, method, error), MemoryPlan(frames_at_once=6), tell=sentences.append
    )
    torch.testing.assert_close(run(persistent), run(prior), rtol=1e-5, atol=1e-5)
    assert persistent.plan == MemoryPlan(frames_at_once=2)
    assert sentences == [
        f"memory ran out in {method} with {6 // n} frames at once, videos in host memory: went on "
        f"with {6 // n // 2 + 6 // n % 2} frames at once, videos in host memory"
        for n in (1, 2)
    ]


def test_with_nothing_smaller_the_error_comes_through():
    persistent = Persistent(
        Cramped(GaussianPrior.natural(16, 16), 0, "decode", ERRORS[1]), MemoryPlan(4)
    )
    with pytest.raises(RuntimeError, match="can't allocate"):
        persistent.decode(torch.zeros(4, 3, 16, 16))
    assert persistent.plan == MemoryPlan(1)


def test_what_runs_out_beside_the_networks_is_repeated_with_the_videos_in_host_memory():
    plans_seen, sentences = [], []

    def attempt(plan):
        plans_seen.append(plan)
        if plan.video_device.type == "cuda":
            raise ERRORS[0]
        return "restored"

    first = MemoryPlan(frames_at_once=4, vae_frames=1, video_device="cuda", core=30)
    assert repeated(attempt, first, sentences.append) == "restored"
    assert plans_seen == [first, evolve(first, video_device="cpu", core=DEVICE_CORE)]
    assert sentences == ["memory ran out with the videos on cuda: went on with them in host memory"]
    with pytest.raises(RuntimeError, match="broken"):
        repeated(lambda plan: broken(), first)


def broken():
    raise RuntimeError("broken")


@pytest.mark.parametrize("error", ERRORS[1:], ids=lambda e: type(e).__name__)
def test_where_host_memory_ran_out_nothing_is_sent_there(error):
    asked = []

    def attempt(plan):
        asked.append(plan)
        raise error

    with pytest.raises(type(error)):
        repeated(attempt, MemoryPlan(4, video_device="cuda"))
    assert len(asked) == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_videos_that_are_in_host_memory_have_nowhere_to_go(error):
    asked = []

    def attempt(plan):
        asked.append(plan)
        raise error

    with pytest.raises(type(error)):
        repeated(attempt, MemoryPlan(4))
    assert asked == [MemoryPlan(4)]


def test_other_errors_are_not_taken_for_it():
    assert not ran_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    broken = Cramped(GaussianPrior.natural(16, 16), 0, "decode", RuntimeError("broken"))
    sentences = []
    persistent = Persistent(broken, MemoryPlan(4), tell=sentences.append)
    with pytest.raises(RuntimeError, match="broken"):
        persistent.decode(torch.zeros(4, 3, 16, 16))
    assert not sentences
    assert persistent.plan == MemoryPlan(4)


def test_plans_get_smaller_to_an_end():
    plan, seen = MemoryPlan(frames_at_once=5), []
    while plan is not None:
        seen.append((plan.frames_at_once, plan.vae_frames, plan.offload, plan.vae_tile))
        plan = plan.smaller()
    assert seen == [
        (5, None, False, None),
        (5, 1, False, None),
        (3, 1, False, None),
        (2, 1, False, None),
        (1, 1, False, None),
        (1, 1, True, None),
        (1, 1, True, 256),
        (1, 1, True, 128),
        (1, 1, True, 64),
    ]


def test_a_frame_that_does_not_fit_goes_through_in_strips(small, monkeypatch):
    decoder, called = small.codec.vae.decoder, []

    def whole(*args, **options):
        called.append(args)
        raise MemoryError

    monkeypatch.setattr(decoder, "forward", whole)
    sentences = []
    persistent = Persistent(small, MemoryPlan(), tell=sentences.append)
    latent, _ = latents_and_video()
    assert persistent.decode(latent[:1]).shape == (1, 3, 64, 96)
    assert len(called) == 1
    assert persistent.plan.vae_tile == 256
    assert "autoencoder in strips of 256 rows" in sentences[0]


def test_a_prior_that_works_in_strips_can_be_planned_counted_and_compiled_again(small):
    strips = planned(small, MemoryPlan(vae_tile=32))
    assert estimate(strips, MemoryPlan(), 64, 96, 4) == estimate(small, MemoryPlan(), 64, 96, 4)
    latent, _ = latents_and_video()
    whole = small.decode(latent)
    again = planned(strips, MemoryPlan(vae_tile=64), "cpu")
    for prior in (planned(strips, MemoryPlan()), again, compiled(strips, backend="eager")):
        torch.testing.assert_close(prior.decode(latent), whole, rtol=1e-4, atol=1e-4)
    half = planned(strips, MemoryPlan(dtype=torch.bfloat16))
    assert next(half.codec.vae.parameters()).dtype == torch.bfloat16


def test_gray_frames_are_planned_for_as_gray(small):
    gray, colour = (
        small.with_networks(
            small.network,
            evolve(small.codec, vae=autoencoder(channels=channels)),
            small.conditional,
            small.unconditional,
        )
        for channels in (1, 3)
    )
    videos = []  # what the loop's videos take, beside the networks and the latents
    for prior in (gray, colour):
        few, many = (
            estimate(prior, MemoryPlan(), 64, 96, n, sampler=vision_xl()).encode for n in (9, 33)
        )
        videos.append(many - few)
    assert 0.3 < videos[0] / videos[1] < 0.5
    assert warm_up(gray, 1, 64, 96, torch.device("cpu"), channels=1) > 0


def test_a_call_of_few_frames_makes_the_next_smaller_plan_of_its_own_size(small, monkeypatch):
    decode, sentences = small.codec.vae.decoder.forward, []

    def one_at_a_time(latents, *args, **options):
        if len(latents) > 1:
            raise MemoryError
        return decode(latents, *args, **options)

    monkeypatch.setattr(small.codec.vae.decoder, "forward", one_at_a_time)
    persistent = Persistent(small, MemoryPlan(frames_at_once=8), tell=sentences.append)
    persistent.decode(latents_and_video()[0][:1].expand(6, -1, -1, -1))
    assert persistent.plan == MemoryPlan(frames_at_once=6, vae_frames=1)


def plan_told(monkeypatch, capfd, *words):
    options = ("--prior", "pocket", "--size", "64x96", "--frames", "4", *words)
    return visionxl(monkeypatch, capfd, "info", "--plan", *options)


def test_info_tells_plans(monkeypatch, capfd):
    told = json.loads(plan_told(monkeypatch, capfd, "--memory", "1", "--json").out)
    assert [entry["prior"] for entry in told] == ["pocket"]
    assert told[0]["frames_at_once"] == 4
    assert 38e6 < told[0]["estimate_bytes"] < 1e9
    words = plan_told(monkeypatch, capfd, "--memory", "1").out
    assert "pocket on cuda, 1 GB: 4 frames at once, videos on cuda: about" in words
    half = ("--memory", "1", "--json", "--dtype", "bfloat16")
    less = json.loads(plan_told(monkeypatch, capfd, *half).out)
    assert less[0]["prior"] == "pocket in bfloat16"
    assert less[0]["estimate_bytes"] < told[0]["estimate_bytes"]


def test_what_would_fit_fits(monkeypatch, capfd):
    told = json.loads(plan_told(monkeypatch, capfd, "--memory", "0.01", "--json").out)
    fitting = float(re.search(r"(\d+) MB would fit", told[0]["error"])[1])
    told = json.loads(plan_told(monkeypatch, capfd, "--memory", str(fitting / 1e3), "--json").out)
    assert "error" not in told[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "big"), "--size 'big' is not HEIGHTxWIDTH"),
        (("--memory", "-1"), "'--memory': -1 is out of range: give a finite number above 0"),
        (("--device", "gpu"), "--device 'gpu' is unknown"),
        (("--prior", "nothing"), "--prior 'nothing' is unknown"),
        (("--prior", "own.py:prior"), "the memory of a prior of your own cannot be counted"),
        (("--dtype", "bfloat16"), "--dtype 'bfloat16' needs a --prior"),
    ],
)
def test_info_refuses_bad_plans(monkeypatch, capfd, words, message):
    answer = visionxl(monkeypatch, capfd, "info", "--plan", *words)
    assert answer.code == 2
    assert message in answer.err.replace("\n", " ")


def test_parts_of_the_autoencoder_wait_for_one_another(small):
    """One frame at a time: the other frames of the call are videos, as they are in the loop."""
    one, parts = (
        estimate(small, plan, 64, 64, 6).decode
        for plan in (MemoryPlan(1), MemoryPlan(6, vae_frames=1))
    )
    assert one == parts


def test_buffers_are_weights_too():
    norm = torch.nn.BatchNorm2d(4)  # a mean and a variance beside its two weights, and a count
    assert weight_bytes(norm) == 4 * 4 * 4 + 8
    assert weight_bytes(norm, torch.float64) == 4 * 4 * 8 + 8


def test_strips_never_get_smaller_than_the_least():
    assert MemoryPlan(offload=True, vae_tile=100).smaller().vae_tile == 64
    assert MemoryPlan(offload=True, vae_tile=64).smaller() is None


def test_a_call_of_few_frames_is_not_tried_again_with_as_many():
    told = []
    cramped = Cramped(GaussianPrior.natural(16, 16), 1, "decode", ERRORS[1])
    persistent = Persistent(cramped, MemoryPlan(16), tell=told.append)
    persistent.decode(torch.zeros(2, 3, 16, 16))
    assert persistent.plan == MemoryPlan(1)
    assert len(told) == 1


def test_methods_with_gradients_are_given_no_strips():
    small_prior = benchmark.stable_diffusion()
    given = small_prior, 128, 96, 3
    found = {p.vae_tile for p, _ in plans(*given, sampler=latent_dps(), device="cuda")}
    assert found == {None}
    assert {p.vae_tile for p, _ in plans(*given, device="cuda")} != {None}
    persistent = Persistent(small_prior, MemoryPlan(1, vae_frames=1, offload=True))
    latent = torch.zeros(1, 4, 8, 12)
    assert persistent._smaller(latent.clone().requires_grad_()) is None
    assert persistent._smaller(latent) is not None


@pytest.mark.parametrize("method", [dds, ddnm])
def test_a_count_says_nothing_of_results_that_nobody_sees(method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_held(method(count=7), TASKS["deblur+"], 25).consistency > 0


def test_a_network_that_two_priors_share_comes_back_from_the_others_turns():
    prior = evolve(benchmark.stable_diffusion(), guidance=None)
    tiny = evolve(prior, codec=evolve(prior.codec, vae=deepcopy(prior.codec.vae)))
    one = Persistent(prior, MemoryPlan(offload=True), device="meta")
    other = Persistent(tiny, MemoryPlan(), device="meta")
    latent, video = (x.to("meta") for x in latents_and_video())
    level = prior.schedule.level(0.1)
    one.decode(latent)
    assert where(prior.unet) == {"cpu"}  # it waits while the autoencoder works
    other.denoise(latent, level)
    other.encode(video)
    assert where(prior.unet) == {"meta"}
    one.decode(latent)
    assert where(prior.unet) == {"cpu"}  # and its weights are still there
    one.denoise(latent, level)
    assert where(prior.unet) == {"meta"}


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "FIND was unable to find an engine to execute this computation",
    ],
)
def test_what_libraries_say_of_a_full_gpu_is_understood(words):
    assert ran_out_of_memory(RuntimeError(words))


def test_a_call_of_one_frame_that_fails_does_not_only_lower_the_frames_at_once():
    """A start has one frame in a call: four at once instead of eight would fail alike."""
    persistent = Persistent(benchmark.stable_diffusion(), MemoryPlan(8, vae_frames=1))
    one = persistent._smaller(torch.zeros(1, 4, 8, 12))
    many = persistent._smaller(torch.zeros(8, 4, 8, 12))
    assert one is not None
    assert many is not None
    assert (one.frames_at_once, one.vae_tile is not None) == (1, True)
    assert (many.frames_at_once, many.vae_tile) == (4, None)


def test_weights_that_wait_keep_their_order(monkeypatch):
    weight = torch.rand(8, 4, 3, 3).to(memory_format=torch.channels_last)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    assert _waiting(weight, torch.device("cuda")).stride() == weight.stride()

    def refused(_):
        raise RuntimeError("no more pages can be locked")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refused)
    assert torch.equal(_waiting(weight, torch.device("cuda")), weight)


@pytest.mark.parametrize("name", ["blur-varying", "rolling", "bracket", "drop"])
def test_every_task_is_counted_in_seconds(name):
    held = count_held(vision_xl(), task_named(name), 25)
    assert 2 < held.consistency < 30
