"""Reading and writing videos."""

import contextlib
import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from command_line import make_clip, moving_scene
from PIL import Image
from safetensors.torch import load_file

from visionxl import InputError, fit_to
from visionxl.files import clear_partials, remove, save_tensors, whole
from visionxl.metrics import psnr
from visionxl.video import DEMO_CLIP, RATE, about_rate, read_clip
from visionxl.writing import write_clip, write_pieces

HALF_LEVEL = 1 / 255  # half of an 8-bit level, in units of [-1, 1]


@pytest.mark.parametrize("name", ["x.mkv", "x"])
def test_lossless_kinds_return_every_value_to_half_a_level(name, tmp_path):
    video = moving_scene()
    write_clip(tmp_path / name, video, Fraction(25))
    assert (read_clip(tmp_path / name).video - video).abs().max() <= HALF_LEVEL + 1e-6


def test_one_frame_is_a_picture_and_several_are_none(tmp_path):
    video = moving_scene()
    write_clip(tmp_path / "x.PNG", video[:1], Fraction(25))
    assert (read_clip(tmp_path / "x.PNG").video - video[:1]).abs().max() <= HALF_LEVEL + 1e-6
    with pytest.raises(InputError, match=f"one frame, and there are {len(video)}"):
        write_clip(tmp_path / "y.png", video, Fraction(25))
    assert [path.name for path in tmp_path.iterdir()] == ["x.PNG"]


def test_safetensors_return_every_value(tmp_path):
    video = 2 * moving_scene()
    write_clip(tmp_path / "x.safetensors", video, Fraction(25))
    assert torch.equal(load_file(tmp_path / "x.safetensors")["video"], video)


def test_mp4_is_h264_in_yuv420p_and_near_the_video(tmp_path):
    video = moving_scene(height=64, width=96)
    assert write_clip(tmp_path / "x.mp4", video, Fraction(25)) == []
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.colorspace == 1  # BT.709, said in the file
    assert psnr(read_clip(tmp_path / "x.mp4").video, video) > 30


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(10)])
def test_the_frame_rate_is_kept(kind, rate, tmp_path):
    write_clip(tmp_path / f"x.{kind}", moving_scene(), rate)
    assert read_clip(tmp_path / f"x.{kind}").rate == rate


def test_odd_sizes_are_made_even_for_mp4_with_a_word(tmp_path):
    (note,) = write_clip(tmp_path / "x.mp4", moving_scene(height=31, width=47), Fraction(25))
    assert "31x47" in note
    assert "32x48" in note
    assert read_clip(tmp_path / "x.mp4").video.shape[-2:] == (32, 48)


