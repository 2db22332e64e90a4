"""Embeddings of videos, sounds, pictures and sentences, and search in them.

  python -m vatt_jax.embed --checkpoint=runs/first --output=media.npz ~/videos talk.mp3 cat.jpg sentences.txt
  python -m vatt_jax.embed --index=media.npz --query="a dog barks" --gallery=found.html
  python -m vatt_jax.embed --index=media.npz --query_media=bark.wav --in=video,text --json=found.json

EMBED. Files of any kind, folders (all media below), .txt files (a sentence each line) and --text="..." are embedded by any
checkpoint: a workdir of `train`, one of its checkpoints, or a converted directory. Files are cut into windows of what the
model sees at once, or of --clip_seconds. A file that cannot be used is named with the reason and left out. Stopped at
any moment, the same command goes on; run again later, it embeds what is new or has changed.

The index is a NumPy file: `names`, `start`, `end` (seconds) and `modality` have a row for each window and modality, and an
array such as `video/va` has a row for each row of its modality, in the same order. `about` says in JSON what made it.

SEARCH. A sentence, or a file by its picture and by its sound, among everything in the index. Only the checkpoint that made an
index can search in it; where it has moved, name it with --checkpoint. The page of --gallery plays films and sounds at the
second that was found; it links to the files.
"""

import os
import sys

from absl import flags

from vatt_jax import errors

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
MODALITIES = ("video", "audio", "text")


def main(argv: list[str]) -> None:
  given = flags.FLAGS
  asked = [name for name in ("query", "query_media") if given[name].value]
  if given.index and (given.output or given.text or argv[1:]):
    raise errors.UserError("either --output=FILE.npz with media, or --index=FILE.npz with a query; not both.")
  if given.query and not given.query.strip():
    raise errors.UserError('--query is blank: it takes words, such as --query="a dog barks".')
  if given.index and len(asked) != 1:
    raise errors.UserError('--index=FILE.npz needs one query: --query="a dog barks" or --query_media=FILE.')
  if given.index:
    search(given.index, given.query, given.query_media)
    return
  if asked:
    raise errors.UserError("a query needs the index to search in: --index=FILE.npz.")
  if not given.checkpoint or not given.output or not (argv[1:] or given.text):
    raise errors.UserError(
      "--checkpoint=PATH --output=FILE.npz MEDIA are needed to embed, --index=FILE.npz --query=... to search."
    )
  embed(given.checkpoint, given.output, argv[1:], given.text)


def embed(checkpoint: str, output: str, media: list[str], sentences: list[str]) -> None:
  """Embeds media and sentences into the index `output`."""
  from vatt_jax.search import sources

  found, problems = sources.find(media, sentences or ())
  for problem in problems:
    print(f"{problem.file} is left out: {problem.reason}.")
  if not found:
    raise errors.UserError("there is nothing to embed: name videos, sounds, images, folders of them, or sentences.")
  trained = _open(checkpoint)
  from vatt_jax.search import making

  given = flags.FLAGS
  try:
    with errors.cleaning_up():
      index, rejected = making.embed(
        trained, found, output, clip_seconds=given.clip_seconds, batch_size=given.batch_size, workers=given.workers,
        progress=True,
      )  # fmt: skip
  except KeyboardInterrupt:
    print("\nStopped. What is embedded is kept; the same command goes on from there.", file=sys.stderr)
    sys.exit(errors.INTERRUPTED)
  counts = ", ".join(f"{len(index.rows(name))} {name}" for name in MODALITIES if len(index.rows(name)))
  print(
    f"{output}: {len(index.about['sources'])} sources, windows: {counts}; left out: {len(problems) + len(rejected)}."
  )


