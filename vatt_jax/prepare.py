r"""Turns media into a data set of clips that `train` and `evaluate` read.

  python -m vatt_jax.prepare --source=demo --output=data/demo        # a small real data set, downloaded
  python -m vatt_jax.prepare --source=demo:clips --output=DIR        # its silent clips in English, or another one below
  python -m vatt_jax.prepare --source=~/videos --output=data/mine    # every video and sound file below a folder
  python -m vatt_jax.prepare --source=clips.csv --output=data/mine   # a manifest: one clip, or one file, a row
  python -m vatt_jax.prepare --source=tfds:msrvtt --manual_dir=~/msrvtt --output=data/msrvtt    # a public data set

FOLDER. Captions lie beside the media under the same name: talk.mp4 with talk.srt or talk.vtt (each subtitle becomes a
clip; talk.fr.srt says that they are French), talk.txt (each line is a caption of the whole file), or talk.json
({"caption": ..., "label": ..., "language": ..., "start": ..., "end": ..., "split": ...}, or a list of such). Without
times a file is cut into windows of --clip_seconds. Captions of the sound alone, say, are "caption_sound": ..., of the
picture "caption_picture": any word may follow caption_, here and in a manifest. talk.wav gives its sound to a silent talk.mp4. Folders named train,
validation and test at the top are splits; files without any caption get the name of their folder as label.

MANIFEST. A .csv, .tsv or .jsonl file with the columns video, audio (a separate sound track, or sound alone), start,
end (seconds or H:MM:SS), caption, label (several: a|b), language, split, licence; paths are relative to the manifest. A
row with start and end is one clip, rows that name the same clip give it several captions, and a row without times is
cut into windows.

MORE SMALL SETS, downloaded too. --source=demo:clips and demo:pictures are the demo set without sound, in English;
demo:effects is what its animals, engines and instruments sound like, with picture and caption; demo:kinds is the demo
set with captions of the sound, of the picture and of both; demo:letters are spoken letters, demo:clothes are pictures of
clothes, both with labels.

PUBLIC DATA SET. --source=tfds:NAME, or tfds:NAME/VARIANT as in tfds:ucf101/split2, reads official annotation files and
the media that lie in --manual_dir, in any arrangement; what is missing is listed, not fatal. --source=tfds:? lists the
names; vatt_jax/preparation/datasets/README.md says what each folder must hold.

Broken files never stop it: what can be used is used, the rest is listed in the table at the end and in
OUTPUT/preparation.json. Stopped at any moment, the same command goes on with what is decoded; run again when all is
done, it looks for files that are new or changed.
"""

import errno
import functools
import os
import pathlib
import sys

from absl import flags

from vatt_jax import errors

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

_SOURCE = flags.DEFINE_string(
  "source", None, "'demo' or demo:NAME, a folder of media, a manifest (.csv, .tsv, .jsonl), or tfds:NAME."
)
_MANUAL_DIR = flags.DEFINE_string("manual_dir", None, "Folder with the annotations and media of tfds:NAME.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the data set; made where needed.")
_CLIP_SECONDS = flags.DEFINE_float(
  "clip_seconds", None, "Length of the windows of files without times (10).", lower_bound=0.1
)
_FRAMES_PER_SECOND = flags.DEFINE_float(
  "frames_per_second", None, "Most frames kept a second of video (10).", lower_bound=0.01, upper_bound=240
)
_SHORT_SIDE = flags.DEFINE_integer(
  "short_side", None, "Frames are scaled down to this short side in pixels (256; demo: 128).", lower_bound=8
)
_SAMPLE_RATE_HZ = flags.DEFINE_integer(
  "sample_rate_hz",
  None,
  "Sound is resampled to this rate (48000; demo: 16000).",
  lower_bound=1000,
  upper_bound=384_000,
)
_VOCABULARY_SIZE = flags.DEFINE_integer(
  "vocabulary_size", None, "SentencePiece pieces; 0 chooses by the amount of text (0; demo: 500).", lower_bound=0
)
_WORKERS = flags.DEFINE_integer(
  "workers", CORES, "Processes that decode; 0 decodes in this process.", lower_bound=0, upper_bound=1024
)
_FILE_TIMEOUT_SECONDS = flags.DEFINE_float(
  "file_timeout_seconds",
  3600.0,
  "A file is rejected when decoding it gets nowhere for so long; not with --workers=0 or --beam.",
  lower_bound=1.0,
)

_BEAM = flags.DEFINE_string(
  "beam",
  None,
  "Options of an Apache Beam pipeline that decodes instead of --workers, such as '--runner=FlinkRunner "
  "--parallelism=64'; its machines must see the media and --output under the same paths. Empty: Beam's local runner.",
)
_CHECK_DISK = flags.DEFINE_boolean("check_disk", True, "Stop where the estimated need exceeds the free disk.")

