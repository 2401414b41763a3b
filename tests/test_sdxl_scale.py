"""The benchmark of SDXL's cost: the count is right, and the miniature runs as SDXL would."""

import json
import math
import operator
from functools import partial
from pathlib import Path

import pytest
import scale.measuring
import sdxl_scale
import sdxl_tables
import torch
from attrs import evolve
from command_line import Answer
from scale.counting import META, Through, cost_of, frames_of, run_flop, stage_costs
from scale.networks import build, configuration, in_usual_order
from scale.records import Record, Setup
from scale.rows import ROWS, Bounded
from scale.tables import bars, growth, off_line
from scale.watching import Stage, Watch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from visionxl import Correction
from visionxl.priors.normalising import LargeGroupNorm
from visionxl.protocols import NoiseLevel

ONE = "--toy --device cpu --size 32x32 --frames 1"
TOY = "--toy --device cpu --size 32x32 --frames 2"


def bench(capsys, words: str) -> Answer:
    """Run ``python benchmarks/sdxl_scale.py WORDS``."""
    capsys.readouterr()
    code = 0
    try:
        sdxl_scale.main(words.split())
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return Answer(code, captured.out, captured.err)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The count of the paper's headline, from the command."""
    path = tmp_path_factory.mktemp("count") / "out.json"
    words = "--count --height 768 --width 1280 --frames 25 --json"
    sdxl_scale.main([*words.split(), str(path)])
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def toy():
    """The miniature on the meta device."""
    return build(configuration(True), META, torch.float16)


@pytest.fixture(scope="module")
def costs(toy):
    return stage_costs(toy, 64, 96)


def test_the_networks_have_the_published_parameters(counted):
    expected = {"unet": 2_567_463_684, "autoencoder": 83_653_863, "tiny_autoencoder": 2_445_063}
    assert counted["parameters"] == expected
    assert counted["weight_bytes"] == 2 * (expected["unet"] + expected["autoencoder"])


def test_the_whole_run_is_its_stages(counted):
    names = {stage: stage.replace(" ", "_") for stage in ("encode", "denoise", "decode")}
    names |= {f"tiny {stage}": f"tiny_{stage}" for stage in ("encode", "decode")}
    for row, through in counted["frames_through"].items():
        total = sum(n * counted[f"{names[s]}_flop"] for s, n in through.items() if s in names)
        assert counted[f"{row.replace('-', '_')}_flop"] == total


def test_each_row_saves_on_the_one_before(counted):
    rows = ("paper", "exact", "fast", "default_fast")
    paper, exact, fast, both = (counted[f"{row}_flop"] for row in rows)
    assert paper > exact > fast > both
    through = counted["frames_through"]
    saved = through["paper"]["denoise"] - through["exact"]["denoise"]
    assert paper - exact == saved * counted["denoise_flop"]


def test_no_activation_is_as_large_as_the_scores_of_attention(counted):
    tokens = 96 * 160 // 4  # of the U-Net's first attention, with 10 heads
    assert counted["denoise_activation_bytes"] < 2 * 10 * tokens**2
    pixels = 768 * 1280
    least = 2 * 2 * 256 * pixels  # the decoder's last layers turn 256 channels of a frame to others
    assert least <= counted["decode_activation_bytes"] < 5e9


@pytest.mark.parametrize("frames", [1, 2, 25])
def test_frames_through_the_stages(frames):
    steps, n = 8, frames
    # The start's frame is inverted alone: 8 evaluations as published, 7 between 8 levels.
    twice = 2 * (steps * n + steps)
    assert frames_of("paper", n) == {
        "encode": (steps - 1) * n + 1,
        "denoise": twice,
        "decode": steps * n,
        "consistency": steps * n,
    }
    exact = {"encode": (steps - 1) * n + 1, "denoise": steps * n + 7, "decode": steps * n}
    assert frames_of("exact", n) == {**exact, "consistency": steps * n}
    assert frames_of("fast", n) == {
        "tiny encode": exact["encode"],
        "denoise": exact["denoise"],
        "tiny decode": (steps - 1) * n,
        "decode": n,
        "consistency": steps * n,
    }
    # Four steps; the start corrects, encodes and inverts every frame, the finish corrects it.
    assert frames_of("default", n) == {
        "encode": 4 * n,
        "denoise": 5 * n,
        "decode": 4 * n,
        "consistency": 6 * n,
    }


@pytest.mark.parametrize("row", ROWS)
def test_the_count_is_linear_in_frames(row, costs):
    one, two, ten = (run_flop(frames_of(row, n), costs) for n in (1, 2, 10))
    assert ten - one == 9 * (two - one) > 0


