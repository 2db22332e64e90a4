"""Whatever state a file is in, its pictures and its sound end up where their timestamps say.

The files of `make_media` get brighter with time and beep every second, so a clip shows what time it was taken from.
"""

import io
import math

import av
import make_media
import numpy as np
from PIL import Image
import pytest

from vatt_jax.preparation import media
from vatt_jax.preparation.requests import MediaUnit, Request
from vatt_jax.preparation.units import Options

OPTIONS = Options(frames_per_second=10, short_side=24, sample_rate_hz=16_000)


def read(path, **kwargs):
  return media.read(str(path), OPTIONS, **kwargs)


def shown_times(found):
  """When the frames were taken, told by their brightness."""
  grey = [np.asarray(Image.open(io.BytesIO(frame))).mean() for frame in found.frames]
  return (np.array(grey) - make_media.brightness(0)) / (make_media.brightness(1) - make_media.brightness(0))


def heard_beeps(found):
  """When the beeps begin."""
  beeps = []
  for segment in found.sound:
    loud = np.flatnonzero(np.abs(segment.samples.astype(np.int32)) > 3000)
    first = loud[np.diff(loud, prepend=-16_000) > 8_000]
    beeps += (segment.start + first / found.sample_rate_hz).tolist()
  return beeps


FORMATS = {
  "h264_aac.mp4": {},
  "mpeg2.mpg": {"video": "mpeg2video", "frame_rate": 25, "audio": "mp2"},
  "mpeg2.ts": {"video": "mpeg2video", "frame_rate": 25, "audio": "mp2", "first_time": 5.0},
  "hevc.mov": {"video": "libx265"},
  "vp9_opus.webm": {"video": "libvpx-vp9", "audio": "libopus", "sample_rate_hz": 48_000},
  "six_channels.mp4": {"layout": "5.1", "sample_rate_hz": 48_000},
  "yuv444.mp4": {"pixels": "yuv444p"},
  "ten_bits.mp4": {"pixels": "yuv420p10le"},
  "rgb.mp4": {"video": "libx264rgb", "pixels": "rgb24"},
  "lossless.mkv": {"video": "ffv1", "pixels": "bgr0", "audio": "flac"},
  "first_time_not_0.mkv": {"first_time": 5.0},
  "faster.mp4": {"frame_rate": 50},
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path, name):
  found = read(make_media.write(tmp_path / name, **FORMATS[name]))
  # MPEG sound begins up to 0.03 s before the picture, because its encoder does; all else moves along.
  shift = found.times[0]
  assert 0 <= shift < 0.04
  assert len(found.times) == pytest.approx(30, abs=1)
  np.testing.assert_allclose(shown_times(found) + shift, found.times, atol=0.11)
  np.testing.assert_allclose(heard_beeps(found), np.arange(3) + shift, atol=0.01)
  assert found.end == pytest.approx(3, abs=0.1)
  assert found.warnings == []


def test_grey_pictures(tmp_path):
  found = read(make_media.write(tmp_path / "grey.mp4", pixels="gray"))
  assert len(found.times) == 30
  assert np.all(np.diff(shown_times(found)) > 0)


def test_frames_are_scaled_down_and_never_up(tmp_path):
  size = lambda path, **kwargs: Image.open(io.BytesIO(read(make_media.write(path, **kwargs)).frames[0])).size
  assert size(tmp_path / "a.mp4", size=(64, 48)) == (32, 24)
  assert size(tmp_path / "b.mp4", size=(32, 16)) == (32, 16)


def test_a_telephone_held_upright(tmp_path):
  """The display matrix says how to turn the picture: a quarter counterclockwise brings its right edge to the top."""
  path = make_media.write(tmp_path / "turned.mp4", rotation=90, bright_edge="right")
  picture = np.asarray(Image.open(io.BytesIO(read(path).frames[0])).convert("L"))
  assert picture.shape == (32, 24)
  assert picture[:4].mean() > 200 > 100 > picture[8:].mean()


