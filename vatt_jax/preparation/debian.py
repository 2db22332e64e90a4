"""Files of Debian packages, downloaded once into the cache: no root and no installation are needed."""

from collections.abc import Mapping
import hashlib
import io
import lzma
import os
import pathlib
import shutil
import subprocess
import tarfile

from vatt_jax.cache import cache_directory


class Unavailable(Exception):
  """The package cannot be had on this machine; the message says what to do instead."""


def fetch(package: str, inside: str, known: Mapping[str, str], needed_by: str, instead: str) -> pathlib.Path:
  """The unpacked folder `inside` of a package.

  Args:
    package: its name.
    inside: path in the package, such as "usr/share/wordnet"; only it and the licences are unpacked.
    known: SHA-256 of the versions that were tried -> their names; another one is told.
    needed_by: what needs the package, as the subject of a sentence.
    instead: what to do without it, as a half sentence.

  Raises:
    Unavailable: where it is neither cached nor to be downloaded.
  """
  unpacked = cache_directory() / package
  if (unpacked / inside).is_dir():
    return unpacked / inside
  archive = _download(package, cache_directory() / "packages", known, needed_by, instead)
  partial = cache_directory() / f"{package}.partial"
  shutil.rmtree(partial, ignore_errors=True)
  try:
    _unpack(archive, partial, inside)
  except (tarfile.TarError, EOFError, lzma.LZMAError, ValueError, subprocess.CalledProcessError) as error:
    archive.unlink()
    raise Unavailable(f"{archive} is damaged and was deleted ({error}); try again.") from error
  shutil.rmtree(unpacked, ignore_errors=True)
  partial.rename(unpacked)
  archive.unlink()
  return unpacked / inside


def _download(package, folder, known, needed_by, instead) -> pathlib.Path:
  advice = (
    f"{needed_by} needs a Debian or Ubuntu machine that reaches its package archive. Instead, {instead}, or put the "
    f"package's .deb into {folder}"
  )
  folder.mkdir(parents=True, exist_ok=True)
  if found := sorted(folder.glob(f"{package}_*.deb")):
    return found[-1]
  if shutil.which("apt-get") is None:
    raise Unavailable(f"apt-get is not on this machine. {advice}")
  download = lambda: subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
  done = download()
  if done.returncode and hasattr(os, "geteuid") and os.geteuid() == 0:  # A fresh image has no package lists.
    subprocess.run(["apt-get", "update"], capture_output=True)
    done = download()
  found = sorted(folder.glob(f"{package}_*.deb"))
  if done.returncode or not found:
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise Unavailable(f"apt-get could not download {package}: {reason} {advice}")
  digest = hashlib.sha256(found[-1].read_bytes()).hexdigest()
  if digest not in known:
    print(f"note: {found[-1].name} is not the version that the README's figures were made with (sha256 {digest}).")
  return found[-1]


def _unpack(archive: pathlib.Path, folder: pathlib.Path, inside: str) -> None:
  """Unpacks a part of a .deb: an `ar` archive whose member data.tar.* holds the files."""
  if shutil.which("dpkg-deb"):
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True, capture_output=True)
    return
  content = archive.read_bytes()
  if content[:8] != b"!<arch>\n":
    raise ValueError("it is not a Debian package")
  place = 8
  while place + 60 <= len(content):
    member, size = content[place : place + 16].decode().strip().rstrip("/"), int(content[place + 48 : place + 58])
    place += 60
    if member.startswith("data.tar"):
      with tarfile.open(fileobj=io.BytesIO(content[place : place + size])) as files:
        wanted = [item for item in files if f"/{inside}" in item.name or "/doc/" in item.name]
        files.extractall(folder, wanted, filter="data")
      return
    place += size + size % 2
  raise ValueError("it holds no data")