def search(path: str, sentence: str | None, media: str | None) -> None:
  """Searches the index for a sentence or a file, prints a table, and writes what flags ask for."""
  import dataclasses
  import json

  from etils import epath

  targets = _targets(flags.FLAGS["in"].value or [])
  if media and not os.path.isfile(media):
    what = "is not a file" if os.path.exists(media) else "does not exist"
    raise errors.UserError(f"--query_media={media} {what}.")
  from vatt_jax.search import encoder, index as index_lib, query, sources
  from vatt_jax.training.state import fingerprint

  index = index_lib.load(epath.Path(path))
  trained = _open(flags.FLAGS.checkpoint or _checkpoint_of(index.about, path))
  index_lib.check_checkpoint(index, fingerprint(trained.variables["params"]), epath.Path(path))
  source = sources.Source(os.path.abspath(media)) if media else sources.Source(sentence, is_text=True)
  encode = encoder.Encoder(trained, flags.FLAGS.batch_size if media else 1)
  asked = query.embed(source, encode, encode.decoding(index.about["clip_seconds"]))
  found = query.search(index, asked, trained.objective.spaces, targets, flags.FLAGS.most)
  print(query.table(found))
  if flags.FLAGS.json:
    report = {"index": path, "query": source.name, "results": [dataclasses.asdict(each) for each in found]}
    _write(flags.FLAGS.json, json.dumps(report, indent=2) + "\n")
  if flags.FLAGS.gallery:
    from vatt_jax.search import gallery

    page = gallery.page(source.name, found, os.path.dirname(os.path.abspath(flags.FLAGS.gallery)))
    _write(flags.FLAGS.gallery, page)
    print(f"\n{flags.FLAGS.gallery} shows them.")


def _open(checkpoint: str):
  """The checkpoint; JAX and TensorFlow start here, after everything that can be found wrong without them."""
  import tensorflow as tf

  from vatt_jax import jobs

  tf.config.set_visible_devices([], "GPU")
  jobs.compilation_cache()
  return jobs.open_checkpoint(checkpoint)


def _checkpoint_of(about: dict, path: str) -> str:
  from etils import epath

  if not epath.Path(about["checkpoint"]).exists():
    raise errors.UserError(
      f"{path} was made by {about['checkpoint']}, which is gone; --checkpoint=PATH names a copy of it (fingerprint "
      f"{about['fingerprint'][:12]})."
    )
  return about["checkpoint"]


def _targets(names: list[str]) -> list[str]:
  if unknown := [name for name in names if name not in MODALITIES]:
    raise errors.UserError(f"--in={','.join(names)}: {unknown[0]!r} is not one of {', '.join(MODALITIES)}.")
  return names


def _write(path: str, content: str) -> None:
  try:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
      file.write(content)
  except OSError as error:
    raise errors.UserError(f"{path} cannot be written: {error.strerror}.") from error


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  string = lambda name, what: flags.DEFINE_string(name, None, what, flag_values=values)
  whole = lambda name, default, low, what: flags.DEFINE_integer(
    name, default, what, lower_bound=low, flag_values=values
  )
  string(
    "checkpoint", "A workdir of `train`, one checkpoint, or a converted directory; search takes that of the index."
  )
  string("output", "The index to make or to add to, FILE.npz.")
  flags.DEFINE_multi_string("text", None, "A sentence to embed; may be given several times.", flag_values=values)
  flags.DEFINE_float(
    "clip_seconds", None, "Length of the windows that files are cut into; default: what the model sees at once.",
    lower_bound=0.04, flag_values=values,
  )  # fmt: skip
  whole("batch_size", 16, 1, "How many windows the devices take at once.")
  whole("workers", CORES, 0, "Processes that decode; 0 decodes in this process.")
  string("index", "The index to search in.")
  string("query", "What to search for, in words.")
  string("query_media", "What to search for: a video, a sound or an image.")
  flags.DEFINE_list("in", None, "Modalities to search in: video, audio, text; default: all.", flag_values=values)
  whole("most", 10, 1, "Results for each pair of modalities.")
  string("json", "Where the results go for scripts, beside being printed.")
  string("gallery", "Where a page of the results goes, FILE.html.")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
