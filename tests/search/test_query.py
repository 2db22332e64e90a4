"""Search and its page, on an index small enough to work out by hand."""

import numpy as np
import pytest

from vatt_jax.errors import UserError
from vatt_jax.search import gallery, query
from vatt_jax.search.index import Row, build

SPACES = {("video", "text"): ("video/vt", "text/vt"), ("video", "audio"): ("video/va", "audio/va")}
angle = lambda degrees: np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


@pytest.fixture
def index(media):
  """Windows of a film at 0, 30 and 60 degrees of the space they share with text, a picture at 90, a sentence at 50."""
  film, picture = str(media / "talk.mp4"), str(media / "red.png")
  row = lambda start, degrees: Row("video", start, start and start + 1.0, {"video/vt": 3 * angle(degrees)})
  sources = {
    film: [row(i, 30 * i) for i in (0.0, 1.0, 2.0)],
    picture: [row(0.0, 90)],
    "a <dog>": [Row("text", 0.0, 0.0, {"text/vt": angle(50)})],
  }
  return build({"sources": dict.fromkeys(sources, "")}, sources)


def test_nearest_first_by_cosine(index):
  found = query.search(index, {"text/vt": angle(55)[None]}, SPACES, ["video"], most=3)
  assert [(each.start, each.rank) for each in found] == [(2.0, 1), (1.0, 2), (0.0, 3)]
  np.testing.assert_allclose([each.cosine for each in found], np.cos(np.radians([5, 25, 35])), atol=1e-6)


def test_all_modalities_where_they_meet(index):
  """A text finds films, and texts by the space that text is in; there is no sound in the index."""
  found = query.search(index, {"text/vt": angle(50)[None]}, SPACES)
  assert [(each.source, each.target) for each in found] == [("text", "video")] * 4 + [("text", "text")]
  assert found[-1].cosine == pytest.approx(1)
  by_film = query.search(index, {"video/vt": angle(0)[None]}, SPACES, ["video", "text"])
  assert {(each.source, each.target) for each in by_film} == {("video", "video"), ("video", "text")}


def test_what_does_not_meet_is_said(index):
  with pytest.raises(UserError, match="audio cannot be searched for in text: the index holds video, text"):
    query.search(index, {"audio/va": angle(0)[None]}, SPACES, ["text"])


def test_a_row_that_is_not_finite_comes_last(index):
  index.embeddings["video/vt"][1] = np.nan
  found = query.search(index, {"text/vt": angle(30)[None]}, SPACES, ["video"])
  assert found[-1].start == 1.0 and np.isnan(found[-1].cosine)


def test_the_table(index):
  lines = query.table(query.search(index, {"text/vt": angle(60)[None]}, SPACES, most=1)).splitlines()
  assert lines[0] == "text → video" and lines[2].split()[:5] == ["1", "1.000", "2.0", "-", "3.0"]
  assert lines[4] == "text → text" and lines[6].endswith("a <dog>")


def test_the_page_plays_at_the_second(index, media):
  found = query.search(index, {"text/vt": angle(60)[None]}, SPACES)
  page = gallery.page("a <cat>", found, str(media.parent))
  folder = media.name
  assert f'<video src="{folder}/talk.mp4#t=2.00,3.00" controls preload="metadata">' in page
  assert f'<img src="{folder}/red.png"' in page
  assert "a &lt;dog&gt;" in page and "a &lt;cat&gt;" in page and "<dog>" not in page


def test_what_browsers_do_not_play_is_put_into_the_page(media, tmp_path):
  import make_media

  film = make_media.write(tmp_path / "old.avi", seconds=2.0, video="mpeg4", audio="mp2", sample_rate_hz=16_000)
  page = gallery.page("x", [query.Found("text", "video", 1, 0.5, str(film), 1.0, 2.0)], str(tmp_path))
  assert "data:image/jpeg;base64," in page and "data:audio/wav;base64," in page and "<video" not in page
