import collections

from vatt_jax.preparation.clips import Caption, Clip
from vatt_jax.preparation.splits import Splits, hold_out


def clip(source, split="", *captions):
  return Clip(key=source, source=source, split=split, captions=tuple(Caption(text, 0, 1) for text in captions))


def test_by_source_file_about_80_10_10():
  clips = [clip(f"film{i}.mp4") for i in range(2000) for _ in range(2)]
  splits = Splits(clips)
  counts = collections.Counter(splits.of(c) for c in clips)
  assert 0.77 < counts["train"] / len(clips) < 0.83
  assert 0.08 < counts["validation"] / len(clips) < 0.12
  of_source = collections.defaultdict(set)
  for c in clips:
    of_source[c.source].add(splits.of(c))
  assert all(len(found) == 1 for found in of_source.values())


def test_new_files_do_not_move_old_ones():
  clips = [clip(f"film{i}.mp4") for i in range(100)]
  few, many = Splits(clips[:50]), Splits(clips)
  assert [few.of(c) for c in clips[:50]] == [many.of(c) for c in clips[:50]]


def test_few_files_all_train_and_train_is_never_empty():
  assert {Splits([clip(f"{i}") for i in range(9)]).of(clip(f"{i}")) for i in range(9)} == {"train"}
  held_out = [c for c in (clip(f"{i}") for i in range(200)) if Splits(map(clip, map(str, range(200)))).of(c) != "train"]
  splits = Splits(held_out[:12])
  assert collections.Counter(splits.of(c) for c in held_out[:12])["train"] == 1


def test_a_split_of_ones_own_wins_and_the_rest_of_the_file_follows():
  clips = [clip("a", "test"), clip("a"), clip("b", "validation"), clip("c")]
  splits = Splits(clips)
  assert [splits.of(c) for c in clips] == ["test", "test", "validation", "train"]


def test_held_out_clips_do_not_say_what_training_says():
  training = {"a dog barks"}
  held_out = hold_out(clip("x", "", "A Dog  barks", "a cat"), "test", training)
  assert [caption.text for caption in held_out.captions] == ["a cat"]
  assert held_out.split == "test"
  assert len(hold_out(clip("x", "", "A dog barks"), "train", training).captions) == 1
