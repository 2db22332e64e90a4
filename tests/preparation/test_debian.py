"""Debian packages: unpacked once into the cache, without root; what cannot be had is told with a way out."""

import io
import tarfile

import pytest

from vatt_jax.preparation import debian

FOLDER = "usr/share/little-data"


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("VATT_JAX_CACHE", str(tmp_path))
  (tmp_path / "packages").mkdir()
  return tmp_path


def package(content: bytes) -> bytes:
  """A .deb: an `ar` archive with a compressed tar in it."""
  packed = io.BytesIO()
  with tarfile.open(fileobj=packed, mode="w:xz") as tar:
    info = tarfile.TarInfo(f"./{FOLDER}/a.txt")
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))

  def member(name, data):
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)

  return b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("data.tar.xz", packed.getvalue())


def test_a_cached_package_is_unpacked_once(cache, monkeypatch):
  monkeypatch.setattr(debian.shutil, "which", lambda name: None)  # Not even dpkg-deb is there.
  archive = cache / "packages" / "little-data_1_all.deb"
  archive.write_bytes(package(b"here"))
  folder = debian.fetch("little-data", FOLDER, ())
  assert (folder / "a.txt").read_bytes() == b"here"
  assert not archive.exists()
  assert debian.fetch("little-data", FOLDER, ()) == folder


def test_a_damaged_package_is_deleted(cache, monkeypatch):
  archive = cache / "packages" / "little-data_1_all.deb"
  archive.write_bytes(package(b"here")[:-20])
  monkeypatch.setattr(debian.shutil, "which", lambda name: None)
  with pytest.raises(debian.Unavailable, match="is damaged and was deleted"):
    debian.fetch("little-data", FOLDER, ())
  assert not archive.exists() and not (cache / "little-data").exists()


def test_without_a_package_archive_there_is_a_way_out(cache, monkeypatch):
  monkeypatch.setattr(debian.shutil, "which", lambda name: None)
  with pytest.raises(debian.Unavailable, match="--source=FOLDER, or put the .deb of little-data into"):
    debian.fetch("little-data", FOLDER, ())
