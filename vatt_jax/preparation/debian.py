"""Free data out of Debian's packages: downloaded once into the cache, unpacked there; neither root nor installation."""

from collections.abc import Collection
import hashlib
import io
import lzma
import os
import pathlib
import shutil
import subprocess
import tarfile

from vatt_jax.cache import cache_directory

ROOT = pathlib.Path("/")  # where installed packages lie


class Unavailable(Exception):
  """The package cannot be had on this machine; the message says what to do instead."""


def fetch(
  package: str, folder: str, known_sha256: Collection[str], needed_by: str = "The demo set",
  instead: str = "point at your own media with --source=FOLDER",
) -> pathlib.Path:  # fmt: skip
  """Where `folder` of `package` is on this machine.

  Args:
    package: of data, for every architecture.
    folder: such as usr/share/NAME.
    known_sha256: of the versions that figures were made with; others are used, and told.
    needed_by: what needs the package, as the subject of a sentence.
    instead: what to do without it, as half a sentence.

  Raises:
    Unavailable: the package is neither installed nor cached nor to be downloaded.
  """
  unpacked, installed = cache_directory() / package, ROOT / folder
  if (unpacked / folder).is_dir() or not installed.is_dir():
    return _unpacked(package, known_sha256, needed_by, instead) / folder
  return installed


def _unpacked(package, known_sha256, needed_by, instead) -> pathlib.Path:
  unpacked = cache_directory() / package
  if unpacked.is_dir():
    return unpacked
  archive = _download(package, known_sha256, cache_directory() / "packages", needed_by, instead)
  partial = cache_directory() / f"{package}.partial"
  shutil.rmtree(partial, ignore_errors=True)
  try:
    _unpack(archive, partial)
  except (tarfile.TarError, EOFError, lzma.LZMAError, ValueError, subprocess.CalledProcessError) as error:
    archive.unlink()
    raise Unavailable(f"{archive} is damaged and was deleted ({error}); try again.") from error
  partial.rename(unpacked)
  archive.unlink()
  return unpacked


def _download(package, known_sha256, folder: pathlib.Path, needed_by, instead) -> pathlib.Path:
  advice = (
    f"{needed_by} needs a Debian or Ubuntu machine that reaches its package archive. Instead, {instead}, or put the "
    f".deb of {package} into {folder}"
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
  if digest not in known_sha256:
    print(f"note: {found[-1].name} is not the version that the README's figures were made with (sha256 {digest}).")
  return found[-1]


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
  """Unpacks a .deb: an `ar` archive whose member data.tar.* holds the files."""
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
    if place + size > len(content):
      raise ValueError("it is cut short")
    if member.startswith("data.tar"):
      with tarfile.open(fileobj=io.BytesIO(content[place : place + size])) as tar:
        tar.extractall(folder, filter="data")
      return
    place += size + size % 2
  raise ValueError("it holds no data")
