"""Videos whose frames come and go in pieces."""

from fractions import Fraction

import pytest
import torch
from command_line import moving_scene
from dense import generator
from safetensors import safe_open
from safetensors.torch import load_file

from visionxl import ForwardOperator, InverseProblem, simulate
from visionxl.errors import InputError
from visionxl.files import save_in_pieces
from visionxl.memory import LiveBytes
from visionxl.operators import TASK_NAMES, TASKS, Identity, Mask, task_named
from visionxl.sizes import cover
from visionxl.solvers.hosted_operator import pieces_of
from visionxl.solvers.long import simulate_long
from visionxl.solvers.residual import data_residual, residual_in_pieces
from visionxl.streaming import TensorFrames, VideoFrames, covering, masked
from visionxl.video import read_clip
from visionxl.writing import write_clip, write_pieces

VIDEO = moving_scene(frames=11, height=32, width=47)


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.safetensors", "x"])
@pytest.mark.parametrize("lengths", [[11], [1, 10], [4, 4, 3]])
def test_pieces_make_the_file_that_the_whole_video_makes(name, lengths, tmp_path):
    write_clip(tmp_path / f"whole-{name}", VIDEO, Fraction(24))
    path = tmp_path / name
    notes = write_pieces(path, lambda: iter(VIDEO.split(lengths)), 11, Fraction(24))
    assert bool(notes) == (name == "x.mp4")  # an odd width
    whole = tmp_path / f"whole-{name}"
    if path.is_dir():
        files = sorted(path.iterdir())
        assert [f.read_bytes() for f in files] == [(whole / f.name).read_bytes() for f in files]
        assert len(files) == 11
    else:
        assert path.read_bytes() == whole.read_bytes()


def test_the_tensor_file_is_safetensors(tmp_path):
    video = VIDEO.double() * 2
    write_pieces(tmp_path / "x.safetensors", lambda: iter(video.split(4)), 11, Fraction(24))
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("video"), video)
        assert file.metadata() == {"rate": "24"}


def test_a_piece_that_fails_leaves_nothing(tmp_path):
    def pieces():
        yield VIDEO[:3]
        raise OSError("disk")

    for name in ("x.mkv", "x.safetensors", "x"):
        with pytest.raises(InputError, match="disk"):
            write_pieces(tmp_path / name, pieces, 11, Fraction(24))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_a_tensor_are_read_where_they_are(tmp_path):
    write_clip(tmp_path / "x.safetensors", VIDEO, Fraction(24))
    frames = TensorFrames(tmp_path / "x.safetensors", "video")
    assert len(frames) == 11
    assert frames.shape == VIDEO.shape
    assert torch.equal(frames[8:11], VIDEO[8:11])
    assert torch.equal(frames[0:2], VIDEO[:2])


@pytest.mark.parametrize("name", ["x.mkv", "x"])
@pytest.mark.parametrize("kept", [1, 4, 100])
def test_frames_of_a_video_come_in_any_order(name, kept, tmp_path):
    write_clip(tmp_path / name, VIDEO, Fraction(24))
    whole = read_clip(tmp_path / name).video
    frames = VideoFrames(tmp_path / name, kept)
    assert len(frames) == 11
    for first, stop in [(8, 11), (0, 5), (3, 9), (3, 4), (9, 11), (0, 11), (5, 5)]:
        assert torch.equal(frames[first:stop], whole[first:stop])


def test_windows_that_go_forward_decode_a_file_once_more(tmp_path, monkeypatch):
    write_clip(tmp_path / "x.mkv", VIDEO, Fraction(24))
    frames = VideoFrames(tmp_path / "x.mkv", 6)
    begun = []
    begin = VideoFrames._begin
    monkeypatch.setattr(VideoFrames, "_begin", lambda self: (begun.append(1), begin(self)))
    for first in range(0, 8, 2):
        frames[first : first + 4]
    assert begun == []
    frames[0:1]
    assert begun == [1]


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "x.mkv").write_bytes(b"no")
    with pytest.raises(InputError, match="no video that can be read"):
        VideoFrames(tmp_path / "x.mkv", 4)
    with pytest.raises(InputError, match="does not exist"):
        VideoFrames(tmp_path / "y.mkv", 4)


