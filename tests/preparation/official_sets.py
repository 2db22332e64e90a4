"""Miniatures of public data sets in their official formats, large enough to train on."""

from collections.abc import Callable
import csv
import io
import json
import pathlib

import numpy as np
from PIL import Image

from tests.preparation import make_media
from vatt_jax.preparation import dataset, datasets
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

TRAIN, HELD_OUT = 10, 6  # clips of each split
SECONDS = 0.8
Put = Callable[..., None]  # (file, content); without content it is a medium of its ending


def prepare(name: str, folder: pathlib.Path) -> str:
  """The prepared data set `tfds:name` of a miniature below `folder`; its directory."""
  put = _writer(folder / "manual")
  SETS[name.split("/")[0]](put)
  options = Options(frames_per_second=5, short_side=36, sample_rate_hz=8_000)
  reading = datasets.find(name, folder / "manual", options, Digests())
  dataset.prepare(
    reading.units, folder / "prepared", source=name, options={}, problems=reading.problems, labels=reading.labels,
    official_splits=True, progress=False,
  )  # fmt: skip
  return str(folder / "prepared")


def _writer(home: pathlib.Path) -> Put:
  media = {}
  as_written = {".avi": ".mp4", ".JPEG": ".jpg"}

  def medium(ending: str) -> bytes:
    if ending not in media:
      file = home / f"medium{ending}"
      home.mkdir(parents=True, exist_ok=True)
      if ending == ".jpg":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)).save(file)
      elif ending == ".wav":
        make_media.write(file, seconds=SECONDS, video=None, audio="pcm_s16le")
      else:
        make_media.write(file, seconds=SECONDS)
      media[ending] = file.read_bytes()
      file.unlink()
    return media[ending]

  def put(name, content=None):
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
      file.write_bytes(medium(as_written.get(file.suffix, file.suffix)))
    else:
      file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

  return put


def _rows(*lines) -> str:
  text = io.StringIO()
  csv.writer(text).writerows(lines)
  return text.getvalue()


def _splits(*names: str):
  """(split, number) of all clips."""
  return [(name, i) for name in names for i in range(TRAIN if name == names[0] else HELD_OUT)]


def kinetics(put: Put) -> None:
  head = ("label", "youtube_id", "time_start", "time_end", "split")
  for split, file in (("train", "train"), ("validate", "val"), ("test", "test")):
    clips = [(("zumba", "abseiling")[i % 2], f"{file}{i}", 3, 13, split) for i in range(TRAIN)]
    put(f"annotations/{file}.csv", _rows(head, *clips))
    for _, video, *_ in clips:
      put(f"{file}/{video}_000003_000013.mp4")


def moments_in_time(put: Put) -> None:
  put("moments_categories.txt", "clapping,0\npraying,1\n")
  for split, name in (("training", "trainingSet"), ("validation", "validationSet")):
    videos = [f"{('clapping', 'praying')[i % 2]}/yt-{i}.mp4" for i in range(TRAIN)]
    put(f"{name}.csv", "".join(f"{video},{video.split('/')[0]},4,0\n" for video in videos))
    for video in videos:
      put(f"{split}/{video}")


def audioset(put: Put) -> None:
  labels = [("index", "mid", "display_name"), (0, "/m/09x0r", "Speech"), (1, "/m/05zppz", "Male speech, man speaking")]
  put("class_labels_indices.csv", _rows(*labels))
  head = "# Segments csv\n# num_ytids=9\n# YTID, start_seconds, end_seconds, positive_labels\n"
  for file, folder in (("balanced_train", "train"), ("unbalanced_train", "train"), ("eval", "eval")):
    classes = ['"/m/09x0r,/m/05zppz"', '"/m/05zppz"']
    lines = [f"{file[0]}{i}, 0.000, 10.000, {classes[i % 2]}\n" for i in range(TRAIN)]
    put(f"{file}_segments.csv", head + "".join(lines))
    for i in range(TRAIN):
      put(f"{folder}/{file[0]}{i}.mp4")


def imagenet(put: Put) -> None:
  for split in ("train", "val"):
    for i in range(TRAIN):
      put(f"{split}/{('n01440764', 'n01443537')[i % 2]}/picture_{i}.JPEG")


def ucf101(put: Put) -> None:
  put("ucfTrainTestlist/classInd.txt", "1 Archery\r\n2 ApplyLipstick\r\n")
  lists = {"train": [], "test": []}
  for split, i in _splits("train", "test"):
    label = ("Archery", "ApplyLipstick")[i % 2]
    name = f"{label}/v_{label}_{split}{i}_c01.avi"
    lists[split].append(f"{name} {1 + i % 2}" if split == "train" else name)
    put(f"UCF-101/{name}")
  for split, lines in lists.items():
    put(f"ucfTrainTestlist/{split}list01.txt", "".join(f"{line}\r\n" for line in lines))


def hmdb51(put: Put) -> None:
  for label in ("brush_hair", "wave"):
    names = [(f"{label}{split}{i}.avi", 1 if split == "train" else 2) for split, i in _splits("train", "test")]
    put(f"splits/{label}_test_split1.txt", "".join(f"{name} {number} \n" for name, number in names))
    for name, _ in names:
      put(f"hmdb51_org/{label}/{name}")


def esc50(put: Put) -> None:
  lines = [("filename", "fold", "target", "category", "esc10", "src_file", "take")]
  for i in range(TRAIN + HELD_OUT):
    target, fold = i % 2, 1 if i < HELD_OUT else 2
    lines.append((f"{fold}-{i}-A-{target}.wav", fold, target, ("dog", "rooster")[target], True, i, "A"))
    put(f"audio/{lines[-1][0]}")
  put("meta/esc50.csv", _rows(*lines))


