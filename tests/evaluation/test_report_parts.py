"""The pieces of the report: markup, media, charts, the choice of queries."""

import dataclasses
import io
import re
import wave

from hypothesis import given, strategies as st
import numpy as np
from PIL import Image
import pytest

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.report import figures, gallery, maps, media, page, working
from vatt_jax.evaluation.report.markup import Markup, tag


def test_strings_are_escaped_and_markup_is_not():
  assert tag("p", "<b>", Markup("<b></b>"), None, 3, ["&", tag("i")]) == "<p>&lt;b&gt;<b></b>3&amp;<i></i></p>"
  image = tag("img", class_="a", alt='"<', data_row=1, hidden=True, title=None)
  assert image == '<img class="a" alt="&quot;&lt;" data-row="1" hidden>'


@pytest.mark.parametrize("value, text", [(12345.6, "12,346"), (12.0, "12"), (0.001234, "0.00123"), (np.nan, "–")])
def test_numbers_are_written_as_people_write_them(value, text):
  assert page.number(value) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_even_few_and_inside(low, span):
  high = low + span
  ticks = np.array(figures.nice_ticks(low, high))
  assert 2 <= len(ticks) <= 7
  assert ticks[0] >= low - 1e-6 * span and ticks[-1] <= high + 1e-6 * span
  np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-4)


def test_charts_survive_a_single_point_and_keep_the_means_of_many():
  one = figures.Curve("loss", np.array([5.0]), np.array([0.0]), "red")
  assert "nan" not in figures.line_chart([one], x_name="step")
  below = figures.Curve("loss", np.arange(3.0), np.array([-3.0, -2.0, -1.0]), "red")
  heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', figures.line_chart([below], x_name="step"))]
  assert len(heights) == 3 and 300 > heights[0] > heights[1] > heights[2] > 10
  many = figures.Curve("loss", np.arange(1000.0), np.arange(1000.0), "red")
  assert figures.line_chart([many], x_name="step", points=10).count("<circle") == 10
  assert "loss: 49.5 at step 49.5" in figures.line_chart([many], x_name="step", points=10)


def test_sounds_lose_rate_but_nothing_that_is_heard():
  time = np.arange(48000) / 48000
  low, high = (8000 * np.sin(2 * np.pi * hz * time) for hz in (440, 15000))
  thin, rate_hz = media.thin_out((low + high).astype(np.int16), 48000)
  assert rate_hz == 16000 and len(thin) == 16000 and thin.dtype == np.int16
  inside = slice(200, -200)
  np.testing.assert_allclose(thin[inside], low[::3][inside], atol=80)
  assert media.thin_out(thin, 22050)[1] == 22050
  assert media.thin_out(np.full(50, 32767, np.int16), 44100)[0].max() > 30000  # Loud sounds do not wrap around.


def test_wav_files_hold_the_samples():
  samples = np.array([0, 1, -32768, 32767], np.int16)
  with wave.open(io.BytesIO(media.wav(samples, 16000))) as file:
    assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
    np.testing.assert_array_equal(np.frombuffer(file.readframes(4), "<i2"), samples)


def test_large_pictures_shrink_until_they_fit():
  noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
  file = io.BytesIO()
  noise.save(file, "JPEG")
  for limit in (60_000, 12_000, 4_000):
    assert 500 < len(media.picture(file.getvalue(), limit)) < limit + 100
  assert "no picture" in media.picture(file.getvalue(), 100)


def test_queries_are_chosen_at_even_steps_of_success(make_set):
  embedded = make_set(clips=60, languages=("fr", "ru", "ca"), noise=2)
  queries = gallery.choose_queries(embedded, "audio", "text")
  assert [query.share for query in queries] == [0, 0.2, 0.4, 0.6, 0.8, 1]
  rows, audio, text = embedded.pair("audio", "text")
  ranks = retrieval.place_within_groups(audio, text, embedded.languages).rank
  assert [query.rank for query in queries] == np.sort(ranks)[[0, 12, 24, 35, 47, 59]].tolist()
  assert queries == gallery.choose_queries(embedded, "audio", "text")
  for query in queries:
    assert query.gallery == 20 and query.rank == ranks[query.row]
    assert [a.place for a in query.answers if a.row == query.row] == [query.rank]
    cosines = [answer.similarity for answer in query.answers]
    assert cosines == sorted(cosines, reverse=True)
    assert {embedded.languages[answer.row] for answer in query.answers} == {embedded.languages[query.row]}


def test_queries_only_search_clips_that_have_both(make_set):
  embedded = make_set(clips=20)
  embedded.present["audio"][::3] = False
  for query in gallery.choose_queries(embedded, "audio", "video"):
    assert all(answer.row % 3 for answer in query.answers)


def test_outputs_that_meet_share_a_map(make_set):
  embedded = make_set()
  assert sorted(map(sorted, maps.common_spaces(embedded))) == [
    ["audio/at", "text/at"], ["audio/va", "video/va"], ["text/vt", "video/vt"],
  ]  # fmt: skip
  through_video = {("audio", "text"): ("audio/vt", "text/vt"), ("video", "text"): ("video/vt", "text/vt")}
  embedded = dataclasses.replace(embedded, spaces=through_video)
  assert maps.common_spaces(embedded) == [{"audio/vt": "audio", "text/vt": "text", "video/vt": "video"}]


def test_a_confusion_matrix_names_its_cells():
  counts = np.array([[3, 1], [0, 4]])
  drawn = figures.confusion_matrix(counts, counts.sum(axis=1), ["<cat>", "dog"], "caption")
  assert "&lt;cat&gt; taken for dog: 1 of 4 (25 %)" in drawn and drawn.count('class="cell right"') == 2
  assert drawn.count("<rect") == 3  # Nothing is drawn where nothing is.
  assert "rect" not in figures.confusion_matrix(np.zeros([0, 0], int), np.zeros(0, int), [], "")


def test_units_stand_by_the_modality_that_they_fire_for():
  """Ten units fire for video alone, twenty for audio alone, ten for both."""
  video, audio = np.zeros([1, 40]), np.zeros([1, 40])
  video[0, :10], audio[0, 10:30] = 1.0, 0.6
  video[0, 30:], audio[0, 30:] = 1.0, 0.9
  strips = figures.unit_strips({"video": video, "audio": audio}, columns=40)
  fills = re.findall(r'<rect x="[^"]+" y="4"[^>]*fill="(#[0-9a-f]{6})"', strips)
  assert len(fills) == 40 and fills.count(page.mixed([1, 0, 0])) == 10 and fills.count(page.mixed([0, 1, 0])) == 20
  assert "video 25 %, audio 50 %" in strips or "video 50 %, audio 50 %" in strips
  assert page.mixed([1 / 3] * 3) == "#c8c8c8"


def test_heat_lies_where_it_belongs():
  frame = np.full([32, 32, 3], 255, np.uint8)
  strength = np.zeros([4, 4])
  strength[0, 3] = 1.0
  picture = working.under_heat(frame, strength).astype(int)
  assert picture.shape == (160, 160, 3) and (picture[80:, :80] >= 250).all()
  assert picture[10, 150, 0] > picture[10, 150, 1] + 60  # The upper right corner is red.
  wave = figures.heated_waveform(np.full(1000, 99, np.int16), np.array([0.0, 1.0]), 2.0, bars=10)
  assert wave.count('class="heat"') == 5 and "2.0 s" in wave
