"""Every config runs: at tiny size with `:smoke`, and by its shapes at full size."""

import importlib
import pathlib

import jax
import ml_collections
import numpy as np
import pytest

import vatt_jax
from vatt_jax import evaluate, jobs, objectives, train
from vatt_jax.data import pipeline
from vatt_jax.errors import UserError
from vatt_jax.evaluation import evaluators
from vatt_jax.training import checkpoints, optimizers, workdir as workdir_lib
from vatt_jax.training.state import init_state

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = {
  "configs/finetune/captioning.py": ["", "demo"],
  "configs/finetune/didemo_retrieval.py": [""],
  "configs/finetune/esc50.py": [""],
  "configs/finetune/folder.py": ["", "audio", "demo", "demo,audio"],
  "configs/finetune/hmdb51.py": [""],
  "configs/finetune/msrvtt_qa.py": ["", "official"],
  "configs/finetune/msrvtt_retrieval.py": ["", "official", "demo"],
  "configs/finetune/msvd_qa.py": [""],
  "configs/pretrain/alpro.py": ["", "pod", "official", "demo", "mlm_vtm", "no_pem", "no_vtc"],
  "configs/pretrain/prompter.py": ["", "official", "demo"],
  "configs/pretrain/vatt_demo.py": [
    "",
    "overfit",
    "long",
    "two_pairs",
    "by_kind",
    "ten_pairs",
    "effects",
    "matching",
    "prompted,smoke",
  ],
  "configs/pretrain/vatt.py": ["bbs", "mbs", "lbs", "ma_base", "ma_medium", "ma_large", "mbs,pod"],
  "configs/finetune/audioset.py": [""],
  "configs/finetune/imagenet.py": [""],
  "configs/finetune/kinetics400.py": ["", "drop_token"],
  "configs/finetune/kinetics600.py": [""],
  "configs/finetune/kinetics700.py": [""],
  "configs/finetune/moments_in_time.py": ["", "published"],
  "configs/finetune/ucf101.py": [""],
}
EVALUATIONS = {
  "configs/evaluate/folder.py": ["", "audio", "validation", "multiple"],
  "configs/evaluate/probe_esc50.py": ["", "official"],
  "configs/evaluate/probe_hmdb51.py": ["", "official"],
  "configs/evaluate/probe_ucf101.py": ["", "official"],
  "configs/evaluate/teacher.py": ["", "validation"],
  "configs/evaluate/zero_shot_didemo.py": ["", "alpro"],
  "configs/evaluate/zero_shot_msrvtt.py": ["", "alpro"],
  "configs/evaluate/zero_shot_youcook2.py": ["", "alpro"],
}
DOWNSTREAM = {  # What both papers measure, any folder, and the teacher of one.
  "finetune": "kinetics400 kinetics600 kinetics700 moments_in_time audioset imagenet ucf101 hmdb51 esc50 msrvtt_retrieval "
  "didemo_retrieval msrvtt_qa msvd_qa captioning folder",
  "evaluate": "probe_ucf101 probe_hmdb51 probe_esc50 zero_shot_msrvtt zero_shot_youcook2 zero_shot_didemo folder teacher",
}
VARIANTS = [(file, argument) for file, arguments in CONFIGS.items() for argument in arguments]
FIELDS = {
    "seed", "batch_size", "total_steps", "log_every_steps", "checkpoint_every_steps", "evaluate_every_steps",
    "init_from", "mesh", "objective", "model", "data", "optimizer", "evaluators",
}  # fmt: skip


def load(file, argument):
  module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
  return module, module.get_config(argument)


def test_the_table_names_every_config():
  found = {
    str(p.relative_to(ROOT)) for p in (ROOT / "configs").rglob("*.py") if p.name not in ("__init__.py", "common.py")
  }
  assert found == set(CONFIGS) | set(EVALUATIONS)
  promised = {f"configs/{room}/{name}.py" for room, names in DOWNSTREAM.items() for name in names.split()}
  assert promised == {file for file in found if not file.startswith("configs/pretrain/")}