def msrvtt(put: Put) -> None:
  clips = _splits("train", "validate", "test")
  video = lambda number, split: {
    "category": 9, "url": "u", "video_id": f"video{number}", "start time": 1.0, "end time": 9.0, "split": split,
    "id": number,
  }  # fmt: skip
  say = lambda number, j: {
    "caption": f"a man {j} sings {number}",
    "video_id": f"video{number}",
    "sen_id": 2 * number + j,
  }
  put("annotation/MSRVTT_data.json", {
      "info": {}, "videos": [video(n, split) for n, (split, _) in enumerate(clips)],
      "sentences": [say(n, j) for n in range(len(clips)) for j in range(2)],
  })  # fmt: skip
  test = [n for n, (split, _) in enumerate(clips) if split == "test"]
  asked = [(f"ret{n}", f"msr{n}", f"video{n}", f"a man 0 sings {n}") for n in test]
  put("MSRVTT_JSFUSION_test.csv", _rows(("key", "vid_key", "video_id", "sentence"), *asked))
  for n in range(len(clips)):
    put(f"videos/all/video{n}.mp4")


def _questions(put: Put, numbers: dict[str, list[int]]) -> None:
  for split, videos in numbers.items():
    put(f"{split}_qa.json", [
        {"answer": ("man", "woman")[n % 2], "category_id": 14, "id": n, "question": f"who sings {n}?", "video_id": n}
        for n in videos
    ])  # fmt: skip


def msrvtt_qa(put: Put) -> None:
  numbers = {"train": range(10), "val": range(10, 16), "test": range(16, 22)}
  _questions(put, numbers)
  for n in range(22):
    put(f"video{n}.mp4")


def msvd_qa(put: Put) -> None:
  numbers = {"train": range(1, 11), "val": range(1201, 1207), "test": range(1301, 1307)}
  _questions(put, numbers)
  every = [n for videos in numbers.values() for n in videos]
  put("youtube_mapping.txt", "".join(f"clip{n}_1_2 vid{n}\n" for n in every))
  for n in every:
    put(f"YouTubeClips/clip{n}_1_2.avi")


def didemo(put: Put) -> None:
  for split, clips in (("train", TRAIN), ("val", HELD_OUT), ("test", HELD_OUT)):
    told = [
      {
        "annotation_id": i, "description": f"a {split} dog runs {i}", "dl_link": "l", "num_segments": 6,
        "reference_description": "r", "times": [[0, 0]], "video": f"{i}@N_{split}_{i}.mp4", "train_times": [],
      } for i in range(clips)
    ]  # fmt: skip
    put(f"data/{split}_data.json", told)
    for each in told:
      put(f"videos/{each['video']}")


def youcook2(put: Put) -> None:
  step = lambda number, start, text: {"segment": [start, start + 0.4], "id": number, "sentence": text}
  database = {}
  for subset, i in _splits("training", "validation"):
    steps = [step(j, 0.4 * j, f"{subset} {('fry', 'boil')[j]} {i}") for j in range(2)]
    database[f"{subset}-{i}"] = {
      "duration": 311.77, "subset": subset, "recipe_type": "113", "annotations": steps, "video_url": "u",
    }  # fmt: skip
    put(f"raw_videos/{subset}/113/{subset}-{i}.mp4")
  put("youcookii_annotations_trainval.json", {"database": database})


def howto100m(put: Put) -> None:
  names = [f"v{i}" for i in range(TRAIN)]
  lines = [(name, "Pets", "Cats", 2, 7) for name in names]
  put("HowTo100M_v1.csv", _rows(("video_id", "category_1", "category_2", "rank", "task_id"), *lines))
  spoken = {name: {"start": [0.0, 0.3], "end": [0.5, 0.7], "text": [f"first {name}", "then"]} for name in names}
  put("raw_caption.json", spoken)
  for name in names:
    put(f"videos/{name}.mp4")


def webvid(put: Put) -> None:
  head = ("videoid", "contentUrl", "duration", "page_dir", "name")
  for split, clips in (("train", TRAIN), ("val", HELD_OUT)):
    videos = [(f"{split}{i}", "u", "PT", "0_1", f"Aerial shot {split} {i}") for i in range(clips)]
    put(f"results_2M_{split}.csv", _rows(head, *videos))
    for video, *_ in videos:
      put(f"videos/0_1/{video}.mp4")


def cc3m(put: Put) -> None:
  head = "caption\turl\n"  # The training file has none.
  for split, file, clips in (
    ("training", "Train_GCC-training", TRAIN), ("validation", "Validation_GCC-1.1.0-Validation", HELD_OUT),
  ):  # fmt: skip
    lines = "".join(f"a {split} picture {i}\thttp://{split}/{i}.jpg\n" for i in range(clips))
    put(f"{file}.tsv", (head if split == "validation" else "") + lines)
    for i in range(clips):
      put(f"{split}/00000/{i:09d}.jpg")


SETS = {
  "kinetics400": kinetics, "kinetics600": kinetics, "kinetics700": kinetics, "moments_in_time": moments_in_time, "audioset": audioset, "imagenet": imagenet, "ucf101": ucf101,
  "hmdb51": hmdb51, "esc50": esc50, "msrvtt": msrvtt, "msrvtt_qa": msrvtt_qa, "msvd_qa": msvd_qa, "didemo": didemo,
  "youcook2": youcook2, "howto100m": howto100m, "webvid": webvid, "cc3m": cc3m,
}  # fmt: skip
