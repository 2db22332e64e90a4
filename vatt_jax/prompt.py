"""Entities: which there are, and what a trained prompter, ALPRO's or a VATT, has to know of them before it teaches.

  python -m vatt_jax.prompt --nouns_from=data/webvid --output=nouns.txt
  python -m vatt_jax.prompt --checkpoint=runs/prompter --entities=nouns.txt --output=weights/prompter

The first command counts the nouns of the training captions (of several data sets behind commas) and writes the most
frequent ones, a noun and its count a line; it needs a tagger: pip install -r launch/nouns-requirements.txt.

The second computes the features of the entities' prompts, once, before pretraining. `--entities` has one entity a line,
the most frequent first; a count may follow. With a tab and a text behind the entity, that text is its only prompt.
`--prompts` says what the others are asked by: templates (12, their mean; ALPRO), template (one of them), noun (the bare
word), definition (WordNet's first sense of the noun, a paragraph) or templates_definition (both). The output is the
prompter with its prompts: a place for config.init_from of configs/pretrain/alpro.py, and
`vatt_jax.load(...).entities(video)` names what it sees.
"""

from absl import flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  string = lambda name, default, what: flags.DEFINE_string(name, default, what, flag_values=values)
  string("checkpoint", None, "The trained prompter: a workdir, a checkpoint, or a converted directory.")
  string("entities", None, "A file with one entity a line.")
  string("output", None, "A new directory for the prompter with its prompts, or a new file for a list of nouns.")
  string("prompts", "templates", "What entities are asked by: templates (12, averaged), template, noun, definition "
         "(WordNet's) or templates_definition.")  # fmt: skip
  string("nouns_from", None, "Prepared data sets, behind commas: their most frequent nouns are written to --output.")
  string("language", "en", "Of the captions whose nouns count; the tagger knows English.")
  flags.DEFINE_integer("most", 1000, "How many entities, from the first.", lower_bound=2, flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

from collections import Counter
from collections.abc import Iterator, Sequence

from etils import epath
import numpy as np
import tensorflow as tf
import tqdm

import vatt_jax
from vatt_jax import jobs, storage
from vatt_jax.data import records as records_lib, text
from vatt_jax.preparation import debian, nouns, wordnet
from vatt_jax.training import checkpoints

ARTICLES = ("a", "the", "one")
VIDEO = ("A footage of", "A video of", "A portrait of", "A video footage of")
IMAGE = ("A photo of", "A picture of", "A good photo of", "A good picture of")
AUDIO = ("A recording of", "A sound of", "The noise of", "A good recording of")  # Ours, for VATT.
AT_ONCE = 256  # sentences per batch, and records per read


def templates(name: str, begins: Sequence[str], definition: str = "") -> list[str]:
  """ALPRO's 12: each beginning with each article."""
  return [f"{begin} {article} {name}." for begin in begins for article in ARTICLES]


def described(name: str, begins: Sequence[str], definition: str) -> list[str]:
  """The definition; the templates for what has none."""
  return [f"{name}: {definition}."] if definition else templates(name, begins)


# How an entity becomes prompts, by name: (entity, beginnings of sentences, definition or "") -> sentences.
SOURCES = {
  "templates": templates,
  "template": lambda name, begins, definition: [f"{begins[1]} a {name}."],
  "noun": lambda name, begins, definition: [name],
  "definition": described,
  "templates_definition": lambda *given: list(dict.fromkeys(templates(*given) + described(*given))),
}


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  value = lambda name: flags.FLAGS[name].value
  needed = ("nouns_from", "output") if value("nouns_from") else ("checkpoint", "entities", "output")
  if missing := [f"--{name}" for name in needed if not value(name)]:
    raise errors.UserError(
      f"{', '.join(missing)} missing: --nouns_from and --output write a list of entities, --checkpoint, --entities and "
      "--output give them to a prompter."
    )
  if value("nouns_from"):
    if extra := [f"--{name}" for name in ("checkpoint", "entities") if value(name)]:
      raise errors.UserError(f"{', '.join(extra)} with --nouns_from: make the list first, look at it, then use it.")
    write_nouns(value("nouns_from"), value("output"), value("most"), value("language"))
  else:
    prompt(value("checkpoint"), value("entities"), value("output"), value("prompts"), value("most"))


def write_nouns(directories: str, output: str, most: int = 1000, language: str = "en") -> None:
  """Writes the `most` frequent nouns of the training captions, `noun<TAB>count` a line, the most frequent first.

  Args:
    directories: one or several prepared data sets, behind commas.
    language: of the clips that count, beside those that do not say theirs.

  Raises:
    UserError: when there is no tagger, or there are no captions, or `output` exists.
  """
  if epath.Path(output).exists():
    raise errors.UserError(f"--output={output} exists already; choose a new file.")
  tagger = nouns.english_tagger()  # Before anything is read.
  found, captions = Counter(), 0
  for directory in jobs.starts(directories):
    for caption in read_captions(directory, language):
      found.update(nouns.of_caption(caption, tagger))
      captions += 1
  if len(found) < 2:
    raise errors.UserError(f"{captions:,} captions in {language!r} at {directories} have {len(found)} nouns.")
  kept = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]
  epath.Path(output).parent.mkdir(parents=True, exist_ok=True)
  storage.write(epath.Path(output), "".join(f"{noun}\t{count}\n" for noun, count in kept))
  print(
    f"{captions:,} captions have {len(found):,} nouns; the {len(kept):,} most frequent, from {kept[0][0]} "
    f"({kept[0][1]:,}) to {kept[-1][0]} ({kept[-1][1]:,})\nwritten: {output}"
  )


