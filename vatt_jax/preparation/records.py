"""The record of a clip: the TFDS data set `clips`, ArrayRecord files that any reader of TFDS can open."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import io
from unittest import mock

from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters

from vatt_jax.preparation.clips import Clip


def record(clip: Clip, *, questions: bool = False, kinds: bool = False) -> dict:
  """The clip as the nested dict that the features of `Clips` encode."""
  asked = {
    "text": [question.text for question in clip.questions],
    "answer": [question.answer for question in clip.questions],
  }
  kind = {"kind": [caption.kind for caption in clip.captions]}
  return {
    "video": {"frames": list(clip.frames), "timestamps": np.asarray(clip.timestamps, np.float32)},
    "audio": {
      "samples": np.asarray(clip.samples, np.int16),
      "start_seconds": np.float32(clip.audio_start_seconds),
      "sample_rate_hz": np.int64(clip.sample_rate_hz),
    },
    "captions": {
      "text": [caption.text for caption in clip.captions],
      "start": np.asarray([caption.start for caption in clip.captions], np.float32),
      "end": np.asarray([caption.end for caption in clip.captions], np.float32),
      **(kind if kinds else {}),
    },
    **({"questions": asked} if questions else {}),
    "language": clip.language,
    "label": clip.label,
    "source": clip.source,
    "clip": {"start": np.float32(clip.start)},
    "licence": clip.licence,
  }


class Clips(tfds.core.GeneratorBasedBuilder):
  """Short clips of video, sound and text."""

  name = "clips"
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "JPEG frames, int16 PCM, captions with times."}

  def __init__(
    self, *, clips: Callable[[str], Iterator[Clip]] = lambda split: iter(()), splits=(), questions=False, kinds=False,
    **kwargs,
  ):  # fmt: skip
    self._clips, self._splits, self._questions, self._kinds = clips, tuple(splits), questions, kinds
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    f = tfds.features
    # Only where there are any: a data set without questions is what it was before questions were thought of.
    questions = {"questions": f.Sequence({"text": f.Text(), "answer": f.Text()})} if self._questions else {}
    kind = {"kind": f.Text()} if self._kinds else {}
    return self.dataset_info_from_configs(
      features=f.FeaturesDict(
        {
          # JPEG bytes as they are: a Sequence(Image) cannot be read without decoding every frame.
          "video": {"frames": f.Sequence(f.Text()), "timestamps": f.Sequence(np.float32)},
          "audio": {
            "samples": f.Tensor(shape=(None,), dtype=np.int16, encoding=f.Encoding.BYTES),
            "start_seconds": np.float32,
            "sample_rate_hz": np.int64,
          },
          "captions": f.Sequence({"text": f.Text(), "start": np.float32, "end": np.float32, **kind}),
          **questions,
          "language": f.Text(),
          "label": f.Text(),
          "source": f.Text(),
          "clip": {"start": np.float32},
          "licence": f.Text(),
        }
      ),
      description=self.__doc__,
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {split: self._generate_examples(split) for split in self._splits}

  def _generate_examples(self, split):
    for clip in self._clips(split):
      yield clip.key, record(clip, questions=self._questions, kinds=self._kinds)


def write(
  folder: epath.Path, clips: Callable[[str], Iterator[Clip]], splits: Iterable[str], *, questions: bool = False,
  kinds: bool = False,
) -> None:  # fmt: skip
  """Writes `folder`/clips/1.0.0. Records are ordered by a hash of their keys, whatever order `clips` has.

  Args:
    folder: where the data set goes; it must not hold one already.
    clips: split name -> the clips of the split, read one by one.
    splits: the splits to write; none of them may be empty.
    questions: whether records have the feature `questions`.
    kinds: whether captions have the feature `kind`.
  """
  tfds.disable_progress_bar()
  has = {"questions": questions, "kinds": kinds}
  builder = Clips(clips=clips, splits=splits, **has, data_dir=str(folder), file_format="array_record")
  quiet = contextlib.redirect_stdout(io.StringIO())  # "Downloading and preparing dataset ..."
  with _same_bytes_everywhere(), _uncompressed(), quiet:
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(compute_stats="skip"))


def _uncompressed():
  """While active, TFDS does not compress ArrayRecord files: JPEG and sound shrink by 3 %, to read them takes twice as long."""
  plain = lambda path, options: ArrayRecordWriter(path, f"{options},uncompressed")
  return mock.patch.object(file_adapters.array_record_module, "ArrayRecordWriter", plain)


def _same_bytes_everywhere():
  """While active, equal records have equal bytes: TFDS leaves the order of an example's features to chance."""

  def serialize_example(self, example):
    return self.get_tf_example(example).SerializeToString(deterministic=True)

  return mock.patch.object(example_serializer.ExampleSerializer, "serialize_example", serialize_example)