def add_sound(path: Path, silent: Path) -> None:
    """The frames of ``silent`` with a tone."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", 25)
        picture.height, picture.width, picture.pix_fmt = 32, 48, "yuv420p"
        tone = container.add_stream("aac", 44100)
        for frame in av.open(str(silent)).decode(video=0):
            container.mux(picture.encode(frame.reformat(format="yuv420p")))
        container.mux(picture.encode(None))
        wave = np.sin(np.arange(44100, dtype=np.float32) / 20)[None]
        block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        block.sample_rate = 44100
        container.mux(tone.encode(block))
        container.mux(tone.encode(None))


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_is_copied(kind, tmp_path):
    silent = make_clip(tmp_path / "silent.mkv", frames=20)
    add_sound(tmp_path / "loud.mp4", silent)
    clip = read_clip(tmp_path / "loud.mp4")
    assert clip.sound == tmp_path / "loud.mp4"
    write_clip(tmp_path / f"x.{kind}", clip.video, clip.rate, sound=clip.sound)
    with av.open(str(tmp_path / f"x.{kind}")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = sum(f.samples for f in container.decode(audio=0))
    assert samples == pytest.approx(44100 * 20 / 25, abs=3000)
    assert read_clip(silent).sound is None


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number in (1, 2, 10, 9):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    video = read_clip(tmp_path).video
    red = ((video[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert red == [1, 2, 9, 10]


def test_animated_and_single_images_are_videos(tmp_path):
    frames = [Image.new("RGB", (8, 6), (40 * i, 10, 10)) for i in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    clip = read_clip(tmp_path / "a.gif")
    assert clip.video.shape == (4, 3, 6, 8)
    assert clip.rate == 20
    frames[2].convert("L").save(tmp_path / "gray.png")
    assert read_clip(tmp_path / "gray.png").video.shape == (1, 3, 6, 8)


def test_frames_limits_what_is_read(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=5)
    assert len(read_clip(path, frames=2).video) == 2


def test_nothing_is_overwritten_unasked_and_a_folder_is_replaced_whole(tmp_path):
    write_clip(tmp_path / "x", moving_scene(frames=5), Fraction(25))
    with pytest.raises(InputError, match="exists"):
        write_clip(tmp_path / "x", moving_scene(frames=2), Fraction(25))
    write_clip(tmp_path / "x", moving_scene(frames=2), Fraction(25), overwrite=True)
    assert len(list((tmp_path / "x").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def write_and_fail():
        with whole(path) as partial:
            partial.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_fit_to_crops_the_centre_and_reflects_the_rest():
    video = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 2, 6)
    assert fit_to(video, 2, 4)[0, 0, 0].tolist() == [1, 2, 3, 4]
    assert fit_to(video, 2, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_16_bit_pictures_keep_their_levels(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    expected = torch.from_numpy(ramp.astype(np.float32) / 65535 * 2 - 1)
    assert (read_clip(tmp_path / "deep.png").video[0, 0] - expected).abs().max() <= HALF_LEVEL


def test_a_photograph_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (8, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_clip(tmp_path / "turned.jpg").video.shape == (1, 3, 8, 6)


def test_sound_that_the_file_cannot_hold_is_left_out_with_a_word(tmp_path):
    with av.open(str(tmp_path / "loud.mkv"), "w") as container:
        picture = container.add_stream("ffv1", 25)
        picture.height, picture.width, picture.pix_fmt = 32, 48, "bgr0"
        tone = container.add_stream("pcm_s16be", 8000)
        for frame in av.open(str(make_clip(tmp_path / "silent.mkv"))).decode(video=0):
            container.mux(picture.encode(frame.reformat(format="bgr0")))
        container.mux(picture.encode(None))
        block = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono"
        )
        block.sample_rate = 8000
        container.mux(tone.encode(block))
        container.mux(tone.encode(None))
    clip = read_clip(tmp_path / "loud.mkv")
    assert clip.sound is not None
    notes = write_clip(tmp_path / "x.mp4", clip.video, clip.rate, sound=clip.sound)
    assert any("sound was not copied" in note for note in notes)
    assert len(read_clip(tmp_path / "x.mp4").video) == 5
    (note,) = write_clip(tmp_path / "frames", clip.video, clip.rate, sound=clip.sound)
    assert "sound" in note


def test_safetensors_are_read_as_a_clip_with_their_rate(tmp_path):
    write_clip(tmp_path / "x.safetensors", moving_scene(), Fraction(12))
    clip = read_clip(tmp_path / "x.safetensors")
    assert (clip.rate, clip.video.shape) == (12, (5, 3, 32, 48))


def test_colours_survive_mp4(tmp_path):
    video = torch.tensor([0.6, -0.5, 0.7]).view(1, 3, 1, 1).expand(2, 3, 32, 48)
    write_clip(tmp_path / "x.mp4", video, Fraction(25))
    assert (read_clip(tmp_path / "x.mp4").video - video).abs().max() < 4 / 127.5


def test_a_measurement_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        write_clip(tmp_path / "x.mkv", moving_scene(1), 24)
        save_tensors(tmp_path / "x.safetensors", {"video": moving_scene(1)})
    finally:
        os.umask(before)
    for name in ("x.mkv", "x.safetensors"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    with whole(tmp_path / "x") as partial:
        partial.write_text("x")
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_what_killed_writers_have_left_is_removed_and_nothing_else(tmp_path):
    left = [".x.12.part.mkv", ".x.mkv.12.previous"]
    others = [".x.12.part.mp4", ".y.12.part.mkv", "x.mkv", ".x.mkv.previous"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    clear_partials(tmp_path / "x.mkv")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_removing_a_link_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    (tmp_path / "link").symlink_to("folder")
    remove(tmp_path / "link")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "x").exists()


def test_mp4_says_that_its_colours_are_those_of_high_definition(tmp_path):
    write_clip(tmp_path / "x.mp4", moving_scene(2), 24)
    with av.open(str(tmp_path / "x.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1  # limited


@pytest.mark.parametrize("rate", [24, Fraction(24000, 1001)])
def test_the_values_of_safetensors_begin_at_a_multiple_of_8_bytes(rate, tmp_path):
    write_clip(tmp_path / "x.safetensors", moving_scene(1), rate)
    size = int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little")
    assert size % 8 == 0


def test_a_variable_frame_rate_is_told_of(tmp_path):
    def written(name, times):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("ffv1", 25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
            stream.codec_context.time_base = Fraction(1, 1000)
            for time in times:
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")
                frame = frame.reformat(format="bgr0")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return tmp_path / name

    assert about_rate(written("even.mkv", range(0, 400, 40))) == []
    assert about_rate(written("rounded.mkv", [0, 33, 67, 100, 133, 167])) == []
    (words,) = about_rate(written("uneven.mkv", [0, 40, 80, 1200, 1240, 2400]))
    assert "uneven.mkv has a variable frame rate" in words
    uneven = written("slower.mkv", [*range(0, 4000, 33), *range(4000, 8000, 500)])
    assert len(read_clip(uneven).video) == 122 + 8  # and is not called truncated
    assert about_rate(DEMO_CLIP) == []
    assert about_rate(tmp_path) == []


def test_pixels_that_are_not_square_are_told_of(tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        picture = np.zeros((32, 48, 3), np.uint8)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    (words,) = about_rate(tmp_path / "wide.mp4")
    assert "wide.mp4 has pixels of 64:45" in words


@pytest.mark.parametrize("kept", [1500, 2000, 2500, 3000, 3500])
def test_an_animation_that_is_cut_off_is_a_sentence_or_its_frames(tmp_path, kept):
    frames = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 48, 3), np.uint8))
        for i in range(5)
    ]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    whole = (tmp_path / "x.gif").read_bytes()
    (tmp_path / "x.gif").write_bytes(whole[:kept])
    with contextlib.suppress(InputError):  # or the frames that are there
        assert len(read_clip(tmp_path / "x.gif").video) <= 5


def test_frames_that_are_shown_for_no_time_at_all_have_the_usual_rate(tmp_path):
    first, second = (Image.new("RGB", (48, 32), (shade,) * 3) for shade in (0, 255))
    first.save(tmp_path / "x.png", save_all=True, append_images=[second], duration=0.2)
    assert read_clip(tmp_path / "x.png").rate == RATE


def test_any_digits_may_be_in_the_names_of_pictures(tmp_path):
    for name in ("2.png", "\N{SUPERSCRIPT TWO}5.png", "10.png"):
        Image.new("RGB", (48, 32)).save(tmp_path / name)
    assert len(read_clip(tmp_path).video) == 3


def late_clip(path: Path, silent: Path, seconds: float) -> Path:
    """The frames of ``silent`` with a tone, both from ``seconds`` on."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", 25)
        picture.height, picture.width, picture.pix_fmt = 32, 48, "yuv420p"
        tone = container.add_stream("aac", 44100)
        for index, frame in enumerate(av.open(str(silent)).decode(video=0)):
            shifted = frame.reformat(format="yuv420p")
            shifted.pts, shifted.time_base = index + round(25 * seconds), Fraction(1, 25)
            container.mux(picture.encode(shifted))
        container.mux(picture.encode(None))
        wave = np.sin(np.arange(44100, dtype=np.float32) / 20)[None]
        block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        block.sample_rate, block.time_base = 44100, Fraction(1, 44100)
        block.pts = round(44100 * seconds)
        container.mux(tone.encode(block))
        container.mux(tone.encode(None))
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_stays_with_the_pictures_of_a_recording_that_begins_late(kind, tmp_path):
    silent = make_clip(tmp_path / "silent.mkv", frames=20)
    clip = read_clip(late_clip(tmp_path / "late.ts", silent, 60.0))
    assert not write_clip(tmp_path / f"x.{kind}", clip.video, clip.rate, sound=clip.sound)
    with av.open(str(tmp_path / f"x.{kind}")) as container:
        seen = next(container.decode(video=0)).time
        container.seek(0)
        heard = next(container.decode(audio=0)).time
    assert heard == pytest.approx(seen, abs=0.05)


