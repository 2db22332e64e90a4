"""The conversion program: from an official file to a checkpoint that everything else can read."""

import json

from absl import flags
import jax
import numpy as np
import pytest

from configs.pretrain import vatt as vatt_config
from tests.conversion import official
from vatt_jax import convert, errors
from vatt_jax.conversion import Options, vatt_tf
from vatt_jax.training import checkpoints, workdir


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A modality-specific checkpoint and its vocabulary."""
  directory = tmp_path_factory.mktemp("official")
  (directory / "words.txt").write_text("\n".join(["<pad>", "<bos>", "<eos>", "<unk>", *map(str, range(9))]))
  return official.write_checkpoint(directory, official.random_values(official.modality_specific()))


def options(source):
  return Options(vocabulary=str(source).replace("ckpt-1", "words.txt"))


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
  output = tmp_path_factory.mktemp("converted") / "ms"
  convert.convert("vatt_tf", source, str(output), options(source))
  return output


def test_the_output_is_a_checkpoint(source, converted):
  found = checkpoints.restore_variables(checkpoints.find(str(converted)))
  expected = vatt_tf.convert(vatt_tf.open_checkpoint(source), Options()).variables
  assert found.keys() == {"params", "batch_stats", "frozen"}
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  manifest = json.loads((converted / "manifest.json").read_text())
  assert manifest["step"] == 0 and "jax" in manifest["versions"]
  assert manifest["parameters"]["video/aggregation"] == "float32[24]"
  assert manifest["conversion"]["from"] == "vatt_tf"
  assert (converted / "tokenizer" / "words.txt").read_text().startswith("<pad>")
  assert [path.name for path in converted.parent.iterdir()] == ["ms"]  # No temporary is left.


def test_the_config_has_the_fields_of_the_published_one(converted):
  """Whatever a training config gains, a converted one must say too."""
  mine = workdir.flatten(json.loads((converted / "manifest.json").read_text())["config"])
  published = workdir.flatten(json.loads(json.dumps(vatt_config.get_config("mbs").to_dict())))
  trains = lambda name: name.startswith(("optimizer.", "evaluators"))
  assert {name for name in mine if not trains(name)} == {name for name in published if not trains(name)}
  same = ("objective.", "data.audio.", "data.video.", "data.text.", "model.")
  told = {"data.video.frames", "data.video.size", "data.video.patch", "data.audio.samples", "data.audio.patch"}
  told |= {f"model.{name}" for name in ("video_size", "audio_size", "text_size", "word_width", "va_width", "vt_width")}
  told |= {"model.vocabulary_size"}
  for name in mine:
    if name.startswith(same) and name not in told:
      assert mine[name] == published[name], name


def test_once_is_enough_and_nothing_is_overwritten(source, converted, tmp_path, capsys):
  before = (converted / "manifest.json").stat().st_mtime_ns
  convert.convert("vatt_tf", source, str(converted), options(source))
  assert "holds this conversion already" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.convert("vatt_tf", source, str(converted), Options())
  other = official.write_checkpoint(tmp_path, official.random_values(official.modality_specific(), seed=1))
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.convert("vatt_tf", other, str(converted), options(source))
  assert (converted / "manifest.json").stat().st_mtime_ns == before
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.txt").write_text("")
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.convert("vatt_tf", source, str(tmp_path / "full"), options(source))


def test_what_a_killed_conversion_left_does_no_harm(source, tmp_path):
  (tmp_path / ".out.partial" / "state").mkdir(parents=True)
  (tmp_path / "out").mkdir()  # Empty: as good as none.
  convert.convert("vatt_tf", source, str(tmp_path / "out"), Options())
  assert checkpoints.find(str(tmp_path / "out"))
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_summary_names_what_was_dropped(source, tmp_path, capsys):
  convert.convert("vatt_tf", source, str(tmp_path / "out"), Options())
  printed = capsys.readouterr().out
  trained = len(official.modality_specific()) - 7  # frozen: word vectors, two statistics of three norms
  assert f"dropped */.OPTIMIZER_SLOT/optimizer/m ({trained})" in printed
  for name in ("optimizer/iter", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH", "modality-specific"):
    assert name in printed


@pytest.mark.parametrize("arguments, sentence", [
    ([], "--from, --checkpoint, --output missing"),
    (["--from=caffe", "--checkpoint=a", "--output=b"], "--from=caffe is not one of vatt_tf, t5"),
    (["--from=vatt_tf", "--checkpoint=/nowhere/ckpt-1", "--output=b"], "no TensorFlow checkpoint at /nowhere/ckpt-1"),
    (["--from=t5", "--checkpoint=/nowhere", "--output=b"], "there is no /nowhere"),
    (["stray"], "unexpected arguments stray"),
])  # fmt: skip
def test_user_errors_are_sentences(arguments, sentence, monkeypatch):
  values = flags.FlagValues()
  monkeypatch.setattr(convert.flags, "FLAGS", values)
  convert.define_flags(values)
  rest = values(["convert", *arguments])
  with pytest.raises(errors.UserError, match=sentence):
    convert.main(rest)