def read_captions(directory: str, language: str) -> Iterator[str]:
  """The captions of the training clips in this language, and of those that do not say theirs."""
  records = records_lib.Records(directory, "train")
  wanted = {name: records_lib.FEATURES[name] for name in ("captions/text", "language")}
  for start in tqdm.trange(0, len(records), AT_ONCE, desc="captions", leave=False, disable=None):
    block = [records[number] for number in range(start, min(start + AT_ONCE, len(records)))]
    parsed = tf.io.parse_example(block, wanted)
    for own, texts in zip(parsed["language"].numpy(), parsed["captions/text"].to_list()):
      if own.decode("utf-8", "replace") in ("", language):
        yield from (each.decode("utf-8", "replace") for each in texts)


def prompt(checkpoint: str, entities: str, output: str, source: str = "templates", most: int = 1000) -> None:
  """Writes the prompter of `checkpoint` with the prompts of the first `most` entities of a file to `output`.

  Args:
    source: a name in `SOURCES`; entities with texts of their own do without.

  Raises:
    UserError: when there is no prompter or no entity, no WordNet where definitions are asked for, or `output` holds
      something.
  """
  place = epath.Path(output)
  if place.exists() and (not place.is_dir() or any(place.iterdir())):
    raise errors.UserError(f"--output={output} holds something already; choose a new directory.")
  if source not in SOURCES:
    raise errors.UserError(f"--prompts={source} is not one of {', '.join(SOURCES)}.")
  found = read_entities(entities, most)
  meanings = define(found) if "definition" in source else {}
  model = vatt_jax.load(checkpoint)
  features = {}
  for kind, begins in (("video", VIDEO), ("image", IMAGE), ("audio", AUDIO)):
    if outputs := model.spaces.get(("video" if kind == "image" else kind, "text")):
      asked = lambda name, own, begins=begins: [own] if own else SOURCES[source](name, begins, meanings.get(name, ""))
      prompts = [asked(name, own) for name, own in found.items()]
      features[f"{kind}_prompts"] = prompt_features(model, prompts, outputs[1])
  if "video_prompts" not in features:
    raise errors.UserError("this checkpoint is no prompter: it was not trained to compare video and text.")
  origin, variables = checkpoints.read(checkpoint)
  variables = {**variables, "prompter": features}
  manifest = checkpoints.manifest(origin)
  manifest = {
      "step": manifest["step"], "config": manifest["config"], "versions": jobs.versions(),
      "parameters": jobs.describe(variables["params"]),
      "prompts": {"checkpoint": checkpoint, "source": source, "entities": len(found)},
  }  # fmt: skip
  alpro = "entities" in manifest["config"]["model"]
  manifest["config"]["model" if alpro else "objective"]["entities" if alpro else "known"] = len(found)
  kept = {jobs.ENTITIES: "".join(f"{name}\n" for name in found).encode()}
  if model.tokenizer:
    kept[f"{text.FOLDER}/{model.tokenizer.file}"] = model.tokenizer.content
  checkpoints.save_variables(output, variables, manifest, kept)
  norm = float(np.mean(np.linalg.norm(features["video_prompts"], axis=1)))
  print(f"{checkpoint}: prompts of {len(found):,} entities ({source}), of mean length {norm:.2f}\nwritten: {output}")


def define(entities: dict[str, str]) -> dict[str, str]:
  """Entity -> WordNet's definition, for those that have no text of their own; tells how many WordNet lacks."""
  asked = [name for name, own in entities.items() if not own]
  try:
    found = wordnet.definitions(asked, wordnet.fetch())
  except debian.Unavailable as error:
    raise errors.UserError(str(error)) from error
  if lacking := [name for name in asked if name not in found]:
    few = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
    print(f"WordNet lacks {len(lacking):,} of {len(asked):,} entities, which keep the templates: {few}")
  return found


def read_entities(place: str, most: int) -> dict[str, str]:
  """Entity -> its own text or "", in the order of the file.

  A line is an entity, an entity and a count, or an entity, a tab and a text.
  """
  path = epath.Path(place)
  if not path.is_file():
    raise errors.UserError(f"there is no list of entities at {place}.")
  found = {}
  for line in path.read_text().splitlines():
    entity, _, own = (part.strip() for part in line.partition("\t"))
    if own.isdigit() or not own:
      own, words = "", entity.split()
      entity = " ".join(words[:-1] if len(words) > 1 and words[-1].isdigit() else words)
    if entity:
      found.setdefault(entity, own)
  if len(found) < 2:
    raise errors.UserError(f"{place} names {len(found)} entities; there have to be two at least.")
  return dict(list(found.items())[:most])


def prompt_features(model, prompts: list[list[str]], output: str = "text/vtc") -> np.ndarray:
  """float32 (entities, E): the mean over an entity's prompts of their unit vectors, not of unit length again."""
  owners = np.repeat(np.arange(len(prompts)), [len(own) for own in prompts])
  sentences, sums = [sentence for own in prompts for sentence in own], 0.0
  for start in range(0, len(sentences), AT_ONCE):
    rows = sentences[start : start + AT_ONCE]
    out = model.encode(text=rows + [""] * (AT_ONCE - len(rows)))[output][: len(rows)]  # One shape, one compilation.
    if start == 0:
      sums = np.zeros([len(prompts), out.shape[1]])
    np.add.at(sums, owners[start : start + AT_ONCE], out / np.linalg.norm(out, axis=1, keepdims=True))
  return (sums / np.bincount(owners)[:, None]).astype(np.float32)