@pytest.mark.parametrize("file, argument", VARIANTS)
def test_full_size_has_shapes(file, argument):
  module, config = load(file, argument)
  assert set(config) >= FIELDS and module.__doc__
  objectives.inherit(config, None)
  if "label" in config.data:
    config.data.label.classes = config.data.label.classes or 10  # As many as the data set has.
  options = jobs.input_options(config.data)
  objective = jobs.build_objective(config, jobs.Inputs("", options, None))
  optimizer, _ = optimizers.from_config(config.optimizer, config.total_steps)
  spec = pipeline.batch_spec(options, config.batch_size)
  state = jax.eval_shape(lambda: init_state(objective, optimizer, jax.random.key(0), spec))
  loss = lambda state, batch: objective.loss(state.variables, batch, jax.random.key(0), train=True)
  assert jax.eval_shape(loss, state, spec)[0].shape == ()  # Steps run below; tracing gradients takes minutes.


# Configs of public data sets run on miniatures that their builders read from the official formats.
OFFICIAL = {
  "kinetics400": "kinetics400", "kinetics600": "kinetics600", "kinetics700": "kinetics700", "ucf101": "ucf101",
  "hmdb51": "hmdb51/split1", "esc50": "esc50/fold1", "moments_in_time": "moments_in_time", "audioset": "audioset",
  "imagenet": "imagenet", "msrvtt_qa": "msrvtt_qa", "msvd_qa": "msvd_qa", "msrvtt_retrieval": "msrvtt",
  "didemo_retrieval": "didemo", "captioning": "msrvtt", "alpro": "webvid", "prompter": "cc3m", "vatt": "howto100m",
  "probe_ucf101": "ucf101", "probe_hmdb51": "hmdb51/split1", "probe_esc50": "esc50/fold1", "zero_shot_msrvtt": "msrvtt",
  "zero_shot_didemo": "didemo", "zero_shot_youcook2": "youcook2",
}  # fmt: skip


# The others differ in size only.
@pytest.mark.parametrize("file, argument", [
    ("configs/pretrain/alpro.py", "smoke"), ("configs/finetune/msrvtt_qa.py", "smoke"),
    ("configs/finetune/msvd_qa.py", "smoke"), ("configs/finetune/didemo_retrieval.py", "smoke"),
    ("configs/finetune/msrvtt_retrieval.py", "smoke"),
    ("configs/finetune/captioning.py", "smoke"),
    ("configs/pretrain/prompter.py", "smoke"),
    ("configs/pretrain/vatt.py", "mbs,smoke"), ("configs/pretrain/vatt.py", "ma_medium,smoke"),
    ("configs/pretrain/vatt.py", "bbs,smoke"), ("configs/pretrain/vatt.py", "lbs,pod,smoke"),
    pytest.param("configs/pretrain/vatt_demo.py", "overfit,smoke", marks=pytest.mark.slow),
    pytest.param("configs/pretrain/vatt_demo.py", "two_pairs,smoke", marks=pytest.mark.slow),
    pytest.param("configs/pretrain/vatt_demo.py", "ten_pairs,smoke", marks=pytest.mark.slow),
    pytest.param("configs/pretrain/vatt_demo.py", "effects,smoke", marks=pytest.mark.slow),
    pytest.param("configs/pretrain/vatt_demo.py", "matching,smoke", marks=pytest.mark.slow),
    pytest.param("configs/pretrain/alpro.py", "demo,smoke", marks=pytest.mark.slow),
    ("configs/finetune/audioset.py", "smoke"), ("configs/finetune/imagenet.py", "smoke"),
    ("configs/finetune/kinetics400.py", "drop_token,smoke"), ("configs/finetune/kinetics600.py", "smoke"),
    ("configs/finetune/kinetics700.py", "smoke"), ("configs/finetune/moments_in_time.py", "published,smoke"),
    ("configs/finetune/esc50.py", "smoke"), ("configs/finetune/folder.py", "smoke"),
    ("configs/finetune/ucf101.py", "smoke"),
    ("configs/finetune/hmdb51.py", "smoke"),
    pytest.param("configs/finetune/folder.py", "audio,smoke", marks=pytest.mark.slow),
])  # fmt: skip
def test_smoke_trains(file, argument, miniature, official, tmp_path):
  config = load(file, argument)[1]
  name = pathlib.Path(file).stem
  config.data.directory = official(OFFICIAL[name]) if name in OFFICIAL else miniature
  train.train(config, str(tmp_path))
  assert (tmp_path / "results.json").exists() and (tmp_path / "report.html").exists()