def test_sound_lies_beside_its_pictures(tmp_path):
    silent = make_clip(tmp_path / "silent.mkv", frames=20)
    add_sound(tmp_path / "loud.mp4", silent)
    video = read_clip(tmp_path / "loud.mp4").video.repeat(10, 1, 1, 1)
    slow = Fraction(25, 2)  # 16 seconds of pictures, and sound in the first alone
    write_clip(tmp_path / "x.mkv", video, slow, sound=tmp_path / "loud.mp4")
    with av.open(str(tmp_path / "x.mkv")) as container:
        kinds = [p.stream.type for p in container.demux() if p.size]
    assert len(kinds) - kinds[::-1].index("audio") < 100  # it was behind most of the pictures


@pytest.mark.parametrize("there", [True, False])
def test_no_sound_to_copy_is_told(there, tmp_path):
    sound = make_clip(tmp_path / "silent.mkv") if there else tmp_path / "gone.mkv"
    (note,) = write_clip(tmp_path / "x.mp4", moving_scene(), 25.0, sound=sound)
    assert note.startswith("no sound is kept")
    assert len(read_clip(tmp_path / "x.mp4").video) == len(moving_scene())


def test_pieces_that_cannot_be_written_say_so_and_are_asked_once(tmp_path):
    good, asked = moving_scene(), []
    add_sound(tmp_path / "loud.mp4", make_clip(tmp_path / "silent.mkv", frames=20))

    def pieces():
        asked.append(1)
        yield good
        yield torch.full_like(good, torch.nan)

    sound = tmp_path / "loud.mp4"
    with pytest.raises(InputError, match="not finite"):
        write_pieces(tmp_path / "x.mp4", pieces, 2 * len(good), 25.0, sound=sound)
    assert len(asked) == 1
    assert not (tmp_path / "x.mp4").exists()