MEDIA = {"frames_per_second": 10.0, "short_side": 256, "sample_rate_hz": 48_000, "vocabulary_size": 0}
DEFAULTS = {
  "demo": {"frames_per_second": 10.0, "short_side": 128, "sample_rate_hz": 16_000, "vocabulary_size": 500},
  "folder": {"clip_seconds": 10.0} | MEDIA,
  "manifest": {"clip_seconds": 10.0} | MEDIA,
  "tfds": MEDIA,
}
MANIFEST_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"What does {argv[1]!r} mean? Options look like --source=FOLDER; --help lists them.")
  if not _SOURCE.value or not _OUTPUT.value:
    raise errors.UserError("Say what to prepare and where: --source=demo|FOLDER|MANIFEST|tfds:NAME --output=FOLDER.")
  source, output = os.path.expanduser(_SOURCE.value), os.path.expanduser(_OUTPUT.value)
  if "://" in output:
    raise errors.UserError("ArrayRecord files can be written to local and mounted folders only: copy them afterwards.")
  kind = _kind(source)
  options = _options(kind)
  units, what = _find(kind, source, output, options)
  _prepare(units, source if kind in ("demo", "tfds") else os.path.abspath(source), output, options, what)


def _kind(source: str) -> str:
  if source.partition(":")[0] == "demo":
    return "demo"
  if source.startswith("tfds:"):
    return "tfds"
  path = pathlib.Path(source)
  if path.is_dir():
    return "folder"
  if path.is_file() and path.suffix.lower() in MANIFEST_ENDINGS:
    return "manifest"
  if path.exists():
    raise errors.UserError(f"{source} is neither a folder nor a manifest ({', '.join(MANIFEST_ENDINGS)}).")
  raise errors.UserError(f"{source} does not exist. --source takes a folder, a manifest, tfds:NAME, or the word demo.")


def _options(kind: str) -> dict:
  """The flags that shape the clips, with the defaults of this kind of source."""
  given = {
    "clip_seconds": _CLIP_SECONDS.value,
    "frames_per_second": _FRAMES_PER_SECOND.value,
    "short_side": _SHORT_SIDE.value,
    "sample_rate_hz": _SAMPLE_RATE_HZ.value,
    "vocabulary_size": _VOCABULARY_SIZE.value,
  }
  if kind == "demo" and given["clip_seconds"] is not None:
    raise errors.UserError("--clip_seconds does not apply to the demo set: its clips are as long as their sounds.")
  if kind == "tfds" and given["clip_seconds"] is not None:
    raise errors.UserError("--clip_seconds does not apply to public data sets: their annotations say what a clip is.")
  return {name: default if given[name] is None else given[name] for name, default in DEFAULTS[kind].items()}


def _find(kind: str, source: str, output: str, options: dict):
  """The units of a source, and what else `dataset.prepare` has to know of it."""
  from vatt_jax.preparation import digests, units

  media = {name: value for name, value in options.items() if name != "vocabulary_size"}
  if kind == "demo":
    from vatt_jax.preparation import debian, labelled, stamps

    variant = source.partition(":")[2]
    try:
      if variant in labelled.MANIFESTS:
        kind, source = "manifest", str(labelled.MANIFESTS[variant]())
      elif variant in stamps.KINDS:
        by_kind = functools.partial(stamps.units, kind=stamps.StampByKind)
        voiced = {"": stamps.units, "effects": stamps.effects, "kinds": by_kind}
        return voiced[variant](**media) if variant in voiced else stamps.silent_units(variant, **media), {}
      else:
        known = ", ".join(f"demo:{each}" for each in (*stamps.KINDS, *labelled.MANIFESTS) if each)
        raise errors.UserError(f"{source} is none of demo, {known}.")
    except debian.Unavailable as error:
      raise errors.UserError(str(error)) from error
  remembered = digests.Digests(os.path.join(output, ".work", "digests.jsonl"))
  options = units.Options(**media)
  if kind == "tfds":
    from vatt_jax.preparation import datasets

    name = source.removeprefix("tfds:")
    datasets.lookup(name)
    if not os.path.isdir(directory := os.path.expanduser(_MANUAL_DIR.value or "")):
      raise errors.UserError(f"{source} needs --manual_dir=FOLDER, with its annotation files and its media in it.")
    reading = datasets.find(name, directory, options, remembered, skip=output)
    return reading.units, {"problems": reading.problems, "labels": reading.labels, "official_splits": True}
  if kind == "manifest":
    from vatt_jax.preparation import manifest

    found, problems = manifest.units(source, options, remembered)
  else:
    from vatt_jax.preparation import folder

    found, problems = folder.units(source, options, remembered, skip=output)
  return found, {"problems": problems}


def _prepare(units, source: str, output: str, options: dict, what: dict) -> None:
  from etils import epath

  from vatt_jax.preparation import dataset, summary

  try:
    with errors.cleaning_up():
      outcome = dataset.prepare(
        units,
        output,
        source=source,
        options=options,
        check_disk=_CHECK_DISK.value,
        workers=_WORKERS.value,
        file_timeout_seconds=_FILE_TIMEOUT_SECONDS.value,
        beam=_BEAM.value,
        **what,
      )
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
      raise
    raise errors.UserError(f"{output} cannot be written: {error.strerror}. What is decoded is kept.") from error
  except KeyboardInterrupt:
    print("\nStopped. What is decoded is kept; the same command goes on from there.", file=sys.stderr)
    sys.exit(errors.INTERRUPTED)
  print(summary.table(outcome.preparation, epath.Path(output)))
  state = "is complete and nothing has changed" if outcome.unchanged else "is ready"
  print(f"\n{output} {state}: {outcome.preparation['accepted']:,} clips.")


if __name__ == "__main__":
  errors.run(main)