def test_variable_frame_rate_keeps_what_was_on_the_screen(tmp_path):
  """At 10 a second: of 0, 0.03 and 0.06 only the first is on at a tenth; long-lasting frames are not repeated."""
  times = [0, 0.03, 0.06, 0.1, 0.5, 1.0, 1.05, 2.5]
  found = read(make_media.write(tmp_path / "a.mkv", frame_times=times))
  np.testing.assert_allclose(found.times, [0, 0.1, 0.5, 1.0, 1.05, 2.5], atol=1e-3)
  np.testing.assert_allclose(shown_times(found), found.times, atol=0.1)


def test_slides_that_change_every_half_minute(tmp_path):
  found = read(make_media.write(tmp_path / "a.mkv", frame_times=[0, 2, 30, 60], audio=None))
  assert found.times == [0, 2, 30, 60]
  assert found.pictures_between(40, 50) == ([0.0], [found.frames[2]])


def test_one_wrong_timestamp_costs_one_frame(tmp_path):
  path = make_media.write(tmp_path / "a.mkv", audio=None)
  content = path.read_bytes()
  at_1500_ms, at_30000_ms = b"\x81\x05\xdc", b"\x81\x75\x30"  # Matroska: track 1 and the time of a block
  assert content.count(at_1500_ms) == 1
  path.write_bytes(content.replace(at_1500_ms, at_30000_ms))
  np.testing.assert_allclose(read(path).times, np.delete(np.arange(30) / 10, 15), atol=1e-6)


def test_a_clip_between_two_frames_shows_the_frame_that_is_on(tmp_path):
  found = read(make_media.write(tmp_path / "slow.mp4", frame_rate=1, seconds=4))
  assert found.times == [0.0, 1.0, 2.0, 3.0]
  timestamps, frames = found.pictures_between(1.5, 2.5)
  assert timestamps == [0.0, 0.5]
  assert frames == found.frames[1:3]
  assert found.pictures_between(4.5, 5.0) == ([], [])


def test_sound_that_starts_later_and_stops_earlier_than_the_picture(tmp_path):
  found = read(make_media.write(tmp_path / "late.mp4", sound_start=1.5, sound_seconds=1.0))
  np.testing.assert_allclose(heard_beeps(found), [1.5], atol=0.01)
  start, samples = found.sound_between(0, 3)
  assert start == pytest.approx(1.44, abs=0.01)  # The encoder's run-in, then the sound.
  assert len(samples) / 16_000 == pytest.approx(1.0 + 1.5 - start, abs=0.07)
  assert len(found.times) == 30


