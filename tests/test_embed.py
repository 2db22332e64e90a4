"""The program `embed`: from media to an index, from a query to a table, and its errors."""

import json
import subprocess
import sys

from absl import flags
import numpy as np
from PIL import Image
import pytest

from vatt_jax import embed, errors


def run(monkeypatch, *arguments):
  """The program in this process."""
  values = flags.FlagValues()
  monkeypatch.setattr(embed.flags, "FLAGS", values)
  embed.define_flags(values)
  embed.main(values(["embed", *map(str, arguments)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pictures")
  for colour in ("red", "green", "blue"):
    Image.new("RGB", (48, 48), colour).save(folder / f"{colour}.png")
  (folder / "broken.png").write_bytes(b"\x89PNG")
  return folder


def test_from_media_to_results(smoke_run, folder, tmp_path, monkeypatch, capsys):
  index, found, page = tmp_path / "pictures.npz", tmp_path / "found.json", tmp_path / "found.html"
  arguments = [f"--checkpoint={smoke_run}", f"--output={index}", folder, "nowhere.mp4", "--text=a red square"]
  run(monkeypatch, *arguments, "--workers=0")
  said = capsys.readouterr().out
  assert "nowhere.mp4 is left out: it does not exist." in said
  assert "4 sources, windows: 3 video, 1 text; left out: 2." in said
  run(monkeypatch, f"--index={index}", "--query=a red square", f"--json={found}", f"--gallery={page}", "--most=2")
  said = capsys.readouterr().out
  assert "text → video" in said and "text → text" in said and "found.html shows them." in said
  results = json.loads(found.read_text())["results"]
  assert [(each["target"], each["rank"]) for each in results] == [("video", 1), ("video", 2), ("text", 1)]
  assert results[2]["cosine"] == pytest.approx(1, abs=1e-5)
  assert page.read_text().count("<img") == 2
  run(monkeypatch, f"--index={index}", f"--query_media={folder / 'red.png'}", "--in=video", "--most=1")
  assert "red.png" in capsys.readouterr().out


def test_an_index_of_another_checkpoint_is_refused(smoke_run, folder, tmp_path, monkeypatch):
  index = tmp_path / "pictures.npz"
  run(monkeypatch, f"--checkpoint={smoke_run}", f"--output={index}", "--text=one", "--workers=0")
  with np.load(index) as file:
    arrays = dict(file)
  about = json.loads(str(arrays["about"]))
  np.savez(index, **{**arrays, "about": json.dumps({**about, "fingerprint": "0" * 64})})
  with pytest.raises(errors.UserError, match="was made by another checkpoint, .*Name that checkpoint, or embed"):
    run(monkeypatch, f"--index={index}", "--query=one")
  np.savez(index, **{**arrays, "about": json.dumps({**about, "checkpoint": "/gone"})})
  with pytest.raises(errors.UserError, match="was made by /gone, which is gone; --checkpoint=PATH"):
    run(monkeypatch, f"--index={index}", "--query=one")
  run(monkeypatch, f"--index={index}", "--query=one", f"--checkpoint={smoke_run}")


@pytest.mark.parametrize("arguments, sentence", [
    ([], "--checkpoint=PATH --output=FILE.npz MEDIA are needed"),
    (["--checkpoint=x", "--output=a.npz"], "MEDIA are needed"),
    (["--checkpoint=x", "--output=a.npz", "/nowhere.mp4"], "there is nothing to embed"),
    (["--query=a dog"], "a query needs the index"),
    (["--index=a.npz"], "needs one query"),
    (["--index=a.npz", "--query=a", "--query_media=b"], "needs one query"),
    (["--index=a.npz", "--query=a", "film.mp4"], "not both"),
    (["--index=a.npz", "--query=a", "--in=smell"], "'smell' is not one of video, audio, text"),
    (["--index=a.npz", "--query_media=/nowhere.mp4"], "--query_media=/nowhere.mp4 does not exist"),
    (["--index=a.npz", "--query_media=/"], "--query_media=/ is not a file"),
    (["--index=a.npz", "--query=  "], "--query is blank"),
    (["--index=/nowhere.npz", "--query=a"], "there is no index /nowhere.npz"),
    (["--checkpoint=/nowhere", "--output=a.npz", "--text=a"], "there is no checkpoint in '/nowhere'"),
])  # fmt: skip
def test_user_errors_are_sentences(arguments, sentence, monkeypatch):
  with pytest.raises(errors.UserError, match=sentence):
    run(monkeypatch, *arguments)


def test_the_exit_code(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "vatt_jax.embed", "--index=nowhere.npz"], capture_output=True, text=True, cwd="."
  )
  assert done.returncode == 2 and done.stderr.startswith("error: --index=FILE.npz needs one query")
