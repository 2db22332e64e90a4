"""What every training config has, and the arguments that every config takes."""

import ml_collections


def training() -> ml_collections.ConfigDict:
  """The fields that the training loop itself reads."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.batch_size = 64
  config.total_steps = 1000
  config.log_every_steps = 10
  config.checkpoint_every_steps = 200
  config.evaluate_every_steps = 500
  config.keep_checkpoints = 3
  config.init_from = ""  # a workdir, a checkpoint or a converted directory to start from
  config.init_ignore = ""  # regex of variables, such as params/heads, that need not fit there
  config.ema_decay = 0.0  # above 0: a moving average of the parameters is kept, and evaluated
  config.mesh = (1, -1, 1)  # replica, data, model
  config.fsdp = False  # whether parameters are split along `data`, instead of lying on every device
  config.accumulate = 1  # in how many pieces a batch goes through the towers, where memory is short
  config.deterministic = True  # GPUs: the same bits every time; False: the fastest kernels
  config.stall_seconds = 300.0  # without any progress; then the stacks of all threads are printed. 0: never
  config.profile_steps = (0, 0)  # (first, last): a trace of these steps goes into WORKDIR/profile
  config.overfit_clips = 0  # above 0: only the first so many clips; the argument `:overfit` turns augmentation off too
  return config


def pod(config: ml_collections.ConfigDict) -> None:
  """The argument `pod`: a layout for many accelerators, whatever their number; `plan` says what it takes on which.

  Parameters are split among 16 devices, which have them all at hand after one exchange among neighbours; split among all
  devices of a slice they would be gathered by sums over all of it, twice the bytes (TPU v5p and v5e, `plan`).
  """
  config.mesh = (-1, 16, 1)
  config.fsdp = True
  config.model.remat = "full"
  if "scan" in config.model:
    config.model.update({"scan": True, "dtype": "bfloat16"})


def arguments(text: str, known: tuple[str, ...]) -> set[str]:
  """The words behind FILE: in --config=FILE:a,b; ValueError names the ones there are."""
  words = {word for word in (text or "").split(",") if word}
  if unknown := words - set(known):
    raise ValueError(f"unknown config argument {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
  return words


def vatt_data() -> ml_collections.ConfigDict:
  """The input of VATT's pretraining (VATT sections 4.1 and A.2): 32 frames at 10 per second, 3.2 s of sound."""
  data = ml_collections.ConfigDict()
  data.directory = ""  # what `prepare --output` wrote; empty: miniature clips made on the spot
  data.group_by = ""  # "language": batches of one language each
  data.threads = 0  # for decoding; 0 lets tf.data choose
  data.mixture = ()  # (("DIR", 1), ("OTHER", 2)): trains on these by weight; `directory`, or the first, is evaluated on
  data.mixture_by = "example"  # every batch has all of them (VATT); "batch": each batch is of one (ALPRO)
  data.clip_spans = False  # batches say which seconds of which file a clip shows, so that overlaps are counted
  data.video = ml_collections.ConfigDict({
      "frames": 32, "frames_per_second": 10.0, "size": 224, "width": 0, "patch": (4, 16, 16), "drop_rate": 0.5,
      "crop": "inception", "min_area": 0.08, "max_aspect": 2.0, "flip": True, "colour_jitter": 0.8,
      "sampling": "window", "rand_augment": "", "interpolation": "bilinear", "stills": "",
      "dct_scaling": False, "windows": 1,
  })  # fmt: skip
  data.audio = ml_collections.ConfigDict({
      "samples": 153_600, "sample_rate_hz": 48_000, "patch": 128, "drop_rate": 0.5, "stride": 1, "pad": "loop",
      "noise": 0.01, "speed": 0.0, "gain_db": 0.0, "spectrogram": False, "spectrogram_patch": (16, 5), "window_seconds": 0.04267,
      "hop_seconds": 0.02134, "mels": 80, "mel_low_hz": 80.0, "mel_high_hz": 7600.0,
  })  # fmt: skip
  data.text = ml_collections.ConfigDict({"length": 16, "candidates": 5, "lower_case": True, "kinds": ()})
  return data