def test_flop_of_a_convolution_and_a_linear_layer():
    conv = nn.Conv2d(3, 5, 3, padding=1, device=META)
    frame = torch.empty(1, 3, 8, 12, device=META)
    assert cost_of(lambda: conv(frame)).flop == 2 * 8 * 12 * 5 * 3 * 9
    linear = nn.Linear(7, 11, device=META)
    assert cost_of(lambda: linear(torch.empty(4, 7, device=META))).flop == 2 * 4 * 7 * 11


def test_attention_counts_its_products_and_holds_its_result_alone():
    q, k, v = (torch.empty(1, 2, n, 16, device=META) for n in (50, 30, 30))
    cost = cost_of(lambda: scaled_dot_product_attention(q, k, v))
    assert cost.flop == 2 * (2 * 50 * 30 * 16) * 2  # heads, scores and mixture
    assert cost.activation_bytes == q.nbytes


@pytest.mark.parametrize("stage", ["denoise", "decode", "encode", "tiny decode", "tiny encode"])
def test_the_networks_count_is_that_of_their_layers(stage, toy, costs):
    """Layer by layer: convolutions, linear layers and the two products of each attention."""
    prior = toy.tiny if stage.startswith("tiny") else toy.full
    total, handles = [], []

    def of_layer(layer, given, answer):
        if isinstance(layer, nn.Conv2d):
            total.append(2 * answer.numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.Linear):
            total.append(2 * answer.numel() * layer.in_features)

    def of_attention(layer, arguments, keywords, answer):
        queries = math.prod(answer.shape[-2:]) if answer.ndim == 4 else answer.shape[-2]
        context = keywords.get("encoder_hidden_states")
        keys = queries if context is None else context.shape[-2]
        total.append(4 * queries * keys * layer.inner_dim)

    for module in (prior.unet, prior.codec.vae):
        for layer in module.modules():
            if type(layer).__name__ == "Attention":
                handles.append(layer.register_forward_hook(of_attention, with_kwargs=True))
            else:
                handles.append(layer.register_forward_hook(of_layer))
    video, latent = torch.empty(1, 3, 64, 96, device=META), torch.empty(1, 4, 8, 12, device=META)
    if stage == "denoise":
        prior.denoise(latent, prior.schedule.level(0.1))
    else:
        action = operator.methodcaller(stage.split()[-1], video if "encode" in stage else latent)
        action(prior)
    for handle in handles:
        handle.remove()
    assert costs[stage].flop == sum(total)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The miniature's file, from the command."""
    path = tmp_path_factory.mktemp("toy") / "out.json"
    sdxl_scale.main([*TOY.split(), "--frames-at-once", "2", "--json", str(path)])
    return path


def test_the_miniature_runs_every_row_to_its_end(measured):
    told = json.loads(measured.read_text())
    assert [record["row"] for record in told["records"]] == list(ROWS)
    assert all(record["error"] is None for record in told["records"])
    for record in told["records"]:
        through = {k: s["frames"] for k, s in record["stages"].items() if k != "rest"}
        assert through == frames_of(record["row"], 2)
        assert all(stage["seconds"] > 0 for stage in record["stages"].values())
        assert record["iterations"] > 0 or record["row"] in ("exact", "fast")  # in closed form


def test_a_second_run_measures_nothing_again(capsys, measured):
    before = measured.read_text()
    answer = bench(capsys, f"{TOY} --frames-at-once 2 --json {measured}")
    assert answer.code == 0
    assert answer.err == ""
    assert measured.read_text() == before
    for title in ("Whole runs", "Seconds by stage", "Peak GB by stage", "Bars"):
        assert f"## {title}\n" in answer.out
    assert "not measured" in answer.out
    assert not any(line.endswith("met") for line in answer.out.splitlines())


def test_a_row_that_fails_tells_it_and_the_next_goes_on(capsys, tmp_path, monkeypatch):
    exact = ROWS["exact"]

    def hungry(run):
        if isinstance(run.prior, Through):  # the count
            return exact(run)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried | much\nmore words")

    monkeypatch.setitem(ROWS, "exact", hungry)
    path = tmp_path / "out.json"
    answer = bench(capsys, f"{ONE} --row exact --row fast --json {path}")
    assert answer.code == 0
    failed, whole = json.loads(path.read_text())["records"]
    assert failed["error"] == "OutOfMemoryError: CUDA out of memory. Tried | much"
    assert whole["error"] is None
    assert "CUDA out of memory. Tried / much" in answer.out
    monkeypatch.undo()
    # The same command again makes the row that failed, and only that one.
    answer = bench(capsys, f"{ONE} --row exact --row fast --json {path}")
    assert answer.err.count("\n") == 1
    assert {r["row"]: r["error"] for r in json.loads(path.read_text())["records"]} == {
        "exact": None,
        "fast": None,
    }