def test_a_complete_file_whose_pictures_begin_late_is_read(tmp_path):
    late = late_clip(tmp_path / "late.mkv", make_clip(tmp_path / "silent.mkv", frames=20), 0.2)
    assert len(read_clip(late).video) == 20


def test_a_complete_file_that_hides_some_frames_is_read(tmp_path):
    add_sound(tmp_path / "whole.mp4", make_clip(tmp_path / "silent.mkv", frames=20))
    with (
        av.open(str(tmp_path / "whole.mp4")) as source,
        av.open(str(tmp_path / "cut.mp4"), "w") as target,
    ):
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                ahead = round(Fraction(8, 25) / packet.time_base)
                packet.pts, packet.dts = packet.pts - ahead, packet.dts - ahead
                packet.stream = copied
                target.mux(packet)
    with av.open(str(tmp_path / "cut.mp4")) as container:
        stored, shown = container.streams.video[0].frames, list(container.decode(video=0))
    assert len(shown) < stored - 1
    assert len(read_clip(tmp_path / "cut.mp4").video) == len(shown)


def test_no_frames_of_a_tensor_are_refused_as_of_any_clip(tmp_path):
    write_clip(tmp_path / "x.safetensors", moving_scene())
    with pytest.raises(InputError, match="frames 0"):
        read_clip(tmp_path / "x.safetensors", 0)