def vatt_model() -> ml_collections.ConfigDict:
  """VATT-MBS: medium video, base audio and small text towers."""
  return ml_collections.ConfigDict({
      "video_size": "medium", "audio_size": "base", "text_size": "small", "agnostic": False,
      "vocabulary_size": 0, "word_width": 300, "trainable_words": False, "word_projection": True,
      "text_form": "vatt", "text_aggregation": "token", "text_scaled": False,
      "post_width": 1024, "head": "fac", "va_width": 512, "vt_width": 256, "head_norms": "video", "va_to_vt": "mlp",
      "normalised_positions": True, "aggregation_position": False, "dropout": 0.1, "attention_dropout": -1.0,
      "attention": "auto", "audio_scale": 1.0,
      "dtype": "float32", "remat": "none", "scan": False,
      "video_projection_init": "conv_glorot", "audio_projection_init": "conv_glorot",
  })  # fmt: skip


def vatt_objective() -> ml_collections.ConfigDict:
  """NCE between video and sound, MIL-NCE between video and text (VATT section 3.4)."""
  objective = ml_collections.ConfigDict({
      "name": "vatt", "loss": "asymmetric", "temperature": 0.07, "learned_temperature": False, "reduction": "mean",
      "groups": 1, "ring": False, "mask_overlaps": False,
  })  # fmt: skip
  # Pair -> weight, and below what differs from the fields above for one pair: {"video_text": {"loss": "sigmoid"}}.
  objective.pairs = ml_collections.ConfigDict({
      "video_audio": 1.0, "video_text": 1.0, "audio_text": 0.0,
      "videoaudio_text": 0.0, "videotext_audio": 0.0, "audiotext_video": 0.0,
  })  # fmt: skip
  objective.overrides = ml_collections.ConfigDict()
  return objective


def prompted(config: ml_collections.ConfigDict, entities: bool) -> None:
  """Gives VATT's objective ALPRO's matching, and with `entities` its prompted entities, for video and for sound (ours)."""
  config.objective.update({
      "name": "vatt_prompted", "matching": 1.0, "entities": float(entities), "known": 0, "width": 256,
      "label_filter": "paper", "label_threshold": 0.2, "label_temperature": config.objective.temperature,
  })  # fmt: skip
  if entities:
    config.init_from = "weights/vatt_prompter"
    config.init_ignore = "^(params|batch_stats|frozen)/"  # It brings the teacher alone.


def adam() -> ml_collections.ConfigDict:
  """VATT's pretraining schedule (A.2.4).

  `groups`: (("REGEX", {"rate": 0.1, "weight_decay": 0.0}), ...), see `training.groups`; a rate of 0 freezes.
  """
  return ml_collections.ConfigDict({
      "name": "adam", "learning_rate": 1e-4, "final_learning_rate": 5e-5, "warmup_steps": 10_000, "decay": "half_cosine",
      "b1": 0.9, "b2": 0.999, "epsilon": 1e-7, "weight_decay": 0.0, "clip_global_norm": 0.0,
      "groups": (),
  })  # fmt: skip


def classifier_objective(modality: str) -> ml_collections.ConfigDict:
  """Fine-tuning of one tower; `modality` is "video" (pictures too) or "audio"."""
  return ml_collections.ConfigDict({
      "name": "classifier", "modality": modality, "label_smoothing": 0.0, "balanced": False, "mix_up": 0.0,
  })  # fmt: skip


def classifier_model() -> ml_collections.ConfigDict:
  """What "" and -1 leave open is as in the model that the run starts from; without one `default_size` holds."""
  return ml_collections.ConfigDict({
      "size": "", "default_size": "base", "post_width": -1, "dropout": 0.1, "attention_dropout": -1.0,
      "attention": "auto", "classifier_dropout": 0.0, "input_scale": -1.0,
      "projection_init": "conv_glorot", "dtype": "float32", "remat": "none", "scan": False,
  })  # fmt: skip