def test_lost_sound_leaves_a_gap_and_nothing_shifts():
  rate = 16_000
  beep = np.full(rate // 10, 9000, np.int16)
  found = media.Media(10, rate, sound=[media.Segment(0.0, beep), media.Segment(1.5, beep)])
  start, samples = found.sound_between(0.05, 1.55)
  assert start == 0.0
  assert np.flatnonzero(samples).tolist() == [*range(800), *range(int(1.45 * rate), int(1.5 * rate))]
  start, samples = found.sound_between(1.0, 3.0)
  assert start == 0.5 and len(samples) == len(beep)


def test_silence_is_absent_sound(tmp_path):
  silence = lambda seconds, rate: np.zeros(int(seconds * rate))
  found = read(make_media.write(tmp_path / "a.mp4", wave=silence))
  assert not found.sound
  assert found.warnings == ["its sound is digital silence and counts as absent"]
  with pytest.raises(media.Unreadable, match="digital silence"):
    read(make_media.write(tmp_path / "a.m4a", video=None, wave=silence))


def test_packets_that_do_not_decode_in_the_middle(tmp_path):
  path = make_media.write(tmp_path / "a.mp4", seconds=6)
  whole = read(path)
  content = bytearray(path.read_bytes())
  middle = range(len(content) * 4 // 10, len(content) * 5 // 10)
  content[middle.start : middle.stop] = np.random.default_rng(0).bytes(len(middle))
  path.write_bytes(content)
  found = read(path)
  assert any("do not decode" in warning for warning in found.warnings)
  assert found.times[:20] == whole.times[:20] and found.frames[:20] == whole.frames[:20]
  assert found.times[-10:] == whole.times[-10:]
  assert set(np.round(heard_beeps(found))) >= {0, 1, 5}  # What is far from the damage is where it was.
  assert found.end == pytest.approx(whole.end, abs=0.1)


def test_truncated(tmp_path):
  path = make_media.write(tmp_path / "a.mkv", seconds=6, size=(320, 240))
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  found = read(path)
  assert 1 < found.end < 5
  assert any(warning.startswith("it ends after") for warning in found.warnings)
  path = make_media.write(tmp_path / "index_at_the_end.mp4")
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(media.Unreadable, match="beginning or index is missing"):
    read(path)


def test_a_duration_that_is_wrong_is_not_believed(tmp_path):
  path = make_media.write(tmp_path / "a.mkv")
  content = path.read_bytes()
  place = content.index(b"\x44\x89\x88") + 3  # Matroska: Duration, a float64 of milliseconds
  path.write_bytes(content[:place] + np.array(20.0, ">f8").tobytes() + content[place + 8 :])
  assert len(read(path).times) == 30


@pytest.mark.parametrize(
  "content, reason",
  [(b"", "empty"), (b"not media at all\n" * 9, "not a media file"), (b"\0" * 9999, "not a media file")],
)
def test_not_media(tmp_path, content, reason):
  (tmp_path / "a.mp4").write_bytes(content)
  with pytest.raises(media.Unreadable, match=reason):
    read(tmp_path / "a.mp4")


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_sound_at_a_rate_that_does_not_exist(tmp_path, rate):
  """One flipped byte of a header would otherwise make hours of sound, or an error."""
  path = make_media.write(tmp_path / "a.wav", video=None, audio="pcm_s16le")
  content = path.read_bytes()
  path.write_bytes(content[:24] + rate.to_bytes(4, "little") + content[28:])
  with pytest.raises(media.Unreadable, match="pieces of its sound are in no format that can be converted"):
    read(path)


def test_frames_in_colours_that_do_not_exist(tmp_path, monkeypatch):
  """A damaged header in the middle of a stream can name them; the other frames and the sound are kept."""
  path, convert = make_media.write(tmp_path / "a.mp4"), media._Pictures._to_jpeg

  def refuse_before(seconds):
    def to_jpeg(self, frame):
      if frame.time < seconds:
        raise av.FFmpegError(95, "Unsupported input")
      return convert(self, frame)

    monkeypatch.setattr(media._Pictures, "_to_jpeg", to_jpeg)

  refuse_before(0.25)
  found = read(path)
  np.testing.assert_allclose(found.times, np.arange(3, 30) / 10, atol=1e-6)
  assert found.warnings == ["3 of its frames are in no format that can be converted"]
  refuse_before(10.0)
  found = read(path)
  assert not found.frames and heard_beeps(found) and not found.picture_end
  with pytest.raises(media.Unreadable, match="30 of its frames are in no format"):
    read(path, sound=False)


def test_intervals_keep_only_their_frames_and_stop_early(tmp_path):
  path = make_media.write(tmp_path / "a.mp4", seconds=8)
  found = read(path, intervals=[(1.0, 1.5), (3.0, 4.0), (3.5, 4.0)])
  np.testing.assert_allclose(found.times, [*np.arange(10, 15) / 10, *np.arange(30, 40) / 10], atol=1e-6)
  assert found.end < 6
  behind = read(make_media.write(tmp_path / "b.mp4", audio=None), intervals=[(50, 60)])
  assert (behind.times, behind.end) == ([], pytest.approx(3))


@pytest.mark.parametrize("sound", ["aac", None])
def test_the_room_that_a_file_needs_is_estimated(tmp_path, sound):
  path = str(make_media.write(tmp_path / "a.mp4", seconds=7, size=(320, 240), audio=sound))
  unit = MediaUnit("a", "a", path, None, False, (Request(), Request(1, 4), Request(5, math.inf)), Options())
  clips = unit.decode().clips
  need = sum(len(frame) for clip in clips for frame in clip.frames) + sum(clip.samples.nbytes for clip in clips)
  assert need / 1.5 < unit.expected_bytes() < need * 1.5
  (tmp_path / "bad.mp4").write_text("no film")
  assert MediaUnit("b", "b", str(tmp_path / "bad.mp4"), None, False, (Request(),), Options()).expected_bytes() == 0
