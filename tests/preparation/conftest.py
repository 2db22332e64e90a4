import json
import pathlib

import pytest
import tensorflow_datasets as tfds


@pytest.fixture(scope="session")
def records():
  """Reads a prepared data set: (directory) -> the records of every split, as nested dicts, in their order."""

  def read(directory):
    builder = tfds.builder_from_directory(str(directory / "clips" / "1.0.0"))
    return {split: list(builder.as_data_source(split)) for split in builder.info.splits}

  return read


@pytest.fixture(scope="session")
def preparation():
  """Reads preparation.json of a directory."""
  return lambda directory: json.loads((pathlib.Path(directory) / "preparation.json").read_text())


@pytest.fixture(scope="session")
def record_files():
  """The bytes of all files of a prepared data set, by name."""
  return lambda directory: {file.name: file.read_bytes() for file in sorted((directory / "clips/1.0.0").iterdir())}
