"""Gives a trained ALPRO prompter its entities: the features of their prompts, computed once, before pretraining.

  python -m vatt_jax.prompt --checkpoint=runs/prompter --entities=nouns.txt --output=weights/prompter

`--entities` has one entity a line, the most frequent first; a count may follow. With a tab and a text behind the entity,
that text is its only prompt. The output is the prompter with its prompts: a place for config.init_from of
configs/pretrain/alpro.py, and `vatt_jax.load(...).entities(video)` names what it sees.
"""

from absl import flags
from etils import epath
import numpy as np

import vatt_jax
from vatt_jax import errors, jobs
from vatt_jax.data import text
from vatt_jax.training import checkpoints

ARTICLES = ("a", "the", "one")
VIDEO = ("A footage of", "A video of", "A portrait of", "A video footage of")
IMAGE = ("A photo of", "A picture of", "A good photo of", "A good picture of")
AT_ONCE = 256  # sentences per batch

# How an entity becomes prompts, by name: beginnings of sentences -> patterns.
SOURCES = {
  "templates": lambda begins: [f"{begin} {article} {{}}." for begin in begins for article in ARTICLES],
  "template": lambda begins: [f"{begins[1]} a {{}}."],
  "noun": lambda begins: ["{}"],
}


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  given = {name: flags.FLAGS[name].value for name in ("checkpoint", "entities", "output")}
  if missing := [f"--{name}" for name, value in given.items() if not value]:
    raise errors.UserError(f"{', '.join(missing)} missing: --checkpoint, --entities and --output are needed.")
  prompt(**given, source=flags.FLAGS["prompts"].value, most=flags.FLAGS["most"].value)


def prompt(checkpoint: str, entities: str, output: str, source: str = "templates", most: int = 1000) -> None:
  """Writes the prompter of `checkpoint` with the prompts of the first `most` entities of a file to `output`.

  Args:
    source: a name in `SOURCES`; entities with texts of their own do without.

  Raises:
    UserError: when there is no prompter or no entity, or `output` holds something.
  """
  place = epath.Path(output)
  if place.exists() and (not place.is_dir() or any(place.iterdir())):
    raise errors.UserError(f"--output={output} holds something already; choose a new directory.")
  if source not in SOURCES:
    raise errors.UserError(f"--prompts={source} is not one of {', '.join(SOURCES)}.")
  found = read_entities(entities, most)
  model = vatt_jax.load(checkpoint)
  features = {
    f"{kind}_prompts": prompt_features(model, found, SOURCES[source](begins))
    for kind, begins in (("video", VIDEO), ("image", IMAGE))
  }
  origin = checkpoints.find(checkpoint)
  variables = {"params": checkpoints.restore_variables(origin)["params"], "prompter": features}
  manifest = checkpoints.manifest(origin)
  manifest = {
      "step": manifest["step"], "config": manifest["config"], "versions": jobs.versions(),
      "parameters": jobs.describe(variables["params"]),
      "prompts": {"checkpoint": checkpoint, "source": source, "entities": len(found)},
  }  # fmt: skip
  manifest["config"]["model"]["entities"] = len(found)
  kept = {jobs.ENTITIES: "".join(f"{name}\n" for name in found).encode()}
  if model.tokenizer:
    kept[f"{text.FOLDER}/{model.tokenizer.file}"] = model.tokenizer.content
  checkpoints.save_variables(output, variables, manifest, kept)
  norm = float(np.mean(np.linalg.norm(features["video_prompts"], axis=1)))
  print(f"{checkpoint}: prompts of {len(found):,} entities ({source}), of mean length {norm:.2f}\nwritten: {output}")


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


def prompt_features(model, entities: dict[str, str], patterns: list[str]) -> np.ndarray:
  """float32 (entities, E): the mean over an entity's prompts of their unit vectors, not of unit length again."""
  sentences = [(i, own) for i, own in enumerate(entities.values()) if own]
  sentences += [(i, p.format(name)) for i, (name, own) in enumerate(entities.items()) if not own for p in patterns]
  sums, counts = 0.0, np.bincount([i for i, _ in sentences], minlength=len(entities))
  for start in range(0, len(sentences), AT_ONCE):
    rows = sentences[start : start + AT_ONCE]
    filled = [sentence for _, sentence in rows] + [""] * (AT_ONCE - len(rows))  # One shape, one compilation.
    out = model.encode(text=filled)
    if "text/vtc" not in out:
      raise errors.UserError("this checkpoint is no prompter: it was not trained to compare video and text.")
    if start == 0:
      sums = np.zeros([len(entities), out["text/vtc"].shape[1]])
    np.add.at(sums, [i for i, _ in rows], out["text/vtc"][: len(rows)])
  return (sums / counts[:, None]).astype(np.float32)


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  string = lambda name, default, what: flags.DEFINE_string(name, default, what, flag_values=values)
  string("checkpoint", None, "The trained prompter: a workdir, a checkpoint, or a converted directory.")
  string("entities", None, "A file with one entity a line.")
  string("output", None, "A new directory for the prompter with its prompts.")
  string("prompts", "templates", "templates (12, averaged), template (one of them) or noun (the bare word).")
  flags.DEFINE_integer("most", 1000, "How many entities, from the first.", lower_bound=2, flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