def test_another_setup_does_not_go_into_the_same_file(capsys, measured):
    answer = bench(capsys, f"{TOY} --frames-at-once 1 --json {measured}")
    assert answer.code == 2
    assert "frames_at_once 2" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--dtype float17", "did you mean 'float16'?"),
        ("--size 100x64", "'100' is not a multiple of 32 from 32: give one, such as 96"),
        ("--height 769", "'769' is not a multiple of 32"),
        ("--size 768", "such as 768x1280"),
        ("--size 64x64 --height 64", "--size stands for --height and --width"),
        ("--frames 0", "'0' is not a whole number from 1"),
        ("--row papr", "did you mean 'paper'?"),
        ("--device nowhere", "'nowhere' is no device of this machine"),
        ("--device meta", "'meta' is no device of this machine"),
        ("--count --frames 1 --frames 2", "give one size and one number of frames"),
        ("--json out.txt", "call it out.json"),
        ("--json missing/out.json", "there is no folder"),
    ],
)
def test_bad_input_is_told_in_a_sentence(capsys, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = bench(capsys, f"--toy {words}")
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"setup": {}, "records": []}'])
def test_a_file_of_something_else_stays(capsys, text, tmp_path):
    path = tmp_path / "out.json"
    path.write_text(text)
    answer = bench(capsys, f"{TOY} --json {path}")
    assert answer.code == 2
    assert "holds no records of this benchmark" in answer.err
    assert path.read_text() == text


SETUP = Setup(
    device="cuda (a GPU)",
    dtype="float16",
    toy=False,
    frames_at_once=1,
    video_device="cpu",
    vae_frames=1,
    compiled=False,
    version="0",
    torch="0",
)


def record(
    row="exact", frames=25, seconds=10.0, peak=8_000_000_000, floor=5.0, share=0.04, error=None
):
    return Record(
        row=row,
        height=768,
        width=1280,
        frames=frames,
        flop=10**15,
        matmul_rate=10**15 / floor,
        warm_up_seconds=0.0,
        iterations=0,
        stages={
            "denoise": Stage(frames, seconds / 2, peak),
            "consistency": Stage(frames, share * seconds, peak // 2),
            "rest": Stage(0, (0.5 - share) * seconds, peak // 2),
        },
        error=error,
    )


def verdicts(records, setup=SETUP):
    return {bar.claim.split()[0]: bar.met for bar in bars(setup, records)}


def series(**changes):
    """Runs that meet every bar: affine in frames, of one peak."""
    sizes = {n: {"seconds": 1 + 0.4 * n, "floor": 0.2 * n} for n in (25, 100, 200)}
    for name, values in changes.items():
        for n, value in zip(sizes, values, strict=True):
            sizes[n][name] = value
    own = [record(frames=n, **told) for n, told in sizes.items()]
    return [*own, *(record("paper", r.frames, 4 * (1 + 0.4 * r.frames)) for r in own)]


def test_every_bar_can_be_met():
    assert set(verdicts(series()).values()) == {True}


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("peak", {"peak": [9_100_000_000] * 3}),
        ("4", {"seconds": [11.01, 41, 81]}),
        ("within", {"floor": [4.3, 20, 40]}),
        ("time", {"seconds": [11, 36, 81]}),
        ("memory", {"peak": [8_000_000_000, 8_000_000_000, 8_250_000_000]}),
        ("consistency", {"share": [0.04, 0.051, 0.04]}),
    ],
)
def test_each_bar_can_be_missed_alone(claim, changes):
    found = verdicts(series(**changes))
    assert found.pop(claim) is False
    assert set(found.values()) == {True}


def test_only_whole_runs_of_the_full_size_on_a_gpu_meet_a_bar():
    for setup in (evolve(SETUP, toy=True), evolve(SETUP, device="cpu")):
        assert set(verdicts(series(), setup).values()) == {None}
    assert set(verdicts([*series(), record(frames=5, error="out of memory")]).values()) == {None}
    assert set(verdicts([record()]).values()) == {True, None}  # nothing to compare with


def test_distance_from_a_line():
    assert off_line([record(seconds=s, frames=f) for f, s in ((1, 3.0), (2, 5.0))]) is None
    exact = [record(seconds=3 + 2 * f, frames=f) for f in (1, 5, 25, 100)]
    assert off_line(exact) < 1e-12
    bent = [*exact, record(seconds=2 * (3 + 2 * 200), frames=200)]
    assert off_line(bent) > 0.1


def test_growth_looks_at_25_frames_and_more():
    told = [record(frames=f, peak=p) for f, p in ((1, 1000), (25, 2000), (200, 2100))]
    assert growth(told) == pytest.approx(0.05)