@pytest.mark.parametrize("shape", [(32, 47), (1, 3, 32, 47), (11, 1, 32, 47)])
def test_frames_are_masked_by_the_mask_of_all_or_by_their_own(shape, tmp_path):
    write_clip(tmp_path / "x.safetensors", VIDEO, Fraction(24))
    mask = torch.rand(shape) < 0.5
    frames = masked(TensorFrames(tmp_path / "x.safetensors", "video"), mask)
    assert frames.shape == VIDEO.shape
    assert torch.equal(frames[3:7], Mask(mask).forward(VIDEO)[3:7])


# Measuring


class Counted:
    """Frames that come into being when they are asked for."""

    def __init__(self, frames: int, height: int = 32, width: int = 48) -> None:
        self.shape = (frames, 3, height, width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> torch.Tensor:
        drawn = [torch.rand(1, *self.shape[1:], generator=generator(t)) for t in self._of(frames)]
        return torch.cat(drawn) * 2 - 1

    def _of(self, frames: slice) -> range:
        assert 0 <= frames.start < frames.stop <= len(self)
        return range(frames.start, frames.stop)


@pytest.mark.parametrize("name", [*TASK_NAMES])
def test_a_long_clip_is_measured_as_a_short_one_is(name):
    source = Counted(30)
    operator = task_named(name)(30, 32, 48, generator())
    expected = simulate(source[0:30], operator, 0.05, generator=generator(3)).measurement
    found = torch.cat(list(simulate_long(source, operator, 0.05, generator=generator(3))))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if isinstance(operator, ForwardOperator):
        problem = InverseProblem(operator, expected, 0.05)
        residual = residual_in_pieces(pieces_of(operator, source), expected)
        assert residual == pytest.approx(data_residual(problem, source[0:30]), rel=1e-5)


def test_an_operator_that_does_not_tell_its_reach_sees_all_frames():
    class Backwards:
        def forward(self, video):
            return video.flip(0)

    found = list(simulate_long(Counted(40), Backwards(), generator=generator()))
    assert [torch.equal(piece, Counted(40)[0:40].flip(0)) for piece in found] == [True]


def test_measuring_takes_the_memory_of_a_few_frames():
    operator = TASKS["deblur+"](200, 32, 48, generator())
    peaks = []
    for frames in (40, 200):
        with LiveBytes() as live:
            for piece in simulate_long(Counted(frames), operator, 0.05, generator=generator()):
                del piece
        peaks.append(live.peak)
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 0.5 * Counted(200)[0:200].nbytes


def test_what_is_no_video_is_refused_before_it_is_measured():
    class Bright(Counted):
        """In units of 8 bits, and black at first."""

        def __getitem__(self, frames):
            levels = 127.5 * (super().__getitem__(frames) + 1)
            return levels if frames.stop > 30 else levels.new_zeros(levels.shape)

    with pytest.raises(InputError, match="127"):
        list(simulate_long(Bright(40), Identity(), generator=generator()))


def test_frames_are_covered_as_a_whole_clip_is(tmp_path):
    video = torch.rand(7, 3, 40, 60, generator=generator()) * 2 - 1
    write_clip(tmp_path / "x.safetensors", video, 25)
    frames = covering(TensorFrames(tmp_path / "x.safetensors", "video", 5), 24, 24)
    assert frames.shape == (5, 3, 24, 24)
    assert len(frames) == 5
    torch.testing.assert_close(frames[1:4], cover(video, 24, 24)[1:4])


def test_tensors_in_pieces_are_safetensors(tmp_path):
    values, mask = torch.randn(5, 2, 3), torch.tensor([1, 0, 1], dtype=torch.uint8)
    pieces = (values[:2], values[2:])
    save_in_pieces(tmp_path / "x.safetensors", "y", iter(pieces), 5, {"a": "b"}, {"mask": mask})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == {"y", "mask"}
    assert torch.equal(found["y"], values)
    assert torch.equal(found["mask"], mask)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"a": "b"}
    with pytest.raises(InputError, match="5 frames, and 6"):
        save_in_pieces(tmp_path / "x.safetensors", "y", iter(pieces), 6, {}, {})


@pytest.mark.parametrize("kind", ["x.safetensors", "x.mkv"])
def test_a_file_that_is_replaced_meanwhile_is_not_read(kind, tmp_path):
    path = tmp_path / kind
    write_clip(path, VIDEO, Fraction(24))
    tensor = kind.endswith("safetensors")
    frames = TensorFrames(path, "video") if tensor else VideoFrames(path, kept=1)
    assert len(frames[3:5]) == 2
    write_clip(path, -VIDEO, Fraction(24), overwrite=True)
    with pytest.raises(InputError, match=r"was changed or removed.*start again"):
        frames[0:2]
