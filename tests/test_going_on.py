"""Going on from a state, a quicker prior for the inner steps, and values that are not finite."""

import math

import pytest
import torch
from attrs import evolve, frozen
from dense import generator

from visionxl import (
    Correction,
    Denoised,
    GaussianPrior,
    InputError,
    NotFiniteError,
    restore,
    simulate,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.operators import AveragePool, TemporalAverage
from visionxl.solvers.finite import check_finite

PRIOR = GaussianPrior.natural(8, 8)
TRUTH = PRIOR.sample(5, 3, generator())
PROBLEM = simulate(TRUTH, AveragePool(2) @ TemporalAverage(3), 0.05, generator=generator(1))
SAMPLER = vision_xl()
LAST = len(SAMPLER.times) - 1


def states():
    found = [s.following for s in trajectory(PROBLEM, PRIOR, SAMPLER, generator=generator())]
    assert found.pop() is None
    return found


# A state


@pytest.mark.parametrize("state", states(), ids=lambda state: f"before step {state.index}")
def test_a_run_goes_on_to_the_same_bits(state):
    whole = restore(PROBLEM, PRIOR, SAMPLER, generator=generator())
    other_chance = generator(7)  # what it has drawn before does not matter
    rest = restore(PROBLEM, PRIOR, SAMPLER, generator=other_chance, state=state)
    assert torch.equal(rest.video, whole.video)
    assert [r.index for r in rest.trace] == list(range(state.index, LAST + 1))
    assert rest.trace[-1].data_residual == whole.trace[-1].data_residual


def test_a_state_of_a_longer_run_is_refused():
    with pytest.raises(InputError, match=r"state is before step 7.*steps 0 to 3"):
        restore(PROBLEM, PRIOR, vision_xl(count=13), generator=generator(), state=states()[-1])


# A quicker prior for the inner steps


@frozen(eq=False)
class Counted:
    """A prior that lists which of its methods ran."""

    calls: list
    prior: GaussianPrior = PRIOR

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video):
        self.calls.append("encode")
        return self.prior.encode(video)

    def decode(self, latent):
        self.calls.append("decode")
        return self.prior.decode(latent)

    def denoise(self, latent, level):
        self.calls.append("denoise")
        return self.prior.denoise(latent, level)


@pytest.mark.parametrize("state", [None, *states()[::3]])
def test_the_inner_prior_makes_every_step_but_the_last(state):
    quick, full = Counted([]), Counted([])
    options = {"generator": generator(), "frames_at_once": 5, "state": state}
    found = restore(PROBLEM, full, SAMPLER, inner=quick, **options)
    assert full.calls == ["denoise", "decode"]
    steps = LAST - (0 if state is None else state.index)
    assert quick.calls[len(quick.calls) - 3 * steps :] == ["denoise", "decode", "encode"] * steps
    expected = restore(PROBLEM, PRIOR, SAMPLER, generator=generator())
    assert torch.equal(found.video, expected.video)
    assert found.trace[-1].index == LAST


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
def test_a_method_of_one_step_leaves_the_inner_prior_alone():
    quick = Counted([])
    sampler = evolve(SAMPLER, times=(0.1,))
    restore(PROBLEM, PRIOR, sampler, inner=quick, generator=generator())
    assert quick.calls == []


# Values that are not finite


@frozen(eq=False)
class Broken:
    """A prior whose stage answers one bad value in one frame, the ``call``-th time it runs."""

    stage: str
    value: float
    call: int
    calls: list
    dtypes: dict

    @property
    def schedule(self):
        return PRIOR.schedule

    def spoiled(self, stage, answer):
        if stage == self.stage:
            self.calls.append(stage)
            if len(self.calls) == self.call:
                answer = answer.clone()
                answer[0, 0, 2, 3] = self.value
        return answer

    def encode(self, video):
        return self.spoiled("encode", PRIOR.encode(video))

    def decode(self, latent):
        return self.spoiled("decode", PRIOR.decode(latent))

    def denoise(self, latent, level):
        answer = PRIOR.denoise(latent, level)
        return Denoised(self.spoiled("denoise", answer.clean), answer.noise)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("stage", "call", "step", "frame"),
    [
        ("encode", 1, None, 0),  # of the start, which encodes one frame
        ("encode", 1 + 5 + 3, 1, 2),
        ("decode", 4, 0, 3),
        ("denoise", 7 + 5 + 2, 1, 1),  # the inversion is seven evaluations of one frame
    ],
)
def test_a_network_that_answers_no_number_is_named(stage, call, step, frame, value):
    dtypes = dict.fromkeys(("encode", "decode", "denoise"), torch.float16)
    broken = Broken(stage, value, call, [], dtypes)
    with pytest.raises(NotFiniteError) as caught:
        restore(PROBLEM, broken, SAMPLER, generator=generator())
    error = caught.value
    assert (error.stage, error.step, error.frame, error.dtype) == (stage, step, frame, "float16")
    assert "bfloat16" in str(error)
    assert len(broken.calls) == call  # it stopped at once
    if stage in ("encode", "decode"):
        assert "sdxl-vae-fp16-fix" in str(error)


