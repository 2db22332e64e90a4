import pytest

from vatt_jax.preparation import captions
from vatt_jax.preparation.captions import Cue


def test_subrip():
  text = """1
00:00:01,000 --> 00:00:02,500
Hello <i>there</i>,
you &amp; me.

2
00:01:00,250 --> 01:00:01,000 X1:40 X2:600
{\\an8}Later.
"""
  assert captions.parse_cues(text) == [Cue("Hello there, you & me.", 1.0, 2.5), Cue("Later.", 60.25, 3601.0)]


def test_webvtt_headers_notes_styles_settings_and_short_times():
  text = """WEBVTT - a title
X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000

STYLE
::cue { color: red }

NOTE nobody says this

intro
00:01.000 --> 00:02.000 align:start position:0%
<v Anna>Good <00:01.500><c.yellow>morning</c>
"""
  assert captions.parse_cues(text) == [Cue("Good morning", 1.0, 2.0)]


def test_sloppy_files_are_read_like_players_read_them():
  no_empty_lines = "1\n0:00:01.0 --> 0:00:02.0\none\n2\n0:00:02.0 --> 0:00:03.0\ntwo"
  assert captions.parse_cues(no_empty_lines) == [Cue("one", 1.0, 2.0), Cue("two", 2.0, 3.0)]
  windows_ends_and_wrong_order = "2\r\n00:00:05,0 --> 00:00:06,0\r\nb\r\n\r\n1\r\n00:00:01,0 --> 00:00:02,0\r\na\r\n"
  assert [cue.text for cue in captions.parse_cues(windows_ends_and_wrong_order)] == ["a", "b"]
  empty_and_reversed = "00:00:01,0 --> 00:00:02,0\n\n00:00:04,0 --> 00:00:03,0\nbackwards\n"
  assert captions.parse_cues(empty_and_reversed) == []
  assert captions.parse_cues("no subtitles at all") == []


def test_rolling_subtitles_count_every_line_once():
  text = """WEBVTT

00:00:01.000 --> 00:00:03.000
first line

00:00:03.000 --> 00:00:03.010
first line

00:00:03.010 --> 00:00:05.000
first line
second line

00:00:05.000 --> 00:00:07.000
second line
third line
"""
  assert captions.parse_cues(text) == [
    Cue("first line", 1.0, 3.0),
    Cue("second line", 3.01, 5.0),
    Cue("third line", 5.0, 7.0),
  ]


def test_a_line_that_is_said_twice_stays():
  text = "00:00:01,0 --> 00:00:02,0\nNo.\n\n00:00:02,0 --> 00:00:03,0\nNo.\n"
  assert len(captions.parse_cues(text)) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
  (tmp_path / "a.txt").write_bytes("Ein Bär über €\n".encode(encoding))
  assert captions.read_text(tmp_path / "a.txt") == "Ein Bär über €\n"


def test_lines_of_a_text_file():
  assert captions.parse_lines("a dog \n\n  barks  loudly\r\n") == ("a dog", "barks loudly")


@pytest.mark.parametrize(
  "text, seconds", [("12.5", 12.5), (3, 3.0), ("1:02", 62.0), ("1:00:00,5", 3600.5), (" 7 ", 7.0)]
)
def test_seconds(text, seconds):
  assert captions.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1:2:3:4", ""])
def test_not_seconds(text):
  with pytest.raises(ValueError):
    captions.parse_seconds(text)
