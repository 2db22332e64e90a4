"""Splits read as captions or as questions, each an example of its own."""

import pytest

from vatt_jax.data import records
from vatt_jax.errors import UserError


def test_every_question_is_an_example(miniature):
  clips, questions = records.open_split(miniature, "test"), records.open_split(miniature, "test", "questions")
  assert len(questions) == 2 * len(clips)
  second, whole = records.decode(questions[3]), records.decode(clips[1])
  assert second["questions/text"] == [whole["questions/text"][1]] and second["questions/answer"] == [b"the tone"]
  assert second["captions/text"] == whole["captions/text"] and second["video/frames"] == whole["video/frames"]
  assert questions.strings("label")[2:4] == [clips.strings("label")[1]] * 2


def test_clips_without_captions_are_no_examples(miniature):
  clips, captions = records.open_split(miniature, "train"), records.open_split(miniature, "train", "captions")
  described = sum(bool(records.decode(clips[i])["captions/text"]) for i in range(len(clips)))
  assert len(captions) == described < len(clips)
  with pytest.raises(UserError, match="has no split 'holdout'"):
    records.open_split(miniature, "holdout", "captions")
