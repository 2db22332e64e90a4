"""The doctor names what is missing, with the line that installs it."""

import importlib.metadata
import platform

from absl import flags
import pytest

from vatt_jax import doctor, errors


def run(monkeypatch, *arguments):
  values = flags.FlagValues()
  monkeypatch.setattr(doctor.flags, "FLAGS", values)
  doctor.define_flags(values)
  doctor.main(values(["doctor", *arguments]))


def test_a_machine_on_which_tests_run_is_ready(monkeypatch, capsys, tmp_path):
  # Tests compute on the CPU, even where there is a GPU.
  monkeypatch.setattr(doctor, "devices", lambda: iter([(doctor.GOOD, "devices", "as tests want them")]))
  run(monkeypatch, f"--directory={tmp_path}")
  said = capsys.readouterr().out
  assert "This machine is ready" in said
  assert f"ok       jax                      {importlib.metadata.version('jax')}" in said
  assert f"{tmp_path}: " in said and "h264" in said


def test_what_is_missing_is_told_with_its_line(tmp_path):
  (tmp_path / "requirements.txt").write_text("numpy==0.0.1  # old\nno-such-package==1.2.3\n")
  lines = {what: (state, found) for state, what, found in doctor.packages(tmp_path / "requirements.txt")}
  assert lines["no-such-package"] == (doctor.BAD, 'python -m pip install "no-such-package==1.2.3"')
  assert lines["numpy"] == (doctor.NOTE, f"{importlib.metadata.version('numpy')}, tested with 0.0.1")


def test_it_ends_with_2_where_something_is_missing(monkeypatch, capsys):
  monkeypatch.setattr(doctor, "packages", lambda: iter([(doctor.BAD, "jax", "pip install jax")]))
  with pytest.raises(errors.UserError, match="1 of these need attention: jax; the lines above say what helps"):
    run(monkeypatch)


def test_lines_for_other_machines_do_not_count(monkeypatch):
  text = 'a==1; sys_platform == "linux" and platform_machine == "x86_64"\nb==2; sys_platform != "linux"\n# c==3\nd==4'
  monkeypatch.setattr(platform, "machine", lambda: "x86_64")
  monkeypatch.setattr(doctor.sys, "platform", "linux")
  assert doctor.pinned(text) == {"a": "1", "d": "4"}
  monkeypatch.setattr(doctor.sys, "platform", "darwin")
  assert doctor.pinned(text) == {"b": "2", "d": "4"}


def test_a_gpu_that_jax_does_not_see_is_told(monkeypatch):
  monkeypatch.setattr(doctor.shutil, "which", lambda program: f"/usr/bin/{program}")
  found = {what: (state, line) for state, what, line in doctor.devices()}
  assert found["gpu"][0] == doctor.BAD and "jax[cuda13]" in found["gpu"][1]
  assert found["devices"] == (doctor.GOOD, "8 x cpu cpu")
