"""Public data sets, from the media that a user has and the official annotation files.

Each becomes the same units as a folder or a manifest, so decoding, caching, splits and records are those of every data
set. What the folder of each must look like is in README.md beside this file.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import math
import os

from vatt_jax.errors import UserError
from vatt_jax.preparation.datasets import (
  audioset,
  cc3m,
  didemo,
  esc50,
  hmdb51,
  howto100m,
  imagenet,
  kinetics,
  moments_in_time,
  msrvtt,
  msvd,
  ucf101,
  webvid,
  youcook2,
)
from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.folder import SOUND
from vatt_jax.preparation.requests import MediaUnit, Request
from vatt_jax.preparation.units import Decoded, Options, Problem

DATASETS: dict[str, PublicDataset] = {
  "audioset": audioset.DATASET,
  "cc3m": cc3m.DATASET,
  "didemo": didemo.DATASET,
  "esc50": esc50.DATASET,
  "hmdb51": hmdb51.DATASET,
  "howto100m": howto100m.DATASET,
  "imagenet": imagenet.DATASET,
  "kinetics400": kinetics.DATASET,
  "kinetics600": kinetics.DATASET,
  "kinetics700": kinetics.DATASET,
  "moments_in_time": moments_in_time.DATASET,
  "msrvtt": msrvtt.DATASET,
  "msrvtt_qa": msrvtt.QUESTIONS,
  "msvd": msvd.DATASET,
  "msvd_qa": msvd.QUESTIONS,
  "ucf101": ucf101.DATASET,
  "webvid": webvid.DATASET,
  "youcook2": youcook2.DATASET,
}


@dataclasses.dataclass(frozen=True)
class Reading:
  """The units of a data set, the media that are missing, and its class names in their official order."""

  units: list[MediaUnit]
  problems: Decoded
  labels: list[str]


def lookup(name: str) -> tuple[PublicDataset, str]:
  """The data set and the variant that NAME or NAME/VARIANT means.

  Raises:
    UserError: there is none; the message lists them.
  """
  base, _, variant = name.partition("/")
  dataset = DATASETS.get(base)
  if dataset is None:
    known = ", ".join(
      name + (f"[/{'|'.join(dataset.variants)}]" if len(dataset.variants) > 1 else "")
      for name, dataset in DATASETS.items()
    )
    raise UserError(f"tfds:{name} is not known. There are: {known}.")
  if variant and variant not in dataset.variants:
    known = ", ".join(f"tfds:{base}/{known}" if known else f"tfds:{base}" for known in dataset.variants)
    raise UserError(f"tfds:{name} is not known. There are: {known}.")
  return dataset, variant or dataset.variants[0]


def find(
  name: str,
  directory: os.PathLike | str,
  options: Options,
  digests: Digests,
  *,
  skip: os.PathLike | str | None = None,
) -> Reading:
  """What the annotation files in `directory` say about the media in it.

  Raises:
    UserError: the data set is not known, an annotation file is not there, or no medium that it names is.
  """
  dataset, variant = lookup(name)
  folder = Folder(directory, dataset.layout, skip=skip)
  wanted: dict[str, dict[Request, dict[str, None]]] = {}  # path -> request without captions -> captions
  missing: dict[str, None] = {}
  for example in _examples(name, dataset, folder, variant):
    request = dataclasses.replace(example.request, licence=example.request.licence or dataset.licence)
    if path := folder.find(example.cut, example.within):
      request = dataclasses.replace(request, start=0.0, end=math.inf)
    elif not (path := folder.find(example.names, example.within)):
      missing[example.names[0]] = None
      continue
    bare = dataclasses.replace(request, captions=())
    wanted.setdefault(path, {}).setdefault(bare, {}).update(dict.fromkeys(request.captions))
  if not wanted:
    raise UserError(
      f"None of the {len(missing):,} files that the annotations of tfds:{name} name is in {directory} "
      f"({_some(missing)}). --manual_dir must hold {dataset.layout}."
    )
  units = [_unit(folder, path, asked, options, digests) for path, asked in wanted.items()]
  problems = Decoded(rejected=[Problem(name, "missing") for name in missing])
  return Reading(units, problems, list(dataset.labels(folder)))


def _examples(name: str, dataset: PublicDataset, folder: Folder, variant: str) -> Iterator[Example]:
  try:
    yield from dataset.examples(folder, variant)
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise UserError(
      f"The annotations of tfds:{name} in {folder.root} are not in their published format ({error!r}). --manual_dir "
      f"must hold {dataset.layout}."
    ) from error


def _unit(folder: Folder, path: str, asked: dict[Request, dict[str, None]], options, digests) -> MediaUnit:
  place, is_sound = str(folder.root / path), os.path.splitext(path)[1].lower() in SOUND
  return MediaUnit(
    name=path,
    source=path,
    video=None if is_sound else place,
    audio=place if is_sound else None,
    audio_replaces=False,
    requests=tuple(dataclasses.replace(bare, captions=tuple(texts)) for bare, texts in asked.items()),
    options=options,
    digests=digests,
  )


def _some(names: Sequence[str]) -> str:
  return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")
