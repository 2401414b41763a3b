"""What to say of the noise of a measurement that a lossy codec wrote.

    python benchmarks/codec.py [CLIP...] --task deblur --task deblur+ --frames 9 --size 128x192

Each clip is measured with little noise, written by H.264 at several qualities (``crf``: 10 is very
good, 18 looks like the original, 28 is poor), read again and restored with the default method, told
several noises. Beside it stand the measurement itself, lifted, and what the same method makes of it
without the codec. The clip is the package's if none is given. PSNR in dB.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import torch
from clips import name_of, sized
from words import count, frame_size

from visionxl import InverseProblem, PocketPrior, Video, restore, simulate, vision_tv
from visionxl.metrics import psnr
from visionxl.operators import TASKS, lift
from visionxl.video import DEMO_CLIP, read_clip, to_pictures

QUALITIES = (10, 18, 28)
NOISE = 0.002  # that the measurement has before the codec: about that of rounding to 8 bits
TOLD = (0.0023, 0.01, 0.03, 0.05, 0.07, 0.1)


def through_codec(video: Video, crf: int) -> Video:
    """The video as H.264 leaves it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w") as container:
            options = {"crf": str(crf), "x264-params": "threads=1"}
            stream = container.add_stream("libx264", 25, options=options)
            stream.height, stream.width = video.shape[-2:]
            stream.pix_fmt = "yuv420p"
            for picture in to_pictures(video):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return read_clip(path).video


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, default=[DEMO_CLIP], metavar="CLIP")
    parser.add_argument("--task", action="append", choices=list(TASKS))
    parser.add_argument("--crf", action="append", type=int)
    parser.add_argument("--frames", type=count, default=9)
    parser.add_argument("--size", type=frame_size(8), default=(128, 192), metavar="HEIGHTxWIDTH")
    arguments = parser.parse_args()
    height, width = arguments.size
    prior, sampler = PocketPrior.load(), vision_tv()
    columns = ("lossless", "measurement", "error", *(f"told {told}" for told in TOLD))
    print(f"{'clip, task, crf':28}" + "".join(f"{c:>13}" for c in columns))
    for path in arguments.clips:
        truth = sized(path, arguments.frames, height, width).video
        for task in arguments.task or ["deblur", "deblur+"]:
            generator = torch.Generator().manual_seed(0)
            operator = TASKS[task](len(truth), truth.shape[-2], truth.shape[-1], generator)
            seen = simulate(truth, operator, NOISE, generator=generator)

            def restored(problem: InverseProblem, truth: Video = truth) -> float:
                chance = torch.Generator().manual_seed(0)
                return psnr(restore(problem, prior, sampler, generator=chance).video, truth)

            lossless = restored(seen)
            for crf in arguments.crf or QUALITIES:
                coded = through_codec(seen.measurement, crf)
                error = (coded - operator.forward(truth)).square().mean().sqrt().item()
                found = [restored(InverseProblem(operator, coded, told)) for told in TOLD]
                row = f"{name_of(path)}, {task}, {crf}"
                before = psnr(lift(operator, coded), truth)
                print(f"{row:28}{lossless:13.2f}{before:13.2f}{error:13.4f}", end="")
                print("".join(f"{figure:13.2f}" for figure in found), flush=True)


if __name__ == "__main__":
    main()