def classifier_data(modality: str, classes: int, multiple: bool = False) -> ml_collections.ConfigDict:
  """Labelled clips of one modality, all patches kept; patches of () or 0 are those of `init_from`.

  Args:
    classes: 0: as many as the data set has.
  """
  data = vatt_data()
  data.label = ml_collections.ConfigDict({"classes": classes, "multiple": multiple})
  del data["text"]
  if modality == "video":
    del data["audio"]
    data.video.update({"frames_per_second": 12.5, "size": 320, "patch": (), "drop_rate": 0.0})
  else:
    del data["video"]
    # Every second sample at 48 kHz, as published: without a low-pass filter.
    data.audio.update({"sample_rate_hz": 24_000, "stride": 2, "patch": 0, "drop_rate": 0.0, "noise": 0.0})
  return data


def sgd() -> ml_collections.ConfigDict:
  """VATT's fine-tuning (A.2.5, A.3): momentum, warm-up, half a cosine to 0."""
  return ml_collections.ConfigDict({
      "name": "sgd", "learning_rate": 0.005, "final_learning_rate": 0.0, "warmup_steps": 2500, "decay": "half_cosine",
      "momentum": 0.9, "clip_global_norm": 0.0, "clip_only": "",
      "groups": (),
  })  # fmt: skip


def video_finetuning(classes: int) -> ml_collections.ConfigDict:
  """What Kinetics and Moments in Time share (VATT A.2.5; dropout and clipping are from the official code)."""
  config = training()
  config.batch_size = 64
  config.total_steps = 100_000
  config.log_every_steps = 50
  config.checkpoint_every_steps = 2_000
  config.evaluate_every_steps = 10_000
  config.objective = classifier_objective("video")
  config.objective.label_smoothing = 0.1
  config.model = classifier_model()
  config.model.classifier_dropout = 0.5
  config.data = classifier_data("video", classes)
  config.optimizer = sgd()
  config.optimizer.update({"clip_global_norm": 0.75, "clip_only": "^video/"})
  config.evaluators = {
    "validation": classification("validation", "every"),
    "final": classification("validation", "final", windows=4, crops=3),
  }
  return config


def classification(split: str, when: str, windows: int = 1, crops: int = 1) -> ml_collections.ConfigDict:
  """Top-1 and top-5, or mean average precision where clips have several labels; logits averaged over all views."""
  return ml_collections.ConfigDict({
      "kind": "classification", "split": split, "when": when, "windows": windows, "crops": crops, "average": "logits",
      "batch_size": 16,
  })  # fmt: skip


def retrieval(
  split: str, when: str, windows: int = 1, directory: str = "", caption_kind: str = ""
) -> ml_collections.ConfigDict:
  """Zero-shot retrieval between all pairs of modalities; `when` is "every" (evaluate_every_steps) or "final".

  Args:
    directory: of the data set, where it is not that of training; any evaluator may have one.
    caption_kind: "" for captions of any kind; any evaluator may have one.
  """
  return ml_collections.ConfigDict({
      "kind": "retrieval", "split": split, "when": when, "windows": windows, "directory": directory,
      "caption_kind": caption_kind, "batch_size": 64,
  })  # fmt: skip


def matching(split: str, when: str, candidates: int = 0) -> ml_collections.ConfigDict:
  """Retrieval by matching scores of all pairs, or of each one's nearest `candidates` by cosine (ALPRO A.2)."""
  return ml_collections.ConfigDict({
      "kind": "matching", "split": split, "when": when, "windows": 1, "candidates": candidates, "decimals": 4,
      "batch_size": 64,
  })  # fmt: skip


def entities(split: str, when: str, draws: int = 4, examples: int = 12) -> ml_collections.ConfigDict:
  """Whether ALPRO's teacher is right: its entities of `draws` rectangles of each clip against the caption's nouns.

  Args:
    examples: clips that the report shows, with what all parts of the model say of them.
  """
  return ml_collections.ConfigDict({
      "kind": "entities", "split": split, "when": when, "windows": 1, "draws": draws, "examples": examples,
      "threshold": 0.2, "batch_size": 64,
  })  # fmt: skip


def captions(split: str, when: str, examples: int = 8) -> ml_collections.ConfigDict:
  """Captions that the model writes against the true ones; the report shows `examples` of them."""
  return ml_collections.ConfigDict({
      "kind": "captions", "split": split, "when": when, "windows": 1, "examples": examples, "batch_size": 64,
  })  # fmt: skip


