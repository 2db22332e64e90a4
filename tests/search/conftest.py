"""A folder of real, tiny media, and the checkpoint of a run."""

import pathlib
import sys

from PIL import Image
import pytest

sys.path.append(str(pathlib.Path(__file__).parent.parent / "preparation"))  # make_media


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> pathlib.Path:
  """talk.mp4 (3 s, picture and sound), beeps.wav (1 s), red.png, an empty file, and one that is no media."""
  import make_media

  folder = tmp_path_factory.mktemp("media")
  make_media.write(folder / "talk.mp4", seconds=3.0)
  make_media.write(folder / "beeps.wav", seconds=1.0, video=None, audio="pcm_s16le")
  Image.new("RGB", (64, 48), "red").save(folder / "red.png")
  (folder / "empty.mp4").touch()
  (folder / "liar.mp4").write_text("this is no film")
  return folder


@pytest.fixture(scope="session")
def trained(smoke_run):
  from vatt_jax import jobs

  return jobs.open_checkpoint(smoke_run)
