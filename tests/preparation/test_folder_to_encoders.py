"""The promise in small: a folder of media and captions, prepared and trained on by the programs' own code."""

import importlib
import json

import make_media
import pytest

from vatt_jax import evaluate, train
from vatt_jax.errors import UserError
from vatt_jax.preparation import dataset, folder
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options
from vatt_jax.training import checkpoints

OPTIONS = Options(clip_seconds=1, frames_per_second=5, short_side=24, sample_rate_hz=16_000)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  media, output = tmp_path_factory.mktemp("my videos"), tmp_path_factory.mktemp("prepared")
  for i in range(4):
    make_media.write(media / f"clip {i}.mp4", seconds=2.0, audio=None if i == 3 else "aac")
    (media / f"clip {i}.txt").write_text(f"a picture that gets brighter, number {i}")
  units, problems = folder.units(
    str(media), OPTIONS, Digests(str(output / ".work" / "digests.jsonl")), skip=str(output)
  )
  dataset.prepare(units, str(output), source=str(media), options={}, problems=problems, workers=0, progress=False)
  return output


def test_a_folder_becomes_encoders(prepared, tmp_path, capsys):
  """Few files all go to training: the evaluators have no split, and that is said, not fatal. 16 kHz become 8 kHz."""
  config = importlib.import_module("configs.pretrain.vatt_demo").get_config("smoke")
  config.data.directory = str(prepared)
  train.train(config, str(tmp_path))
  said = capsys.readouterr().out
  assert "'validation' is left out" in said and "'test' is left out" in said
  assert "holds the 8 clips more than once" not in said
  assert "params/fingerprint" in json.loads((tmp_path / "results.json").read_text())
  with pytest.raises(UserError, match="nothing could be evaluated"):
    evaluate.evaluate(checkpoints.find(str(tmp_path)), None)