PROBES = {  # The low-rank classifier as in the paper; the constant of the machine is the official code's.
  "low_rank": {
      "components": 128, "kept": 0.1, "learning_rate": 5e-4, "batch_size": 64, "steps": 50_000, "epochs": 0, "l2": 0.0,
      "seed": 0,
  },
  "logistic": {"cost": 1.0},
  "support_vectors": {"cost": 6e-5},
}  # fmt: skip


def probe(classifier: str, split: str, features: str, multiple: bool = False) -> ml_collections.ConfigDict:
  """A classifier on frozen features (VATT A.3.2): one window of each training clip, four of each other one, averaged.

  Args:
    classifier: a name in `PROBES`.
    features: what the encoders say, such as "video/pooled" or "audio/pooled".
    multiple: whether clips may have several labels: one classifier for each class against the rest.
  """
  return ml_collections.ConfigDict({
      "kind": "probe", "split": split, "train_split": "train", "when": "final", "features": features, "windows": 4,
      "crops": 1, "train_windows": 1, "classifier": classifier, "options": PROBES.get(classifier, {}),
      "multiple": multiple, "batch_size": 16,
  })  # fmt: skip


def knn(split: str, features: str, shots: int = 0, draws: int = 5, multiple: bool = False) -> ml_collections.ConfigDict:
  """The 20 nearest of the training clips, or of `shots` of each class, drawn `draws` times."""
  return ml_collections.ConfigDict({
      "kind": "knn", "split": split, "train_split": "train", "when": "final", "features": features, "windows": 4,
      "crops": 1, "train_windows": 1, "neighbours": 20, "temperature": 0.07, "shots": shots, "draws": draws,
      "multiple": multiple, "batch_size": 16,
  })  # fmt: skip


def zero_shot_classification(
  split: str, modality: str, templates: tuple[str, ...] = ("{}",), multiple: bool = False
) -> ml_collections.ConfigDict:
  """Classes by their names in each of `templates`; `multiple`: clips may have several."""
  return ml_collections.ConfigDict({
      "kind": "zero_shot_classification", "split": split, "when": "final", "modality": modality, "templates": templates,
      "multiple": multiple, "windows": 4, "crops": 1, "batch_size": 16,
  })  # fmt: skip


def evaluation() -> ml_collections.ConfigDict:
  """What `evaluate --config` takes: evaluators, and what differs from the model's own input."""
  return ml_collections.ConfigDict({"evaluators": {}, "data": {"directory": ""}})


def probing(modality: str, split: str) -> ml_collections.ConfigDict:
  """All probes of one modality; windows of video as VATT tests them, 12.5 frames per second."""
  config = evaluation()
  features = f"{modality}/pooled"
  config.evaluators = {name: probe(name, split, features) for name in PROBES} | {"knn": knn(split, features)}
  if modality == "video":
    config.data.video = {"frames_per_second": 12.5}
  return config


def zero_shot_retrieval(split: str, alpro: bool = False) -> ml_collections.ConfigDict:
  """Four windows of 12.5 frames per second (VATT A.3.3); ALPRO's frames come from all of the clip, and it looks at pairs."""
  config = evaluation()
  config.evaluators = {split: retrieval(split, "final", windows=1 if alpro else 4)}
  if alpro:
    config.evaluators[f"{split}_matching"] = matching(split, "final")
  else:
    config.data.video = {"frames_per_second": 12.5}
  return config