def test_every_second_of_a_watch_belongs_to_a_stage(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0, 6.0])
    monkeypatch.setattr("scale.watching.time.perf_counter", lambda: next(clock))
    watch = Watch(torch.device("cpu"))
    with watch.stage("decode", frames=3):
        pass
    watch.end("rest")
    assert watch.stages["decode"].seconds == 3.0
    assert watch.stages["decode"].frames == 3
    assert watch.stages["rest"].seconds == 3.0
    assert watch.seconds == 6.0


def test_the_peak_of_a_stage_is_its_own():
    watch = Watch(torch.device("cpu"))
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system cannot set the mark of memory back")
    with watch.stage("large", 1):
        torch.ones(100 * 2**20, dtype=torch.uint8).sum()
    with watch.stage("small", 1):
        torch.ones(2**10).sum()
    large, small = (watch.stages[name].peak_bytes for name in ("large", "small"))
    assert large - small > 80 * 2**20
    assert watch.peak_bytes == large


def test_the_rate_of_matrix_products_is_of_this_machine():
    rate = scale.measuring.matmul_rate(torch.device("cpu"), torch.float32, seconds=0.0)
    assert 1e8 < rate < 1e15


class Wild:
    def correct(self, estimate, problem, level):
        video = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.5])
        return Correction(video.view(1, 1, 2, 2), 1, (), "")


def test_a_divergent_peer_stays_finite():
    answer = Bounded(Wild()).correct(None, None, NoiseLevel(0.1, 0.9, 0.1))
    assert answer.video.flatten().tolist() == [0.0, 1.0, -1.0, 0.5]


def test_random_networks_are_finite_and_the_same_every_time():
    config, cpu = configuration(True), torch.device("cpu")
    first, second = (build(config, cpu, torch.float16) for _ in range(2))
    video = torch.rand(1, 3, 32, 32) * 2 - 1
    for networks in (first.full, first.tiny):
        latent = networks.encode(video)
        clean = networks.denoise(latent, networks.schedule.level(0.281)).clean
        decoded = networks.decode(clean)
        assert decoded.abs().max() < 3
        assert networks.evaluations == 1
    for a, b in zip(first.full.unet.parameters(), second.full.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.get_default_dtype() == torch.float32


def test_the_papers_networks_have_the_usual_order_of_values_and_then_ours_again():
    """As published code has them; the results are the same to rounding."""
    networks = build(configuration(True), torch.device("cpu"), torch.float32)
    vae, unet = networks.full.codec.vae, networks.full.unet
    weights = [vae.decoder.conv_in.weight, unet.conv_in.weight]
    latent = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    level = networks.full.schedule.level(0.2)

    def answers():
        return networks.full.decode(latent), networks.full.denoise(latent, level).clean

    def last_in_memory():
        return {tensor.is_contiguous(memory_format=torch.channels_last) for tensor in weights}

    given = []
    hook = vae.decoder.conv_in.register_forward_pre_hook(lambda _, x: given.append(x[0].stride()))
    ours = answers()
    with in_usual_order(networks):
        theirs = answers()
        assert last_in_memory() == {False}
        assert LargeGroupNorm not in map(type, vae.modules())
    assert last_in_memory() == {True}
    assert LargeGroupNorm in map(type, vae.modules())
    again = answers()
    hook.remove()
    assert given[0] == given[2] != given[1]  # what the layers are handed, too
    for mine, other, after in zip(ours, theirs, again, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
        assert torch.equal(mine, after)


def test_one_process_measures_every_setup(capsys, tmp_path, monkeypatch):
    eager = partial(scale.measuring.compiled, backend="eager")
    monkeypatch.setattr(scale.measuring, "compiled", eager)
    few = [("host", "paper"), ("device", "fast"), ("device-compiled", "fast")]
    monkeypatch.setattr(sdxl_tables, "cases", lambda toy: [(*one, 32, 32, 1) for one in few])
    words = [str(tmp_path), "--toy", "--device", "cpu"]
    sdxl_tables.main(words)
    capsys.readouterr()
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert {name: told["setup"]["compiled"] for name, told in files.items()} == {
        "host": False,
        "device": False,
        "host-compiled": True,
        "device-compiled": True,
    }
    for name, told in files.items():
        own = ["fast"] if "device" in name else []
        assert [record["row"] for record in told["records"]] == ["paper", *own]
        assert all(record["error"] is None for record in told["records"])
    sdxl_tables.main(words)
    answer = capsys.readouterr()
    assert answer.err == ""  # nothing is measured again
    assert answer.out.count("| fast |") == 2 * 3  # of three tables


def test_the_tables_have_every_row_and_no_case_twice():
    for toy in (True, False):
        found = list(sdxl_tables.cases(toy))
        assert len(set(found)) == len(found)
        assert {row for _, row, *_ in found} == set(ROWS)
