"""What each part of VISION-XL (Kwon & Ye, arXiv 2412.00156) is worth.

    python benchmarks/ablations.py NAME [CLIP] --json out.json --plot out.svg

The base is the paper's recipe, ``vision_xl(consistency=PlainCG(10))``. An ablation varies one part
of it and leaves the others as they are:

    start        where the loop starts
    time         the latest time, tau
    cg           steps of conjugate gradients, with and without noise
    low-pass     none, scheduled, or of one width
    renoise      the share of fresh noise, one draw for all frames or one for each
    guidance     the scale of CFG++, of a prior that reads text: --prior and --prompt name both
    adjoint      the exact adjoint, or the one that the public code has
    noise-aware  consistencies that know the noise
    motion       the default's loop, with and without motion and prior, started without motion
    choices      the default's loop with other numbers in its consistency
    inversion    the default's loop, started with fewer evaluations
    finish       the default with other finishes, or none
    bend         the default with Huber's function, by where it bends
    iterations   the default with fewer and more iterations

The default's loop is vision_tv() without its finish.

Every setting is run once, with seed 0. Printed are the PSNR and the PSNR of the frame differences,
both in dB (docs/metrics). The file of records is written whole after every run.
"""

import json
import sys
import time
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ablation_plot import plot
from ablation_settings import ABLATIONS, Setting
from attrs import evolve
from clips import sized
from options import add_case
from peers.case import Case
from peers.published import FRAMES_AT_ONCE, PublishedOperator, generator_of
from results import number
from words import Parser, one_of

from visionxl import DiffusersPrior, InputError, PocketPrior, restore
from visionxl.cli.priors import prior_named
from visionxl.files import check_output, whole
from visionxl.metrics import difference_psnr, psnr
from visionxl.video import DEMO_CLIP


def measured(case: Case, setting: Setting, prior: DiffusersPrior) -> dict[str, Any]:
    """One record, without the ablation's name; a PSNR that is not finite is None."""
    problem = case.problem
    if setting.guidance is not None:
        prior = evolve(prior, guidance=setting.guidance)
    if setting.published:
        problem = evolve(problem, operator=PublishedOperator(problem.operator))
    began = time.perf_counter()
    video = restore(
        problem,
        prior,
        setting.sampler,
        generator=generator_of(case),
        frames_at_once=FRAMES_AT_ONCE,
    ).video
    return {
        "setting": setting.name,
        "task": case.task,
        "noise": case.noise,
        "psnr": number(psnr(video, case.truth), 3),
        "difference_psnr": number(difference_psnr(video, case.truth), 3),
        "seconds": round(time.perf_counter() - began, 3),
    }


def prior_of(options: Namespace) -> DiffusersPrior:
    """The pocket prior, or the one that is named, told the prompt."""
    if options.name == "guidance" and not (options.prior and options.prompt):
        raise InputError(
            "guidance needs a prior that reads text, and a text: give --prior, a folder or hub id, "
            "and --prompt"
        )
    if options.prior is None:
        return PocketPrior.load()
    prior = prior_named(options.prior, options.device, options.dtype, prompt=options.prompt)
    if not isinstance(prior, DiffusersPrior):
        raise InputError(f"--prior {options.prior!r} is a flow model: give one with a U-Net")
    return prior


def records_of(options: Namespace) -> Iterator[dict[str, Any]]:
    """Run an ablation: every task, noise and setting, in this order."""
    ablation, prior = ABLATIONS[options.name], prior_of(options)
    clip = sized(options.clip, options.frames, options.height, options.width).video
    for task in options.task:
        for noise_std in options.noise:
            case = Case.make(clip, task, noise_std, seed=0)
            for setting in ablation.settings:
                yield {"ablation": options.name, **measured(case, setting, prior)}


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each record."""
    heads = ("setting", "task", "noise", "psnr", "difference_psnr", "seconds")
    rows = [heads, ("---",) * len(heads)]
    rows += [["-" if r[h] is None else str(r[h]) for h in heads] for r in records]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def options_of(words: Sequence[str]) -> Namespace:
    """The command's words; the ablation's noises where none is asked for."""
    made = Parser(
        prog="ablations.py",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("name", metavar="NAME", type=one_of(list(ABLATIONS)))
    made.add_argument("clip", metavar="CLIP", nargs="?", type=Path, default=DEMO_CLIP)
    add_case(made)
    made.add_argument("--json", type=Path, metavar="FILE", help="for the records")
    made.add_argument("--plot", type=Path, metavar="FILE", help="a .svg or .png")
    options = made.parse_intermixed_args(words)
    options.task = list(dict.fromkeys(options.task or ("deblur+", "sr4+", "inpaint+")))
    options.noise = sorted(set(options.noise or ABLATIONS[options.name].noises))
    for path, suffixes in ((options.json, (".json",)), (options.plot, (".svg", ".png"))):
        if path is None:
            continue
        if path.suffix not in suffixes:
            made.error(f"{str(path)!r} is no {' or '.join(suffixes)} file: give another name")
        try:
            check_output(path, overwrite=path.is_file())
        except InputError as error:
            made.error(str(error))
    return options


def main(words: Sequence[str] | None = None) -> None:
    options = options_of(sys.argv[1:] if words is None else words)
    records = []
    try:
        for record in records_of(options):
            records.append(record)
            print(*record.values(), file=sys.stderr, flush=True)
            if options.json:
                with whole(options.json) as partial:
                    partial.write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
        if options.plot:
            plot(options.plot, ABLATIONS[options.name], records)
    except InputError as error:
        print(f"ablations.py: {error}", file=sys.stderr)
        sys.exit(2)
    print(table(records), end="")


if __name__ == "__main__":
    main()
