"""The conversion program: from an official file to a checkpoint that everything else can read."""

import json

from absl import flags
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from configs.finetune import audioset, kinetics400
from configs.pretrain import vatt as vatt_config
from tests.conversion import official
import vatt_jax
from vatt_jax import convert, errors, jobs, objectives
from vatt_jax.conversion import Options, vatt_tf
from vatt_jax.data import pipeline
from vatt_jax.training import checkpoints, workdir
from vatt_jax.training.state import init_state


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


PUBLISHED = {
  "specific": (official.modality_specific(), vatt_config.get_config("mbs")),
  "agnostic": (official.modality_agnostic(), vatt_config.get_config("ma_medium")),
  "video": (official.classifier("video"), kinetics400.get_config()),
  "audio": (official.classifier("audio"), audioset.get_config()),
}
TOLD = {  # by the file, or left open by ours until there is one
    "data.video.frames", "data.video.size", "data.video.patch", "data.audio.samples", "data.audio.patch",
    "data.text.length", "data.label.classes", "model.video_size", "model.audio_size", "model.text_size", "model.size",
    "model.vocabulary_size", "model.word_width", "model.va_width", "model.vt_width", "model.post_width",
    "model.input_scale",
}  # fmt: skip


@pytest.mark.parametrize("shapes, published", PUBLISHED.values(), ids=PUBLISHED)
def test_the_config_is_the_published_one(shapes, published):
  """What the file does not tell is as in our own config of the paper; whatever those gain, this has to say too."""
  flat = lambda config: workdir.flatten(json.loads(json.dumps(config)))
  mine, theirs = flat(vatt_tf.convert(official.virtual(shapes), Options()).config), flat(published.to_dict())
  trains = lambda name: name.startswith(("optimizer.", "evaluators"))
  assert {name for name in mine if not trains(name)} == {name for name in theirs if not trains(name)}
  same = [name for name in mine if name.startswith(("objective.", "data.", "model.")) and name not in TOLD]
  assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}


@pytest.mark.parametrize("shapes", [official.modality_specific(), official.modality_agnostic()], ids=["MS", "MA"])
def test_fine_tuning_starts_from_it(shapes, tmp_path):
  """A classifier takes the video tower, with the encoder that all shared and other position tables; its last layer is new."""
  start = str(tmp_path / "ours")
  convert.convert("vatt_tf", official.write_checkpoint(tmp_path, official.random_values(shapes)), start, Options())
  config = kinetics400.get_config()
  config.data.video.update({"frames": 6, "size": 24})
  config.init_from = start
  jobs.complete(config, str(tmp_path / "run"))
  options = jobs.input_options(config.data)
  objective = objectives.build(config, options, 0)
  spec = pipeline.batch_spec(options, 1)
  state = jax.eval_shape(lambda: init_state(objective, optax.sgd(0.1), jax.random.key(0), spec))
  fresh = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
  state, left = jobs.load_parameters(fresh, objective, start)
  assert left == ["params/classifier/bias", "params/classifier/kernel"]
  found = checkpoints.restore_variables(checkpoints.find(start))["params"]
  encoder = found.get("encoder", found["video"].get("encoder"))
  jax.tree.map(np.testing.assert_array_equal, state.params["video"]["encoder"], encoder)
  assert state.params["video"]["positions"]["axis_1"].shape == (6, 24)


def test_another_vocabulary_is_refused(converted):
  """Ids of other words would be read as nonsense."""
  config = ml_collections.ConfigDict(checkpoints.manifest(converted)["config"], convert_dict=True)
  with pytest.raises(errors.UserError, match="vectors of 13 words, but the vocabulary at hand has 500"):
    objectives.build(config, jobs.input_options(config.data), 500)


def test_once_is_enough_and_nothing_is_overwritten(source, converted, tmp_path, capsys):
  before = (converted / "manifest.json").stat().st_mtime_ns
  convert.convert("vatt_tf", source, str(converted), options(source))
  assert "holds this conversion already" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.convert("vatt_tf", source, str(converted), Options())
  words = tmp_path / "words.txt"
  words.write_text(open(options(source).vocabulary).read().replace("8", "eight"))
  with pytest.raises(errors.UserError, match="holds something else"):
    convert.convert("vatt_tf", source, str(converted), Options(vocabulary=str(words)))
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
    ([], "give either --from=FORMAT, .* or --to=FORMAT"),
    (["--from=t5", "--to=safetensors"], "give either"),
    (["--from=t5"], "--checkpoint, --output missing"),
    (["--to=onnx", "--checkpoint=a", "--output=b"], "--to=onnx is not one of safetensors, jax_export"),
    (["--to=safetensors", "--checkpoint=a", "--output=b", "--frames=8"], "takes --checkpoint and --output alone"),
    (["--to=safetensors", "--checkpoint=/nowhere", "--output=b"], "there is no checkpoint in '/nowhere'"),
    (["--from=caffe", "--checkpoint=a", "--output=b"], "--from=caffe is not one of vatt_tf"),
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


def test_class_names_travel_with_a_classifier(tmp_path):
  checkpoint = official.write_checkpoint(tmp_path, official.random_values(official.classifier("audio")))
  names = tmp_path / "names.txt"
  names.write_text("a\nb\nc\nd\ne\n")
  convert.convert("vatt_tf", checkpoint, str(tmp_path / "out"), Options(labels=str(names)))
  assert vatt_jax.load(str(tmp_path / "out")).labels == ("a", "b", "c", "d", "e")
  names.write_text("a\nb\n")
  with pytest.raises(errors.UserError, match="has 2 names, but the classifier has 5 outputs"):
    convert.convert("vatt_tf", checkpoint, str(tmp_path / "other"), Options(labels=str(names)))
