"""The program as people meet it: what it prints, how it ends, and what a kill costs."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = 40


def start(*flags):
  return subprocess.Popen(
    [sys.executable, "-m", "vatt_jax.prepare", *flags],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(*flags):
  process = start(*flags)
  out, err = process.communicate(timeout=120)
  return process.returncode, out, err


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
  """A folder of films and a caption for each. Written by PyAV in one go and copied: each copy has another caption."""
  import av

  folder = tmp_path_factory.mktemp("videos")
  with av.open(str(folder / "film 00.mp4"), "w") as container:
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    random = np.random.default_rng(0)
    for _ in range(60):
      pixels = np.asarray(Image.fromarray(random.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120)))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
    container.mux(stream.encode(None))
  for i in range(FILES):
    (folder / f"film {i:02d}.mp4").write_bytes((folder / "film 00.mp4").read_bytes())
    (folder / f"film {i:02d}.txt").write_text(f"film number {i}\n")
  return folder


def units(output):
  """The decoded units and when they were written."""
  return {path.name: path.stat().st_mtime_ns for path in output.glob(".work/units/*/*") if not path.suffix}


def test_killed_half_way_it_goes_on_and_nothing_is_decoded_twice(tmp_path, videos):
  flags = [f"--source={videos}", "--short_side=64"]
  killed = start(*flags, f"--output={tmp_path / 'a'}", "--workers=1")
  while len(units(tmp_path / "a")) < 5:
    assert killed.poll() is None, killed.communicate()
    time.sleep(0.005)
  killed.send_signal(signal.SIGKILL)
  killed.wait()
  time.sleep(0.3)  # Its workers notice and go.
  done = units(tmp_path / "a")
  assert 5 <= len(done) < FILES and not (tmp_path / "a" / "clips").exists()

  code, out, _ = run(*flags, f"--output={tmp_path / 'a'}", "--workers=2")
  assert code == 0
  assert f"{FILES} clips" in out
  assert done.items() <= units(tmp_path / "a").items() and len(units(tmp_path / "a")) == FILES

  assert run(*flags, f"--output={tmp_path / 'b'}")[0] == 0
  for file in (tmp_path / "b" / "clips" / "1.0.0").iterdir():
    assert file.read_bytes() == (tmp_path / "a" / "clips" / "1.0.0" / file.name).read_bytes()
  prepared = json.loads((tmp_path / "a" / "preparation.json").read_text())
  assert prepared == json.loads((tmp_path / "b" / "preparation.json").read_text())
  assert prepared["accepted"] == FILES and prepared["rejected"] == []

  code, out, _ = run(*flags, f"--output={tmp_path / 'a'}")
  assert code == 0 and "nothing has changed" in out
  code, out, err = run(f"--source={videos}", "--short_side=32", f"--output={tmp_path / 'a'}")
  assert (code, out) == (2, "")
  assert "short_side=64 instead of 32" in err and "Traceback" not in err


def test_help():
  code, out, _ = run("--help")
  assert "--frames_per_second" in out and "talk.srt" in out


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (["--source=/no/such/place"], "/no/such/place does not exist"),
    ([], "--source"),
    (["--source=.", "--short_side=tiny"], "short_side"),
    (["--source=.", "--shortside=3"], "shortside"),
    (["--source=.", "more"], "'more'"),
    ([f"--source={__file__}"], "neither a folder nor a manifest"),
    (["--source=demo", "--clip_seconds=3"], "does not apply to the demo set"),
  ],
)
def test_mistakes_end_with_2_and_a_sentence(tmp_path, flags, sentence):
  code, out, err = run(*flags, f"--output={tmp_path / 'out'}")
  assert (code, out) == (2, "")
  assert sentence in err and "Traceback" not in err
  assert len(err.strip().splitlines()) == 1
  assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_the_users_error(tmp_path):
  (tmp_path / "in").mkdir()
  code, _, err = run(f"--source={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
  assert code == 2 and "holds no media" in err and "Traceback" not in err
