"""Beam's local runner makes the same records as worker processes. In an environment of its own:

pip install -r launch/beam-requirements.txt pytest
python -m pytest --confcutdir=tests/preparation tests/preparation/test_beam.py
"""

import importlib.util

import make_media
import pytest

from vatt_jax.errors import UserError
from vatt_jax.preparation import dataset, folder
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

OPTIONS = Options(clip_seconds=1, frames_per_second=5, short_side=24, sample_rate_hz=8_000)
HAS_BEAM = importlib.util.find_spec("apache_beam") is not None


@pytest.fixture
def films(tmp_path):
  (tmp_path / "films").mkdir()
  for i in range(3):
    make_media.write(tmp_path / f"films/{i}.mp4", seconds=1 + i)
    (tmp_path / f"films/{i}.txt").write_text(f"film number {i}")
  (tmp_path / "films/bad.mp4").write_text("no film")
  return tmp_path / "films"


def prepare(films, output, **how):
  units, problems = folder.units(films, OPTIONS, Digests())
  return dataset.prepare(units, output, source="films", options={}, problems=problems, progress=False, **how)


@pytest.mark.skipif(not HAS_BEAM, reason="Apache Beam is not installed")
@pytest.mark.parametrize("options", ["", "--direct_running_mode=multi_processing --direct_num_workers=2"])
def test_the_same_records(films, tmp_path, record_files, preparation, options):
  prepare(films, tmp_path / "workers")
  prepare(films, tmp_path / "beam", beam=options)
  assert record_files(tmp_path / "beam") == record_files(tmp_path / "workers")
  found = preparation(tmp_path / "beam")
  assert found == preparation(tmp_path / "workers")
  assert [problem["file"] for problem in found["rejected"]] == ["bad.mp4"]


@pytest.mark.skipif(not HAS_BEAM, reason="Apache Beam is not installed")
def test_it_goes_on_from_what_is_decoded_and_reports_bugs(films, tmp_path, monkeypatch, preparation):
  prepare(films, tmp_path / "out", beam="")
  made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/.work/units").glob("*/*")}
  make_media.write(films / "new.mp4", seconds=1)
  broken = lambda unit: {}["oops"] if unit.name == "new.mp4" else 1 / 0
  monkeypatch.setattr("vatt_jax.preparation.requests.MediaUnit.decode", broken)
  prepare(films, tmp_path / "out", beam="")
  assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/.work/units").glob("*/*")} == made
  reasons = {problem["file"]: problem["reason"] for problem in preparation(tmp_path / "out")["rejected"]}
  assert "unexpected KeyError" in reasons["new.mp4"]


@pytest.mark.skipif(not HAS_BEAM, reason="Apache Beam is not installed")
@pytest.mark.parametrize(
  "options, reason", [("--runner=Fast", "Unexpected pipeline runner"), ("'", "No closing quotation")]
)
def test_options_that_mean_nothing_are_the_users_error(films, tmp_path, options, reason):
  with pytest.raises(UserError, match=reason):
    prepare(films, tmp_path / "out", beam=options)


@pytest.mark.skipif(HAS_BEAM, reason="Apache Beam is installed")
def test_without_beam_the_user_is_told_how_to_get_it(films, tmp_path):
  with pytest.raises(UserError, match="pip install -r launch/beam-requirements.txt"):
    prepare(films, tmp_path / "out", beam="")