@pytest.fixture(scope="module")
def trained(miniature, tmp_path_factory):
  """Objective -> a run of it, made when it is asked for."""
  runs = {}

  def run(file):
    if file not in runs:
      runs[file] = tmp_path_factory.mktemp("trained")
      config = load(file, "smoke")[1]
      config.data.directory, config.evaluators, config.total_steps = miniature, {}, 1
      train.train(config, str(runs[file]))
    return checkpoints.find(str(runs[file]))

  return run


def test_a_model_of_captions_writes_some(trained):
  model = vatt_jax.load(str(trained("configs/finetune/captioning.py")))
  video = model.config.video
  clips = np.zeros([3, video.frames, video.size, video.size, 3], np.uint8)
  written = model.caption(clips)
  assert len(written) == 3 and all(isinstance(each, str) and "[CLS]" not in each for each in written)
  other = vatt_jax.load(str(trained("configs/pretrain/alpro.py")))
  with pytest.raises(UserError, match="not trained to write captions"):
    other.caption(clips)


@pytest.mark.parametrize("file, argument", [(file, a) for file, arguments in EVALUATIONS.items() for a in arguments])
def test_full_size_evaluations_name_what_there_is(file, argument):
  module, config = load(file, argument)
  assert module.__doc__ and set(config) == {"evaluators", "data"}
  for evaluator in config.evaluators.values():
    assert evaluator.kind in evaluators.EVALUATORS and evaluator.split in ("validation", "test")


@pytest.mark.parametrize("file, argument, figure", [
    ("folder", "smoke", "names/top_1"), ("folder", "audio,validation,smoke", "knn/top_1"),
    ("probe_ucf101", "official,smoke", "low_rank/top_1"), ("probe_hmdb51", "smoke", "support_vectors/top_1"),
    ("probe_esc50", "smoke", "logistic/top_1"), ("zero_shot_msrvtt", "smoke", "test/text_to_video/median_rank"),
    ("zero_shot_didemo", "smoke", "test/text_to_video/recall_at_1"),
    ("zero_shot_youcook2", "smoke", "validation/text_to_video/recall_at_10"),
    pytest.param("zero_shot_msrvtt", "alpro,smoke", "test_matching/text_to_video/recall_at_1", marks=pytest.mark.slow),
])  # fmt: skip
def test_smoke_evaluates(file, argument, figure, trained, official):
  config = load(f"configs/evaluate/{file}.py", argument)[1]
  config.data.directory = official(OFFICIAL[file]) if file in OFFICIAL else ""
  found = evaluate.evaluate(trained(f"configs/pretrain/{'alpro' if 'alpro' in argument else 'vatt_demo'}.py"), config)
  assert 0 <= found[f"eval/{figure}"] and {key.split("/")[1] for key in found} == set(config.evaluators)


def test_folds_are_averaged(trained, miniature):
  config = load("configs/evaluate/zero_shot_msrvtt.py", "smoke")[1]
  place = trained("configs/pretrain/vatt_demo.py")
  once = evaluate.evaluate(place, config)
  config.data.directory = f"{miniature},{miniature}"
  twice = evaluate.evaluate(place, config)
  assert twice == once | {
    key.replace("/test/", f"/test/fold_{i}/"): value for i in (1, 2) for key, value in once.items()
  }


