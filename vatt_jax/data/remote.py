"""Data sets in buckets: records are read at random, so each host has its own copy."""

import hashlib
import os
import pathlib
import sys

from etils import epath
import tqdm

from vatt_jax.cache import cache_directory

_ASIDE = (".work",)  # of `prepare`; not needed to read the records


def local_copy(directory: str) -> str:
  """Where the data set lies on this host: `directory` itself, or a copy in the cache of one behind `://`.

  Files that are there already, whole, are not fetched again.
  """
  if "://" not in directory:
    return directory
  target = cache_directory() / "data" / hashlib.sha256(directory.encode()).hexdigest()[:16]
  files = [file for file in _files(epath.Path(directory)) if not _is_there(file, target / _name(file, directory))]
  for file in tqdm.tqdm(files, desc=f"copying {directory}", unit="file", disable=not (files and sys.stderr.isatty())):
    place = target / _name(file, directory)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")  # Several processes may share a host.
    file.copy(partial, overwrite=True)
    partial.rename(place)
  return str(target)


def _files(folder: epath.Path) -> list[epath.Path]:
  if not folder.exists():
    return []
  found = []
  for path in sorted(folder.iterdir()):
    if path.name not in _ASIDE:
      found += _files(path) if path.is_dir() else [path]
  return found


def _name(file: epath.Path, directory: str) -> str:
  return str(file)[len(str(epath.Path(directory))) :].lstrip("/")


def _is_there(file: epath.Path, place: pathlib.Path) -> bool:
  return place.exists() and place.stat().st_size == file.stat().length
