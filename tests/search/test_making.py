"""Indexes: what they hold, that they equal what evaluation computes, and that a stop costs little."""

import dataclasses

from etils import epath
import jax
import numpy as np
import pytest

from vatt_jax.data import pipeline, records
from vatt_jax.errors import UserError
from vatt_jax.preparation import dataset, folder
from vatt_jax.preparation.digests import Digests
from vatt_jax.search import encoder as encoder_lib, index as index_lib, making, sources


@pytest.fixture(scope="module")
def made(trained, media, tmp_path_factory):
  """The index file of the folder and two sentences, what it holds, and what could not be used."""
  path = tmp_path_factory.mktemp("made") / "media.npz"
  found, _ = sources.find([str(media)], ["a red square", "blau"])
  return path, *making.embed(trained, found, str(path), clip_seconds=1.0, batch_size=2)


def test_what_an_index_holds(made, media, trained):
  path, index, problems = made
  assert {problem.file.rsplit("/")[-1] for problem in problems} == {"empty.mp4", "liar.mp4"}
  with np.load(path) as file:  # As people use it, without this package.
    films = file["names"][file["modality"] == "video"]
    assert [name.rsplit("/")[-1] for name in films] == ["red.png", *["talk.mp4"] * 3]
    assert file["video/va"].shape == (4, file["audio/va"].shape[1])
    assert np.allclose(file["start"][file["modality"] == "video"], [0, 0, 1, 2], atol=0.01)
    assert set(file["names"][file["modality"] == "text"]) == {"a red square", "blau"}
  assert {"video/vt", "audio/at", "text/vt", "audio/vt", "video/pooled"} <= set(index.embeddings)
  assert index.about["checkpoint"] == str(trained.place.resolve())


def test_embeddings_are_those_of_evaluation(made, media, trained, tmp_path):
  """The same film, prepared as a data set and read by the evaluators' pipeline."""
  (tmp_path / "source").mkdir()
  (tmp_path / "source" / "talk.mp4").write_bytes((media / "talk.mp4").read_bytes())
  options = encoder_lib.Encoder(trained, 1).decoding(1.0)
  units, _ = folder.units(str(tmp_path / "source"), options, Digests())
  dataset.prepare(units, str(tmp_path / "set"), source="", options={}, workers=0, progress=False)
  clips = records.open_split(str(tmp_path / "set"), "train")
  (batch,) = pipeline.evaluation_batches(clips, len(clips), trained.options, trained.tokenizer)
  expected = jax.jit(trained.objective.encode)(trained.variables, {k: v for k, v in batch.items() if k != "valid"})
  starts = [records.decode(clips[i])["clip/start"][0] for i in range(len(clips))]
  index = made[1]
  for output in ("video/va", "video/vt", "audio/va"):
    rows = index.rows(output.split("/")[0])
    mine = index.embeddings[output][["talk.mp4" in name for name in index.names[rows]]]
    np.testing.assert_allclose(mine, np.asarray(expected[output])[np.argsort(starts)], atol=1e-5)


def test_what_is_done_is_not_done_again(made, trained, media, tmp_path, monkeypatch):
  path = tmp_path / "media.npz"
  path.write_bytes(made[0].read_bytes())
  seen = []
  read = sources.read
  monkeypatch.setattr(sources, "read", lambda source, **how: seen.append(source.name) or read(source, **how))
  film = sources.Source(str(media / "talk.mp4"))
  index, _ = making.embed(trained, [film, sources.Source("new", is_text=True)], str(path), clip_seconds=1.0)
  assert seen == ["new"]
  assert len(index.rows("text")) == 3 and len(index.rows("video")) == 4
  sources_before = {**index.about["sources"], film.name: "another size"}
  index_lib.save(epath.Path(path), dataclasses.replace(index, about={**index.about, "sources": sources_before}))
  making.embed(trained, [film], str(path), clip_seconds=1.0)
  assert seen == ["new", film.name]


def test_stopped_it_goes_on(trained, tmp_path, monkeypatch):
  """Interrupted at the eleventh source, it keeps the batch of eight; nothing half is called an index."""
  path = tmp_path / "media.npz"
  names = [f"sentence {i}" for i in range(10, 22)]
  found = [sources.Source(name, is_text=True) for name in names]
  read, seen = sources.read, []

  def interrupted(source, **how):
    seen.append(source.name)
    if len(seen) == 11:
      raise KeyboardInterrupt
    return read(source, **how)

  monkeypatch.setattr(sources, "read", interrupted)
  with pytest.raises(KeyboardInterrupt):
    making.embed(trained, found, str(path), batch_size=8)
  assert not path.exists()
  index, _ = making.embed(trained, found, str(path), batch_size=8)
  assert seen == names[:11] + names[8:] and list(index.names) == names
  assert [file.name for file in tmp_path.iterdir()] == ["media.npz"]


def test_two_at_one_index_would_lose_rows(trained, tmp_path):
  path, words = tmp_path / "media.npz", [sources.Source("one", is_text=True)]
  with making._alone(epath.Path(path)):
    with pytest.raises(UserError, match="another process is embedding into .*media.npz right now"):
      making.embed(trained, words, str(path))
  making.embed(trained, words, str(path))
  assert [file.name for file in tmp_path.iterdir()] == ["media.npz"]


def test_another_checkpoint_or_window_is_refused(made, trained, tmp_path):
  path = tmp_path / "media.npz"
  path.write_bytes(made[0].read_bytes())
  words = [sources.Source("one", is_text=True)]
  with pytest.raises(UserError, match="has windows of 1 s, and not of 2 s: give --clip_seconds=1"):
    making.embed(trained, words, str(path), clip_seconds=2.0)
  other = jax.tree.map(lambda x: x + 1, trained.variables)
  with pytest.raises(UserError, match="was made by another checkpoint"):
    making.embed(dataclasses.replace(trained, variables=other), words, str(path), clip_seconds=1.0)


def test_nothing_at_all_is_an_error(trained, media, tmp_path):
  with pytest.raises(UserError, match="nothing could be embedded"):
    making.embed(trained, [sources.Source(str(media / "empty.mp4"))], str(tmp_path / "none.npz"))
  assert not list(tmp_path.iterdir())


def test_what_is_no_index_is_said(tmp_path):
  with pytest.raises(UserError, match="there is no index"):
    index_lib.load(epath.Path(tmp_path / "none.npz"))
  (tmp_path / "text.npz").write_text("hello")
  np.savez(tmp_path / "other.npz", a=np.zeros(3))
  for name in ("text.npz", "other.npz"):
    with pytest.raises(UserError, match="is no index"):
      index_lib.load(epath.Path(tmp_path / name))
