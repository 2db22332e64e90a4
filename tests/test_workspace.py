"""The examples of WORKSPACE.md, "How to add", are run as they stand."""

import os
import pathlib
import re
import shlex

import jax
import numpy as np
import pytest

from tests import test_readme
from vatt_jax.data import records as records_lib
from vatt_jax.evaluation import evaluators
from vatt_jax.models import sizes

ROOT = pathlib.Path(__file__).parent.parent
SECTION = (ROOT / "WORKSPACE.md").read_text().split("\n## How to add\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"^### (.*?)\n.*?^```python\n(.*?)^```", SECTION, flags=re.M | re.S)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", SECTION, flags=re.S) for line in block.splitlines()]
COMMANDS += re.findall(r"`(python -m .*?)`", SECTION)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
  """What the blocks defined, one after another; the tables of the repository stay as they are."""
  found, here = {"__name__": "examples"}, os.getcwd()
  os.chdir(tmp_path_factory.mktemp("examples"))
  with pytest.MonkeyPatch.context() as patch:
    for module, table in ((evaluators, "EVALUATORS"), (sizes, "SIZES")):
      patch.setattr(module, table, dict(getattr(module, table)))
    try:
      for title, block in EXAMPLES:
        exec(compile(block, f"WORKSPACE.md, {title}", "exec"), found)
      yield found
    finally:
      os.chdir(here)


def test_every_block_is_an_example():
  assert [title for title, _ in EXAMPLES] == ["A data set", "An objective", "An evaluator", "A size"]
  assert SECTION.count("```python") == len(EXAMPLES)


def test_the_data_set_is_prepared_and_read(names):
  assert records_lib.splits("data/squares") == {"train": 18, "test": 6}
  batch = names["batch"]
  assert batch["video/present"].all() and batch["text/present"].all() and batch["text/mask"].sum(-1).min() > 3
  red = batch["video/patches"].reshape(8, -1, 3).max(axis=1).argmax(axis=1) == 0
  words = ["".join(names["inputs"].tokenizer.pieces(row[row > 0].tolist())) for row in batch["text/ids"][:, 0]]
  assert red.tolist() == [" red" in text for text in words] and 0 < red.sum() < 8


def test_a_broken_file_is_rejected(names):
  pathlib.Path("arrays/broken.npy").write_text("no array")
  broken = names["Frames"](pathlib.Path("arrays/broken.npy")).decode()
  assert not broken.clips and "it is no array" in broken.rejected[0].reason


def test_the_objective_learns_from_it(names):
  assert np.isfinite(names["loss"]) and set(names["metrics"]) == {"loss", "train/token_accuracy"}
  assert names["model_state"] == {}


def test_the_evaluator_runs(names):
  assert list(names["found"]) == ["eval/test/different"] and 1 / 6 <= names["found"]["eval/test/different"] <= 1


def test_a_size_has_two_spellings(names):
  named, spelled = names["shapes"].values()
  assert jax.tree.map(lambda leaf: leaf.shape, named) == jax.tree.map(lambda leaf: leaf.shape, spelled)
  assert named["params"]["text"]["layer_3"]["feed_forward_in"]["kernel"].shape == (256, 1024)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_these_flags(command, monkeypatch):
  test_readme.test_a_program_takes_these_flags(shlex.split(command), monkeypatch)
