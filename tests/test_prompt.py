"""From a prompter to pretraining with the entities that it knows."""

import numpy as np
import pytest

from tests.test_configs import load
import vatt_jax
from vatt_jax import evaluate, prompt, train
from vatt_jax.errors import UserError
from vatt_jax.training import checkpoints

COLOURS = "red 30\nblue 20\ngreen\nyellow\tThe colour of lemons.\n"


def test_the_twelve_templates():
  video, image = (prompt.SOURCES["templates"]("cat", begins, "") for begins in (prompt.VIDEO, prompt.IMAGE))
  assert len(set(video)) == len(set(image)) == 12
  assert "A video footage of one cat." in video and "A good photo of the cat." in image


def test_every_source_says_what_it_is_called():
  ask = lambda source, meaning: prompt.SOURCES[source]("cat", prompt.VIDEO, meaning)
  assert ask("noun", "an animal") == ["cat"] and ask("template", "an animal") == ["A video of a cat."]
  assert ask("definition", "an animal") == ["cat: an animal."] and len(ask("templates_definition", "an animal")) == 13
  for source in ("definition", "templates_definition"):  # What WordNet lacks.
    assert ask(source, "") == ask("templates", "")


def test_nouns_of_a_data_set_become_its_entities(miniature, tmp_path, capsys):
  """The captions read "A red square and a low tone, number 7 of train."; every eleventh of 48 clips has none."""
  path = tmp_path / "nouns.txt"
  prompt.write_nouns(miniature, str(path), most=3)
  lines = path.read_text().splitlines()
  assert {"square\t44", "tone\t44"} < set(lines) and len(lines) == 3
  assert list(prompt.read_entities(str(path), 10)) == [line.split("\t")[0] for line in lines]
  assert "44 captions have" in capsys.readouterr().out
  with pytest.raises(UserError, match="exists already"):
    prompt.write_nouns(miniature, str(path))
  with pytest.raises(UserError, match="0 captions in 'fr'"):
    prompt.write_nouns(miniature, str(tmp_path / "others.txt"), language="fr")


def test_definitions_without_wordnet_are_refused_with_the_way_out(monkeypatch, tmp_path):
  monkeypatch.setenv("VATT_JAX_CACHE", str(tmp_path))
  monkeypatch.setenv("PATH", "")
  monkeypatch.setattr(prompt.debian, "ROOT", tmp_path / "nowhere")
  (tmp_path / "colours.txt").write_text(COLOURS)
  with pytest.raises(UserError, match="WordNet needs a Debian or Ubuntu machine.*entity<TAB>text"):
    prompt.prompt("nowhere", str(tmp_path / "colours.txt"), str(tmp_path / "teacher"), "definition")


def test_entities_are_read_as_they_are_written(tmp_path):
  path = tmp_path / "entities.txt"
  path.write_text(COLOURS + "\nred\nfire engine 7\n")
  found = prompt.read_entities(str(path), 10)
  assert found == {"red": "", "blue": "", "green": "", "yellow": "The colour of lemons.", "fire engine": ""}
  assert list(prompt.read_entities(str(path), 2)) == ["red", "blue"]
  path.write_text("red\n")
  with pytest.raises(UserError, match="names 1 entities; there have to be two"):
    prompt.read_entities(str(path), 10)


def one_step(file, argument, miniature, workdir, **changes):
  """A run of a config, one step long and without evaluation."""
  config = load(file, argument)[1]
  config.data.directory, config.total_steps, config.evaluators = miniature, 1, {}
  config.update_from_flattened_dict(changes)
  train.train(config, str(workdir))


@pytest.fixture(scope="module")
def stages(miniature, tmp_path_factory):
  """Runs of a prompter and of ALPRO, and the teacher between them, at tiny size."""
  place = tmp_path_factory.mktemp("stages")
  one_step("configs/pretrain/prompter.py", "smoke", miniature, place / "prompter")
  (place / "colours.txt").write_text(COLOURS)
  prompt.prompt(str(place / "prompter"), str(place / "colours.txt"), str(place / "teacher"))
  one_step("configs/pretrain/alpro.py", "scratch,smoke", miniature, place / "alpro", init_from=str(place / "teacher"))
  return place


def test_a_prompter_teaches(stages):
  teacher = str(stages / "teacher")
  model = vatt_jax.load(teacher)
  sentences = [f"{begin} {article} blue." for begin in prompt.VIDEO for article in prompt.ARTICLES]
  features = checkpoints.restore_variables(checkpoints.find(teacher))["prompter"]["video_prompts"]
  np.testing.assert_allclose(features[1], model.encode(text=sentences)["text/vtc"].mean(0), atol=1e-5)
  own = model.encode(text=["The colour of lemons."])["text/vtc"][0]
  np.testing.assert_allclose(features[3], own, atol=1e-5)
  frames = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
  seen = model.entities(frames)
  assert seen.shape == (2, 4) and tuple(model.config.entities) == ("red", "blue", "green", "yellow")
  with pytest.raises(UserError, match="holds something already"):
    prompt.prompt(str(stages / "prompter"), str(stages / "colours.txt"), teacher)
  trained = vatt_jax.load(str(stages / "alpro"))
  np.testing.assert_allclose(trained.entities(frames), seen, atol=1e-5)  # The teacher is what it was.
  assert trained.config.entities == model.config.entities


@pytest.mark.slow
def test_a_teacher_is_asked_and_shown(stages):
  asked = load("configs/evaluate/teacher.py", "smoke")[1]
  right = evaluate.evaluate(checkpoints.find(str(stages / "teacher")), asked)
  assert right["eval/teacher/rectangles"] == 4 * 10 and right["eval/teacher/chance/top_5"] == 1  # Of 4 entities.
  same = evaluate.evaluate(checkpoints.find(str(stages / "alpro")), asked)
  assert same["eval/teacher/dropped/paper"] == right["eval/teacher/dropped/paper"]
  page = (stages / "alpro" / "report.html").read_text()
  assert "What is seen: teacher" in page and "Hidden words" in page and "own caption" in page


@pytest.mark.slow
def test_a_vatt_teaches_another(miniature, tmp_path):
  one_step("configs/pretrain/vatt_demo.py", "smoke", miniature, tmp_path / "first")
  (tmp_path / "colours.txt").write_text(COLOURS)
  prompt.prompt(str(tmp_path / "first"), str(tmp_path / "colours.txt"), str(tmp_path / "teacher"))
  known = {"objective.known": 0}
  start = str(tmp_path / "teacher")
  one_step("configs/pretrain/vatt_demo.py", "prompted,smoke", miniature, tmp_path / "second", init_from=start, **known)
  first, second = (
    checkpoints.restore_variables(checkpoints.find(str(tmp_path / name))) for name in ("first", "second")
  )
  np.testing.assert_array_equal(
    second["prompter"]["params"]["video"]["aggregation"], first["params"]["video"]["aggregation"]
  )
  assert second["prompter"]["audio_prompts"].shape == (4, 16)
  out = vatt_jax.load(str(tmp_path / "second")).encode(text=["red"])  # It is a VATT as any other.
  assert set(out) == {"text/pooled", "text/vt", "text/at"}