def test_an_evaluation_says_how_clips_are_read_and_a_training_does_not(trained):
  config = ml_collections.ConfigDict(checkpoints.manifest(trained("configs/pretrain/vatt_demo.py"))["config"])
  other = load("configs/pretrain/vatt.py", "")[1]
  rate = config.data.video.frames_per_second
  evaluate.take_over(config, other)
  assert config.data.video.frames_per_second == rate and config.data.video.size == 32
  evaluate.take_over(config, load("configs/evaluate/probe_ucf101.py", "")[1])
  assert config.data.video.frames_per_second == 12.5 and config.data.video.size == 32
  assert set(config.evaluators) == {"low_rank", "logistic", "support_vectors", "knn"}


@pytest.mark.slow  # data/ has both.
def test_spectrograms_and_grouped_batches_train(miniature, tmp_path):
  config = load("configs/pretrain/vatt_demo.py", "smoke")[1]
  config.data.directory, config.data.audio.spectrogram = miniature, True
  config.data.group_by = "label"
  train.train(config, str(tmp_path))
  assert (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_windows_around_captions_train(miniature, tmp_path):
  config = load("configs/pretrain/vatt_demo.py", "smoke")[1]
  config.data.directory, config.data.video.windows = miniature, 3
  train.train(config, str(tmp_path))
  assert (tmp_path / "results.json").exists()


def test_windows_that_nothing_can_use_are_named():
  build = lambda config: jobs.build_objective(config, jobs.Inputs("", jobs.input_options(config.data), None))
  config = load("configs/pretrain/vatt.py", "bbs,smoke")[1]  # It has five captions a clip.
  config.data.video.windows = 3
  with pytest.raises(UserError, match="data.video.windows or data.text.candidates"):
    build(config)
  config = load("configs/pretrain/prompter.py", "smoke")[1]
  config.data.video.update({"sampling": "window", "windows": 2})
  with pytest.raises(UserError, match="for the objective vatt, not for alpro"):
    build(config)


def test_mixtures_train_and_bad_ones_are_sentences(miniature, tmp_path):
  config = load("configs/pretrain/vatt_demo.py", "smoke")[1]
  config.data.mixture, config.data.clip_spans = ((miniature, 1), (miniature, 2)), True
  config.objective.mask_overlaps, config.batch_size = True, 32
  train.train(config, str(tmp_path))
  shares = [line["data/overlapping_clips"] for line in workdir_lib.read_metrics(str(tmp_path)) if "loss" in line]
  assert max(shares) > 0.0  # The set stands in the mixture twice.
  for pairs in (((miniature, 0),), ((miniature, "much"),), (miniature,)):
    config.data.mixture = pairs
    with pytest.raises(UserError, match="config.data.mixture = .* cannot be used"):
      jobs.mixture(config.data)


def test_unknown_fields_and_objectives_are_named():
  config = load("configs/pretrain/vatt_demo.py", "smoke")[1]
  config.objective.name = "vat"
  with pytest.raises(UserError, match="not one of vatt, vatt_prompted, classifier"):
    jobs.build_objective(config, jobs.Inputs("", jobs.input_options(config.data), None))
  config.objective.update({"name": "vatt", "mask_overlaps": True})
  with pytest.raises(UserError, match="mask_overlaps needs data.clip_spans = True"):
    jobs.build_objective(config, jobs.Inputs("", jobs.input_options(config.data), None))
  config.data.video.colour = 1
  with pytest.raises(UserError, match="colour"):
    jobs.input_options(config.data)


def test_conflicting_and_unknown_arguments_are_named():
  with pytest.raises(ValueError, match="choose one of bbs, mbs"):
    load("configs/pretrain/vatt.py", "mbs,bbs")
  with pytest.raises(ValueError, match="unknown config argument tiny; there are: .*smoke"):
    load("configs/pretrain/vatt.py", "tiny")
