"""Videos whose frames come and go in pieces."""

from fractions import Fraction

import pytest
import torch
from command_line import moving_scene
from safetensors import safe_open

from visionxl.errors import InputError
from visionxl.operators import Mask
from visionxl.streaming import MaskedFrames, TensorFrames, VideoFrames
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
    frames = MaskedFrames(TensorFrames(tmp_path / "x.safetensors", "video"), mask)
    assert frames.shape == VIDEO.shape
    assert torch.equal(frames[3:7], Mask(mask).forward(VIDEO)[3:7])
