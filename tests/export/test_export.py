"""Weights that anything can read, and encoders that run without this package."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.runs import smoke_config
import vatt_jax
from vatt_jax import api, convert, errors, jobs, objectives
from vatt_jax.data import pipeline
from vatt_jax.export import functions
from vatt_jax.training import checkpoints

OUTSIDE = """
import sys
sys.modules["vatt_jax"] = None  # What imports it fails.
import json
import jax
import numpy as np
from safetensors.numpy import load_file

folder = sys.argv[1]
described = json.load(open(f"{folder}/encoders.json"))
weights, given, out = load_file(f"{folder}/{described['weights']}"), dict(np.load(f"{folder}/../given.npz")), {}
for modality, encoder in described["encoders"].items():
  function = jax.export.deserialize(open(f"{folder}/{encoder['file']}", "rb").read())
  assert function.platforms == ("cpu", "cuda", "tpu")
  assert list(given[modality].shape[1:]) == encoder["input"]["shape"][1:]
  out |= function.call(weights, given[modality])
  assert set(encoder["outputs"]) <= set(out)
np.savez(f"{folder}/../out.npz", **out)
assert not any(name.startswith("vatt_jax.") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def exported(smoke_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("exported") / "functions"
  convert.export("jax_export", smoke_run, str(folder))
  return folder


def test_weights_come_back(smoke_run, tmp_path, capsys):
  place = tmp_path / "weights"
  convert.export("safetensors", smoke_run, str(place))
  ours = jobs.open_checkpoint(smoke_run)
  back = jobs.open_checkpoint(str(place))
  jax.tree.map(np.testing.assert_array_equal, back.variables, ours.variables)
  assert back.tokenizer.content == ours.tokenizer.content
  loaded = safetensors.numpy.load_file(place / "model.safetensors")
  assert loaded.keys() == checkpoints.flat(ours.variables).keys()
  table = (place / "parameters.md").read_text()
  for name, value in loaded.items():
    assert f"| `{name}` | float32 | {' x '.join(map(str, value.shape))} |" in table
  said = vatt_jax.load(str(place)).encode(text=["a red square"])
  np.testing.assert_array_equal(said["text/vt"], vatt_jax.load(smoke_run).encode(text=["a red square"])["text/vt"])
  capsys.readouterr()
  convert.export("safetensors", smoke_run, str(place))
  assert "holds this export already" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.export("jax_export", smoke_run, str(place))


def test_encoders_run_without_this_package(exported, smoke_run):
  """Equal to `encode` for two rows and, by the same file, for three."""
  model, rng = vatt_jax.load(smoke_run), np.random.default_rng(0)
  for rows in (2, 3):
    frames = rng.integers(0, 256, (rows, 4, 32, 32, 3)).astype(np.uint8)
    waves = rng.uniform(-1, 1, (rows, model.config.audio.samples)).astype(np.float32)
    ids = rng.integers(1, 40, (rows, model.config.text.length)).astype(np.int32)
    np.savez(exported / ".." / "given.npz", video=frames, audio=waves, text=ids)
    subprocess.run([sys.executable, "-c", OUTSIDE, str(exported)], check=True)
    expected = model.encode(video=frames, audio=waves, text=ids)
    with np.load(exported / ".." / "out.npz") as out:
      assert set(out.files) == set(expected)
      for name, value in expected.items():
        np.testing.assert_allclose(out[name], value, atol=1e-5)


def test_what_encoders_json_says(exported):
  said = json.loads((exported / "encoders.json").read_text())
  assert said["encoders"]["video"]["input"]["shape"] == ["batch", 4, 32, 32, 3]
  assert said["encoders"]["video"]["input"]["dtype"] == "uint8"
  assert said["encoders"]["text"]["outputs"]["text/vt"]["shape"][0] == "batch"
  assert "load_file" in said["use"]


def test_alpro_too():
  """One function for each encoder, tokens and all, equal to what the objective says."""
  config = smoke_config("configs.finetune.msrvtt_retrieval")
  objectives.inherit(config, None)
  options = jobs.input_options(config.data)
  objective = objectives.build(config, options, 50)
  spec = pipeline.batch_spec(options, 3)
  zeros = {name: np.zeros(value.shape, value.dtype) for name, value in spec.items()}
  variables = jax.device_get(jax.jit(objective.init)(jax.random.key(0), zeros))
  written = functions.files(jobs.Trained(None, config, objective, options, None, variables))
  assert set(written) == {"video.jax_export", "text.jax_export", "encoders.json"}
  rng, weights = np.random.default_rng(0), checkpoints.flat(variables)
  frames = rng.integers(0, 256, (3, options.video.frames, *options.video.pixels, 3)).astype(np.uint8)
  ids = rng.integers(1, 50, (3, options.text.length)).astype(np.int32)
  cut, _ = api._video_patches(frames, options.video.patch)
  expected = jax.jit(objective.tokens)(
    variables, {"video/patches": cut, "text/ids": ids[:, None], "text/mask": ids[:, None] != 0}
  )
  said = {}
  for modality, given in (("video", frames), ("text", ids)):
    said |= jax.export.deserialize(written[f"{modality}.jax_export"]).call(weights, given)
  assert set(said) == {"video/tokens", "video/vtc", "text/tokens", "text/vtc"}
  for name, value in said.items():
    want = expected[name][:, 0] if name.startswith("text/") else expected[name]
    np.testing.assert_allclose(value, want, atol=1e-5)