def shrink_evaluation(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The `:smoke` form of what `evaluate` takes."""
  for evaluator in config.evaluators.values():
    evaluator.update({"batch_size": 8, "windows": min(2, evaluator.windows)})
    if "steps" in evaluator.get("options", {}):
      evaluator.options.update({"steps": 20, "epochs": min(2, evaluator.options.epochs)})
  return config


def alpro(terms: str, frames: int, text_length: int, sampling: str) -> ml_collections.ConfigDict:
  """What ALPRO's stages share (ALPRO sections 3.4 and 4.1, A.2).

  Args:
    terms: of the loss: vtc, vtm, mlm, pem.
    frames: T, single frames spread over the clip.
    text_length: L, special tokens included.
    sampling: of frames in training, see `data.video.VideoOptions`.
  """
  config = training()
  config.log_every_steps = 50
  config.checkpoint_every_steps = 5_000
  config.evaluate_every_steps = 10_000
  config.objective = ml_collections.ConfigDict({
      "name": "alpro", "terms": {name: float(name in terms.split()) for name in ("vtc", "vtm", "mlm", "pem")},
      "negatives": "local", "local_rows": 16, "mask_rate": 0.15, "mask_id": 103, "label_filter": "paper",
      "label_threshold": 0.2,
  })  # fmt: skip
  config.model = ml_collections.ConfigDict({
      "video_size": "base", "text_size": "base", "vocabulary_size": 0, "fusion_layers": 6, "embedding_width": 256,
      "entities": 0, "max_length": 512, "dropout": 0.1, "drop_path": 0.1, "remat": "none",
  })  # fmt: skip
  config.data = vatt_data()
  del config.data["audio"]
  config.data.video.update({
      "frames": frames, "size": 224, "patch": (1, 16, 16), "drop_rate": 0.0, "crop": "whole", "flip": False,
      "colour_jitter": 0.0,
  })  # fmt: skip
  config.data.video.sampling = sampling
  config.data.mixture_by = "batch"  # Batches of pictures (records of one frame) and of videos take turns.
  config.data.text = ml_collections.ConfigDict({
      "length": text_length, "candidates": 1, "lower_case": False, "special_tokens": True, "examples": "clips",
  })  # fmt: skip
  config.optimizer = adam()
  config.optimizer.update({
      "final_learning_rate": 1e-8, "decay": "linear", "b2": 0.98, "epsilon": 1e-6, "weight_decay": 1e-3,
  })  # fmt: skip
  return config


def alpro_finetuning(terms: str, frames: int, text_length: int, examples: str) -> ml_collections.ConfigDict:
  """What ALPRO's downstream tasks share (A.2): its sizes are those of the model that the run starts from.

  Args:
    examples: "captions" or "questions", each of which is an example of its own.
  """
  config = alpro(terms, frames, text_length, sampling="headtail")
  config.init_from = "weights/alpro"
  config.checkpoint_every_steps, config.evaluate_every_steps = 1_000, 1_000
  config.data.text.examples = examples
  config.data.video.rand_augment = "video"
  for name, still_open in (("video_size", ""), ("text_size", ""), ("fusion_layers", -1), ("embedding_width", -1)):
    config.model[name] = still_open
  config.model.max_length = -1
  return config


def alpro_retrieval(text_length: int) -> ml_collections.ConfigDict:
  """Text-to-video retrieval (ALPRO section 4.1, A.2): contrast and matching, 8 frames, each caption an example."""
  config = alpro_finetuning("vtc vtm", frames=8, text_length=text_length, examples="captions")
  config.evaluators = {
    "validation": retrieval("validation", "every"),
    "test": retrieval("test", "final"),
    "test_matching": matching("test", "final"),
  }
  return config


def alpro_as_published(config: ml_collections.ConfigDict) -> None:
  """The argument `official` of the downstream tasks: what ALPRO's code does and its paper does not say."""
  config.optimizer.weight_decay = 0.0
  config.data.video.sampling = "rand"
  if config.objective.name == "alpro_qa":
    config.objective.trained = "official"
  else:
    config.data.video.rand_augment = ""  # Made and never called.


def alpro_questions(answers: int) -> ml_collections.ConfigDict:
  """Open-ended question answering (ALPRO section 4.1, A.2): 16 frames, the most frequent answers as classes."""
  config = alpro_finetuning("", frames=16, text_length=40, examples="questions")
  config.objective = ml_collections.ConfigDict({"name": "alpro_qa", "trained": "all", "other_heads": False})
  config.data.label = ml_collections.ConfigDict({"classes": answers, "multiple": False})
  config.batch_size = 192
  config.optimizer.update({"learning_rate": 5e-5})
  config.evaluators = {
    "validation": classification("validation", "every"),
    "test": classification("test", "final"),
  }
  return config


def alpro_captioning(text_length: int) -> ml_collections.ConfigDict:
  """Writing captions with ALPRO's encoders (ours): 8 frames, each caption an example."""
  config = alpro_finetuning("", frames=8, text_length=text_length, examples="captions")
  config.objective = ml_collections.ConfigDict({"name": "captioning", "begin_id": 101, "end_id": 102})
  config.evaluators = {"validation": captions("validation", "every"), "test": captions("test", "final")}
  return config


def demo_alpro(config: ml_collections.ConfigDict, steps: int, learning_rate: float = 1e-3) -> ml_collections.ConfigDict:
  """The argument `demo` of ALPRO's stages: the demo set's pictures and clips, from scratch, on two cores.

  `launch/alpro_demo.sh` runs them one after the other.
  """
  config.total_steps, config.batch_size = steps, 48
  config.log_every_steps, config.checkpoint_every_steps, config.evaluate_every_steps = 20, 100, 200
  config.model.update({
      "video_size": "demo", "text_size": "4x128x512x4x32", "fusion_layers": 2, "embedding_width": 128, "max_length": 16,
      "drop_path": 0.0,
  })  # fmt: skip
  config.data.directory = "data/demo_clips"
  config.data.mixture = (("data/demo_pictures", 1), ("data/demo_clips", 1))
  config.data.video.update({
      "frames": 2, "size": 48, "patch": (1, 8, 8), "crop": "inception", "min_area": 0.3, "flip": True,
      "colour_jitter": 0.8, "rand_augment": "", "stills": "",
  })  # fmt: skip
  config.data.text.update({"length": 16, "lower_case": True, "examples": "clips"})
  config.optimizer.update({"learning_rate": learning_rate, "warmup_steps": steps // 10, "weight_decay": 0.05})
  _own_vocabulary(config)
  return config


def _own_vocabulary(config: ml_collections.ConfigDict) -> None:
  """Special tokens are not BERT's, but the last three of a vocabulary that `prepare` made: [CLS], [SEP], [MASK]."""
  if config.objective.name == "alpro":
    config.objective.mask_id = -1
  if config.objective.name == "captioning":
    config.objective.update({"begin_id": -3, "end_id": -2})


def shrink_alpro(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """`shrink` for ALPRO: two layers of text, of which one fuses; the vocabulary is the miniature's."""
  config.init_from = ""
  shrink(config)
  config.model.update({"text_size": "2x32x64x2x16", "fusion_layers": 1, "embedding_width": 16, "max_length": 16})
  config.model.entities = 4 if config.objective.get("terms", {}).get("pem") else 0
  config.data.video.patch = (1, 16, 16)
  if config.objective.name == "alpro":
    config.objective.local_rows = 4
  _own_vocabulary(config)
  return config


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The `:smoke` form: the same code at tiny size, on miniature clips, within seconds."""
  config.update({
      "mesh": (1, -1, 1), "batch_size": 8, "total_steps": 4, "log_every_steps": 1, "checkpoint_every_steps": 2, "evaluate_every_steps": 2,
  })  # fmt: skip
  tiny = {
      "model": {
          "video_size": "tiny", "audio_size": "tiny", "text_size": "tiny", "default_size": "tiny", "word_width": 16,
          "post_width": 32, "va_width": 32, "vt_width": 16,
      },
      "data": {"directory": "", "group_by": "", "mixture": ()},
      "data.video": {"frames": 4, "size": 32, "patch": (2, 16, 16)},
      "data.audio": {
          "samples": 3_200, "sample_rate_hz": 8_000, "patch": 160, "spectrogram_patch": (4, 8), "mels": 16,
          "mel_high_hz": 3800.0,
      },
      "data.text": {"length": 8},
      "data.label": {"classes": 0},
      "objective": {"width": 16},
      "optimizer": {"warmup_steps": 2},
  }  # fmt: skip
  for place, fields in tiny.items():
    node = config
    for part in place.split("."):
      node = node.get(part) if node is not None else None
    if node is not None:
      node.update({name: value for name, value in fields.items() if name in node and node[name] not in (0, -1, ())})
  for evaluator in config.evaluators.values():
    evaluator.batch_size = 8
    evaluator.windows = 1
  return config
