"""Weights that anything can read, and encoders that run without this package."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

import vatt_jax
from vatt_jax import convert, errors, jobs
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