def test_a_playlist_has_no_other_file_read_in_its_place(tmp_path):
    clip = make_clip(tmp_path / "secret.mp4")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(clip), "#EXT-X-ENDLIST"]
    for name in ("x.m3u8", "x.mp4"):
        (tmp_path / name).write_text("\n".join(lines))
        with pytest.raises(InputError, match="no video that can be read"):
            read_clip(tmp_path / name)


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    write_clip(tmp_path / "x", moving_scene())
    rename = Path.rename

    def fail(path, target):
        if "part" in path.name:
            raise OSError("no")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with pytest.raises(InputError, match="could not be written"):
            write_clip(tmp_path / "x", -moving_scene(), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (read_clip(tmp_path / "x").video - moving_scene()).abs().max() <= 2 * HALF_LEVEL


def test_a_folder_whose_writer_was_killed_takes_its_place_again(tmp_path):
    (tmp_path / ".x.12.previous").mkdir()
    (tmp_path / ".x.12.previous" / "00000.png").touch()
    clear_partials(tmp_path / "x")
    assert [p.name for p in tmp_path.rglob("*")] == ["x", "00000.png"]


def test_an_interrupt_during_a_write_that_fails_is_not_lost(tmp_path):
    def write():
        with whole(tmp_path / "x"):
            signal.raise_signal(signal.SIGINT)
            raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt):
        write()


@pytest.mark.parametrize("name", ["x.safetensors", "x.mkv", "x"])
@pytest.mark.parametrize(
    ("second", "told"),
    [
        (torch.zeros(1, 3, 16, 8), "pieces that are alike"),
        (torch.zeros(1, 3, 16, 16).double(), "pieces that are alike"),
        (torch.zeros(2, 3, 16, 16), "3 frames, and 2 were announced"),
    ],
)
def test_pieces_that_do_not_go_together_leave_the_old_file(name, second, told, tmp_path):
    write_clip(tmp_path / name, torch.zeros(2, 3, 16, 16))
    pieces = [torch.ones(1, 3, 16, 16), second]
    with pytest.raises(InputError, match=told):
        write_pieces(tmp_path / name, lambda: iter(pieces), 2, 24, overwrite=True)
    assert read_clip(tmp_path / name).video.max() < 2 * HALF_LEVEL


def test_values_that_are_no_videos_are_told_of(tmp_path):
    (note,) = write_clip(tmp_path / "x.mkv", (moving_scene() + 1) * 127.5)
    assert "were clipped to [-1, 1]" in note
    assert write_clip(tmp_path / "y.mkv", moving_scene() * 1.5) == []


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_ten_bits_are_read_with_their_white(pixels, tmp_path):
    shades = (0, 64, 128, 255)
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = pixels
        for shade in shades:
            picture = np.full((32, 32, 3), shade, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
    found = (read_clip(tmp_path / "x.mkv").video.mean((1, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(found, shades, atol=0.6)


def test_the_rate_of_pictures_is_that_of_their_mean_duration(tmp_path):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 60, 120, 180)]
    for name, durations, rate in (
        ("x.webp", 100, 10),
        ("x.gif", [20, 100, 100, 100], Fraction(25, 2)),
        ("x.apng", 50, 20),
    ):
        options = {"format": "PNG"} if name.endswith("apng") else {}
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], duration=durations, **options
        )
        assert read_clip(tmp_path / name).rate == rate, name


def test_a_phones_picture_is_one_picture(tmp_path):
    picture, depth = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (16, 12), "blue")
    picture.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[depth])
    assert read_clip(tmp_path / "photo.jpg").video.shape == (1, 3, 24, 32)