def spoil(tensor):
    answer = tensor.clone()
    answer[4, 0, 0, 0] = math.nan
    return answer


@frozen
class BrokenConsistency:
    def correct(self, estimate, problem, level):
        return Correction(spoil(estimate), 0, (), "exact")


PARTS = {
    "consistency": {"consistency": BrokenConsistency()},
    "low-pass": {"low_pass": lambda video, level: spoil(video)},
    "renoise": {"renoise": lambda clean, noise, level, generator: spoil(clean)},
}


@pytest.mark.parametrize("stage", PARTS)
def test_a_part_that_answers_no_number_is_named(stage):
    with pytest.raises(NotFiniteError, match=rf"{stage} answered.*step 0, frame 4, float64"):
        restore(PROBLEM, PRIOR, evolve(SAMPLER, **PARTS[stage]), generator=generator())


@frozen
class BrokenStart:
    def start(self, problem, prior, levels, generator):
        return spoil(prior.encode(problem.operator.adjoint(problem.measurement)))


def test_a_start_that_answers_no_number_is_named():
    with pytest.raises(NotFiniteError, match="start answered NaN or infinity \\(frame 4, float64"):
        restore(PROBLEM, PRIOR, evolve(SAMPLER, initializer=BrokenStart()), generator=generator())


@frozen
class BrokenOperator:
    """One without factors, one value of whose ``call``-th answer is none."""

    call: int
    calls: list
    operator: object = AveragePool(2) @ TemporalAverage(3)

    def spoiled(self, answer):
        self.calls.append(1)
        if len(self.calls) == self.call:
            answer = answer.clone()
            answer[1, 0, 1, 1] = math.nan
        return answer

    def forward(self, video):
        return self.spoiled(self.operator.forward(video))

    def adjoint(self, measurement):
        return self.spoiled(self.operator.adjoint(measurement))


@pytest.mark.parametrize("method", [vision_tv, vision_xl])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.77, 0.93])
def test_an_operator_that_answers_no_number_once_stops_the_run(share, method):
    """Wherever it is asked: for the start, inside a consistency, or for the residual."""
    counting = BrokenOperator(-1, [])
    restore(evolve(PROBLEM, operator=counting), PRIOR, method(count=5), generator=generator())
    call = max(1, round(share * len(counting.calls)))
    broken = evolve(PROBLEM, operator=BrokenOperator(call, []))
    with pytest.raises(InputError, match="NaN or infinity"):
        restore(broken, PRIOR, method(count=5), generator=generator())


@pytest.mark.parametrize("call", range(4, 22))
def test_a_probe_of_the_operator_that_answers_no_number_stops_the_run(call):
    """Its unit, its share, its holes: what is wrong there would be wrong in every step."""
    broken = evolve(PROBLEM, operator=BrokenOperator(call, []))
    with pytest.raises(InputError, match="NaN or infinity"):
        restore(broken, PRIOR, vision_tv(count=5), generator=generator())


@pytest.mark.parametrize("stage", ["denoise", "decode", "encode"])
def test_without_restore_the_stage_is_named_too(stage):
    dtypes = dict.fromkeys(("encode", "denoise", "decode"), torch.float64)
    broken = Broken(stage, math.nan, 1, [], dtypes)
    with pytest.raises(NotFiniteError, match=f"{stage} answered"):
        list(trajectory(PROBLEM, broken, SAMPLER, generator=generator()))


def test_large_finite_values_are_no_error():
    huge = torch.full((2, 1, 4, 4), 3e38)
    assert check_finite("decode", huge) is huge


def test_a_state_of_a_run_of_one_step_more_is_refused():
    state = evolve(states()[-1], index=LAST + 1)
    with pytest.raises(InputError, match=r"state is before step 8.*steps 0 to 7"):
        restore(PROBLEM, PRIOR, SAMPLER, generator=generator(), state=state)


@frozen(eq=False)
class Narrow(Counted):
    """A prior that decodes frames of half the width."""

    def decode(self, latent):
        return self.prior.decode(latent)[..., ::2]


def test_a_prior_of_another_size_is_told_where_a_run_goes_on_too():
    with pytest.raises(InputError, match=r"decode returned shape \(5, 3, 8, 4\)"):
        restore(PROBLEM, Narrow([]), SAMPLER, generator=generator(), state=states()[2])
