"""Damaged media: whatever is done to a file, `prepare` ends, and the file is in the records or rejected with a reason."""

import json
import subprocess
import sys
import time

import make_media
import numpy as np

WHOLE = {
  "h264_aac.mp4": {},
  "h264_aac.mkv": {},
  "h264_aac.flv": {},
  "hevc.mov": {"video": "libx265"},
  "vp9_opus.webm": {"video": "libvpx-vp9", "audio": "libopus", "sample_rate_hz": 48_000},
  "mpeg2.mpg": {"video": "mpeg2video", "frame_rate": 25, "audio": "mp2"},
  "mpeg2.ts": {"video": "mpeg2video", "frame_rate": 25, "audio": "mp2"},
  "mpeg4_mp3.avi": {"video": "mpeg4", "audio": "libmp3lame"},
  "sound.wav": {"video": None, "audio": "pcm_s16le"},
  "sound.flac": {"video": None, "audio": "flac"},
  "sound.mp3": {"video": None, "audio": "libmp3lame"},
  "sound.ogg": {"video": None, "audio": "libopus", "sample_rate_hz": 48_000, "layout": "stereo"},
}


def flipped(content, others, random):
  """Up to a hundred bytes have other values, in half of the cases all of them in the header."""
  out = np.frombuffer(content, np.uint8).copy()
  end = min(len(out), 600) if random.random() < 0.5 else len(out)
  places = random.integers(0, end, random.integers(1, 100))
  out[places] ^= random.integers(1, 256, len(places)).astype(np.uint8)
  return out.tobytes()


def piece(content, random):
  """A random (start, end), at most a third of the file."""
  start = int(random.integers(len(content)))
  return start, start + int(random.integers(1, len(content) // 3))


def without_piece(content, others, random):
  start, end = piece(content, random)
  return content[:start] + content[end:]


def repeated_piece(content, others, random):
  start, end = piece(content, random)
  return content[:end] + content[start:]


def overwritten(content, others, random):
  start, end = piece(content, random)
  fill = (bytes(end - start), b"\xff" * (end - start), random.bytes(end - start))
  return content[:start] + fill[random.integers(len(fill))] + content[end:]


def spliced(content, others, random):
  other = others[random.integers(len(others))]
  return content[: random.integers(len(content))] + other[random.integers(len(other)) :]


MUTATIONS = {
  "flipped": flipped,
  "without": without_piece,
  "repeated": repeated_piece,
  "overwritten": overwritten,
  "spliced": spliced,
  "cut": lambda content, others, random: content[: random.integers(1, len(content))],
  "beheaded": lambda content, others, random: content[random.integers(1, len(content)) :],
  "empty": lambda content, others, random: b"",
  "renamed": lambda content, others, random: content,
}


def fill(folder, whole, count):
  """`count` mutants, always the same ones; every fourth is damaged twice."""
  names, contents = list(whole), list(whole.values())
  for i in range(count):
    random = np.random.default_rng(i)
    name, kind = names[i % len(names)], list(MUTATIONS)[i // 3 % len(MUTATIONS)]
    content = MUTATIONS[kind](whole[name], contents, random)
    if i % 4 == 0 and content:
      content = flipped(content, contents, random)
    ending = random.choice([other.split(".")[1] for other in names]) if kind == "renamed" else name.split(".")[1]
    (folder / f"{i:03d} {kind} {name.split('.')[0]}.{ending}").write_bytes(content)


def test_every_mutant_is_accepted_or_rejected_with_a_reason(tmp_path, records, preparation, count=500):
  whole = {name: make_media.write(tmp_path / name, seconds=1.5, **how).read_bytes() for name, how in WHOLE.items()}
  films = tmp_path / "films"
  films.mkdir()
  for name, content in whole.items():
    (films / name).write_bytes(content)
  fill(films, whole, count)
  began = time.monotonic()
  command = [sys.executable, "-m", "vatt_jax.prepare", f"--source={films}", f"--output={tmp_path / 'out'}"]
  done = subprocess.run(
    [*command, "--short_side=24", "--sample_rate_hz=8000", "--workers=2"],
    capture_output=True, text=True, timeout=30 + 2 * count, check=False,
  )  # fmt: skip
  seconds = time.monotonic() - began
  assert done.returncode == 0, done.stderr
  found = preparation(tmp_path / "out")
  rejected = {problem["file"]: problem["reason"] for problem in found["rejected"]}
  accepted = {clip["source"].decode() for split in records(tmp_path / "out").values() for clip in split}
  files = {path.name for path in films.iterdir()}
  assert accepted.isdisjoint(rejected) and accepted | rejected.keys() == files
  assert set(whole) <= accepted and {name for name in files if " empty " in name} <= rejected.keys()
  assert all(reason and "unexpected" not in reason for reason in rejected.values()), rejected
  print(json.dumps({"files": len(files), "accepted": len(accepted), "rejected": len(rejected), "seconds": seconds}))
