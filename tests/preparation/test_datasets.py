"""Every public data set from a miniature of its official annotation files and tiny real media."""

import csv
import dataclasses
import io
import json
import subprocess
import sys
import zlib

import make_media
import numpy as np
from PIL import Image
import pytest

from vatt_jax.data import records as reader
from vatt_jax.errors import UserError
from vatt_jax.preparation import datasets
from vatt_jax.preparation.captions import Cue
from vatt_jax.preparation.datasets import annotations, howto100m
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

OPTIONS = Options(frames_per_second=5, short_side=24, sample_rate_hz=8_000)
SECONDS = 0.8


@pytest.fixture(scope="session")
def media(tmp_path_factory):
  """Bytes of tiny files: a video with sound, a sound, an image."""
  folder = tmp_path_factory.mktemp("media")
  Image.fromarray(np.full((20, 30, 3), 120, np.uint8)).save(folder / "image.jpg")
  make_media.write(folder / "video.mp4", seconds=SECONDS)
  make_media.write(folder / "sound.wav", seconds=SECONDS, video=None, audio="pcm_s16le")
  return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@dataclasses.dataclass
class Prepared:
  """What became of a data set: records by source, with their split; preparation.json; the output."""

  by_source: dict
  preparation: dict
  output: str

  def clips(self, source):
    """(split, start, captions, label) of each clip of a file, by start and caption."""
    found = []
    for record in self.by_source.get(source, ()):
      texts = [text.decode() for text in record["captions"]["text"]]
      found.append((record["split"], round(float(record["clip"]["start"]), 2), texts, record["label"].decode()))
    return sorted(found)

  def clip(self, source):
    (clip,) = self.clips(source)
    return clip

  @property
  def missing(self):
    return [problem["file"] for problem in self.preparation["rejected"] if problem["reason"] == "missing"]

  @property
  def labels(self):
    return reader.labels(str(self.output))

  @property
  def licences(self):
    return {source: {record["licence"].decode() for record in found} for source, found in self.by_source.items()}


@pytest.fixture
def put(tmp_path, media):
  """Writes a file below the manual folder: text as it is, anything else as JSON; None is a medium of its ending."""

  def put(name, content=None):
    path = tmp_path / "manual" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
      path.write_bytes(
        media[{".flac": ".wav", ".avi": ".mp4", ".JPEG": ".jpg", "": ".jpg"}.get(path.suffix, path.suffix)]
      )
    else:
      path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

  return put


@pytest.fixture
def prepare(tmp_path, records):
  def prepare(name):
    from vatt_jax.preparation import dataset

    reading = datasets.find(name, tmp_path / "manual", OPTIONS, Digests())
    output = tmp_path / name.replace("/", "_")
    outcome = dataset.prepare(
      reading.units,
      output,
      source=name,
      options={},
      problems=reading.problems,
      labels=reading.labels,
      official_splits=True,
      progress=False,
    )
    by_source = {}
    for split, found in records(output).items():
      for record in found:
        by_source.setdefault(record["source"].decode(), []).append(record | {"split": split})
    return Prepared(by_source, outcome.preparation, output)

  return prepare


def rows(*lines, delimiter=","):
  text = io.StringIO()
  csv.writer(text, delimiter=delimiter).writerows(lines)
  return text.getvalue()


def test_howto100m(put, prepare):
  put(
    "HowTo100M_v1.csv",
    "video_id,category_1,category_2,rank,task_id\n"
    "aB-1,Hobbies and Crafts,Crafts,1,77\n_x2,Pets,Cats,2,78\ngone,Pets,Cats,3,78\nmute,Pets,Cats,3,78\n",
  )
  put(
    "raw_caption.json",
    {
      "aB-1": {"start": [0.0, 0.3], "end": [0.5, 0.7], "text": ["first we", " take a  thread"]},
      "_x2": {"text": ["the cat"], "start": [0.1], "end": [9.0]},
      "gone": {"start": [0.0], "end": [1.0], "text": ["never seen"]},
      "not in the list": {"start": [0.0], "end": [1.0], "text": ["never seen"]},
    },
  )
  put("videos/aB-1.mp4")
  put("videos/_x2.webm.mp4")
  put("videos/mute.mp4")
  found = prepare("howto100m")
  assert found.clip("videos/aB-1.mp4") == ("train", 0.0, ["first we", "take a thread"], "Hobbies and Crafts")
  np.testing.assert_allclose(found.by_source["videos/aB-1.mp4"][0]["captions"]["start"], [0, 0.3], atol=1e-6)
  assert found.missing == ["_x2", "gone"]
  assert found.labels == ["Hobbies and Crafts"]


def test_howto100m_with_a_caption_file_for_each_video(put, prepare):
  put("HowTo100M_v1.csv", "video_id,category_1,category_2,rank,task_id\nv,Pets,Cats,1,7\n")
  put("howto100m_captions/v.csv", "start,end,text\n0.0,0.4,one\n0.2,0.6,two\n")
  put("v.mp4")
  assert prepare("howto100m").clip("v.mp4") == ("train", 0.0, ["one", "two"], "Pets")


def test_overlapping_segments_become_clips_that_do_not_overlap():
  """Five seconds at least; the end is the next clip's start, or the last segment's end before a pause."""
  times = [(0, 4), (2, 6), (4, 8), (6, 10), (8, 11), (30, 33)]
  cues = [Cue(str(i), *map(float, time)) for i, time in enumerate(times)]
  found = howto100m.clips(list(reversed(cues)))
  assert [(start, end) for start, end, _ in found] == [(0, 6), (6, 11), (30, 33)]
  assert [[cue.text for cue in captions] for _, _, captions in found] == [
    ["0", "1", "2", "3", "4", "5"],
    ["3", "4", "2", "1", "0", "5"],
    ["5", "4", "3", "2", "1"],
  ]


def test_audioset(put, prepare):
  labels = [("index", "mid", "display_name"), (0, "/m/09x0r", "Speech"), (1, "/m/05zppz", "Male speech, man speaking")]
  put("class_labels_indices.csv", rows(*labels))
  head = "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"
  put(
    "balanced_train_segments.csv",
    head + '--ab, 30.000, 40.000, "/m/09x0r,/m/05zppz"\nmissing, 0.000, 10.000, "/m/09x0r"\n',
  )
  put("unbalanced_train_segments.csv", head + '-cd, 0.200, 0.600, "/m/05zppz"\n')
  put("eval_segments.csv", head + 'ef, 1.000, 11.000, "/m/09x0r"\ngh, 5.000, 15.000, "/m/09x0r"\n')
  put("train/Y--ab.wav")
  put("train/-cd.mp4")  # The whole video.
  put("eval/ef_1000_11000.flac")
  put("eval/gh_000005_000015.mp4")
  found = prepare("audioset")
  assert found.clip("train/Y--ab.wav") == ("train", 0.0, [], "Speech|Male speech, man speaking")
  assert found.clip("train/-cd.mp4") == ("train", 0.2, [], "Male speech, man speaking")
  assert len(found.by_source["train/-cd.mp4"][0]["video"]["frames"]) == 2
  assert found.clip("eval/ef_1000_11000.flac") == ("test", 0.0, [], "Speech")
  assert found.clip("eval/gh_000005_000015.mp4")[0] == "test"
  assert found.missing == ["missing"]
  assert found.labels == ["Speech", "Male speech, man speaking"]
  assert "CC BY 4.0" in found.licences["train/-cd.mp4"].pop()
  assert prepare("audioset/balanced").preparation["splits"] == {"train": 1, "validation": 0, "test": 2}


def test_webvid(put, prepare):
  head = ("videoid", "contentUrl", "duration", "page_dir", "name")
  put(
    "results_2M_train.csv", rows(head, (21179416, "https://x", "PT00H00M11S", "006001_006050", "Aerial shot, winter"))
  )
  put(
    "results_2M_val.csv", rows(head, (7, "u", "PT", "0_1", "Same words"), (8, "u", "PT", "0_1", "Aerial shot, winter"))
  )
  put("videos/006001_006050/21179416.mp4")
  put("videos/0_1/8.mp4")
  found = prepare("webvid")
  assert found.clip("videos/006001_006050/21179416.mp4") == ("train", 0.0, ["Aerial shot, winter"], "")
  assert found.clip("videos/0_1/8.mp4") == ("validation", 0.0, ["Aerial shot, winter"], "")  # Training has it too.
  assert found.missing == ["0_1/7"]


def test_cc3m(put, prepare):
  """An image is a clip of one frame."""
  put("Train_GCC-training.tsv", 'a "red car , parked\thttp://a/1.jpg\nsecond\thttp://a/2.jpg\nthird\thttp://a/3.jpg\n')
  put("Validation_GCC-1.1.0-Validation.tsv", "caption\turl\nheld out\thttp://v/1.jpg\ngone\thttp://v/2.jpg\n")
  checksum = zlib.crc32(b"http://a/1.jpg")
  put(f"training/{checksum}")
  put("training/00000/000000001.jpg")
  put("validation/00000/000000000.jpg")
  found = prepare("cc3m")
  assert found.clip(f"training/{checksum}") == ("train", 0.0, ['a "red car , parked'], "")
  assert found.clip("training/00000/000000001.jpg") == ("train", 0.0, ["second"], "")
  assert found.clip("validation/00000/000000000.jpg") == ("validation", 0.0, ["held out"], "")
  (record,) = found.by_source[f"training/{checksum}"]
  assert len(record["video"]["frames"]) == 1 and len(record["audio"]["samples"]) == 0
  assert len(found.missing) == 2


@pytest.mark.parametrize("name", ["kinetics400", "kinetics700"])
def test_kinetics(put, prepare, name):
  put(
    "annotations/train.csv",
    "label,youtube_id,time_start,time_end,split,is_cc\n"
    '"air drumming",-abc,10,20,train,0\nzumba,_d-f,0,1,train,0\nabseiling,lost,0,10,train,1\n',
  )
  put("annotations/val.csv", "label,youtube_id,time_start,time_end,split\nzumba,v1,3,13,validate\n")
  put("annotations/test.csv", "youtube_id,time_start,time_end,split\nt1,3,13,test\n")
  put("train/air drumming/-abc_000010_000020.mp4")
  put("train/_d-f.mp4")
  put("val/v1_000003_000013.mp4")
  put("test/t1_000003_000013.mp4")
  found = prepare(name)
  assert found.clip("train/air drumming/-abc_000010_000020.mp4") == ("train", 0.0, [], "air drumming")
  assert found.clip("train/_d-f.mp4") == ("train", 0.0, [], "zumba")
  assert found.clip("val/v1_000003_000013.mp4") == ("validation", 0.0, [], "zumba")
  assert found.clip("test/t1_000003_000013.mp4") == ("test", 0.0, [], "")
  assert found.missing == ["lost"]
  assert found.labels == ["abseiling", "air drumming", "zumba"]


def test_moments_in_time(put, prepare):
  put("moments_categories.txt", "clapping,0\nadult+female+singing,2\npraying,1\n")
  put("trainingSet.csv", "clapping/yt-a_1.mp4,clapping,4,0\nclapping/gone.mp4,clapping,3,1\n")
  put("validationSet.csv", "adult+female+singing/yt-a_1.mp4,adult+female+singing,2,1\n")
  put("training/clapping/yt-a_1.mp4")
  put("validation/adult+female+singing/yt-a_1.mp4")
  found = prepare("moments_in_time")
  assert found.clip("training/clapping/yt-a_1.mp4") == ("train", 0.0, [], "clapping")
  assert found.clip("validation/adult+female+singing/yt-a_1.mp4")[0::3] == ("validation", "adult+female+singing")
  assert found.labels == ["clapping", "praying", "adult+female+singing"]
  assert found.missing == ["training/clapping/gone.mp4"]


def test_ucf101(put, prepare):
  put("ucfTrainTestlist/classInd.txt", "1 Archery\r\n2 ApplyLipstick\r\n")
  names = [f"{label}/v_{label}_g0{i}_c01.avi" for label in ("Archery", "ApplyLipstick") for i in (1, 2)]
  put("ucfTrainTestlist/trainlist01.txt", f"{names[0]} 1\r\n{names[2]} 2\r\n")
  put("ucfTrainTestlist/testlist01.txt", f"{names[1]}\r\n{names[3]}\r\n")
  put("ucfTrainTestlist/trainlist02.txt", f"{names[1]} 1\n")
  put("ucfTrainTestlist/testlist02.txt", f"{names[0]}\n")
  for name in names[:3]:
    put(f"UCF-101/{name}")
  found = prepare("ucf101")
  assert found.clip(f"UCF-101/{names[0]}") == ("train", 0.0, [], "Archery")
  assert found.clip(f"UCF-101/{names[1]}") == ("test", 0.0, [], "Archery")
  assert len(found.by_source[f"UCF-101/{names[0]}"][0]["video"]["frames"]) == 4
  assert found.labels == ["Archery", "ApplyLipstick"]
  assert found.missing == [names[3]]
  assert prepare("ucf101/split2").clip(f"UCF-101/{names[0]}")[0] == "test"


def test_hmdb51(put, prepare):
  """Two classes have a file of the same name; the folder tells them apart."""
  put("splits/brush_hair_test_split1.txt", "a_#1_u.avi 1 \nb.avi 2 \nc.avi 0 \ngone.avi 1 \n")
  put("splits/wave_test_split1.txt", "b.avi 1 \n")
  put("splits/wave_test_split2.txt", "b.avi 2 \n")
  put("splits/climb_test_split2.txt", "none.avi 1 \n")
  for name in ("brush_hair/a_#1_u", "brush_hair/b", "brush_hair/c", "wave/b"):
    put(f"hmdb51_org/{name}.avi")
  found = prepare("hmdb51/split1")
  assert found.clip("hmdb51_org/brush_hair/a_#1_u.avi") == ("train", 0.0, [], "brush_hair")
  assert found.clip("hmdb51_org/brush_hair/b.avi")[0::3] == ("test", "brush_hair")
  assert found.clip("hmdb51_org/wave/b.avi")[0::3] == ("train", "wave")
  assert "hmdb51_org/brush_hair/c.avi" not in found.by_source
  assert found.labels == ["brush_hair", "climb", "wave"]  # Also where no medium is there.
  assert found.missing == ["brush_hair/gone.avi"]


def test_esc50(put, prepare):
  put(
    "meta/esc50.csv",
    "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    "2-7-A-36.wav,2,36,vacuum_cleaner,False,7,A\n5-9-B-1.wav,5,1,rooster,False,9,B\n",
  )
  put("audio/1-100032-A-0.wav")
  put("audio/2-7-A-36.wav")
  found = prepare("esc50/fold2")
  assert found.clip("audio/1-100032-A-0.wav") == ("train", 0.0, [], "dog")
  assert found.clip("audio/2-7-A-36.wav") == ("test", 0.0, [], "vacuum_cleaner")
  assert found.labels == ["dog", "rooster", "vacuum_cleaner"]
  assert found.licences["audio/1-100032-A-0.wav"] == {"CC BY 3.0 (ESC-10)"}
  assert found.licences["audio/2-7-A-36.wav"] == {"CC BY-NC 3.0 (ESC-50)"}
  assert prepare("esc50").preparation["splits"] == {"train": 1, "validation": 0, "test": 1}


def test_imagenet(put, prepare):
  put("train/n01440764/n01440764_10026.JPEG")
  put("val/n01443537/ILSVRC2012_val_00000236.JPEG")
  put("val/ILSVRC2012_val_00000001.JPEG")
  put("other/cat.jpg")
  found = prepare("imagenet")
  assert found.clip("train/n01440764/n01440764_10026.JPEG") == ("train", 0.0, [], "n01440764")
  assert found.clip("val/n01443537/ILSVRC2012_val_00000236.JPEG")[0::3] == ("validation", "n01443537")
  assert found.clip("val/ILSVRC2012_val_00000001.JPEG")[0::3] == ("validation", "n01751748")
  assert len(found.by_source) == 3 and len(found.labels) == 1000 and found.labels[0] == "n01440764"


@pytest.fixture
def msrvtt(put):
  splits = ["train", "validate", "test", "test", "test"]
  videos = [
    {"category": 9, "url": "u", "video_id": f"video{i}", "start time": 1.0, "end time": 9.0, "split": split, "id": i}
    for i, split in enumerate(splits)
  ]
  sentences = [
    {"caption": f"a man {j} sings {i if i != 3 else 2}", "video_id": f"video{i}", "sen_id": 2 * i + j}
    for i in range(5)
    for j in range(2)
  ]
  put("annotation/MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
  put("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,msr2,video2,a man 0 sings 2\n")
  for i in range(4):
    put(f"videos/all/video{i}.mp4")


@pytest.mark.parametrize(
  "name, splits",
  [
    ("msrvtt", ["train", "train", "test", "train"]),
    ("msrvtt/7k", ["train", "train", "test", None]),
    ("msrvtt/full", ["train", "validation", "test", "test"]),
  ],
)
def test_msrvtt(msrvtt, prepare, name, splits):
  found = prepare(name)
  for i, split in enumerate(splits):
    source = f"videos/all/video{i}.mp4"
    texts = [f"a man {j} sings {i if i != 3 else 2}" for j in range(1 if i == 2 and name != "msrvtt/full" else 2)]
    assert found.clips(source) == ([(split, 0.0, texts, "")] if split else [])
  assert found.missing == ([] if name == "msrvtt/7k" else ["video4"])
  np.testing.assert_allclose(found.by_source["videos/all/video0.mp4"][0]["captions"]["end"], SECONDS, atol=0.1)


def test_msrvtt_qa(put, prepare):
  """A video is stored once, with all its questions; the answers are sorted by how often training gives them."""
  ask = lambda number, video, question, answer: {
    "answer": answer,
    "category_id": 14,
    "id": number,
    "question": question,
    "video_id": video,
  }
  put(
    "train_qa.json",
    [ask(0, 0, "who sings?", "man"), ask(1, 1, "who sings?", "man"), ask(2, 0, "what is a man doing?", "sing")],
  )
  put("val_qa.json", [ask(3, 2, "who sings?", "woman")])
  put("test_qa.json", [ask(4, 9, "who is gone?", "nobody"), ask(5, 3, "how many?", "two")])
  for i in range(4):
    put(f"video{i}.mp4")
  found = prepare("msrvtt_qa")
  (record,) = found.by_source["video0.mp4"]
  assert record["questions"]["text"] == [b"who sings?", b"what is a man doing?"]
  assert record["questions"]["answer"] == [b"man", b"sing"]
  assert found.preparation["splits"] == {"train": 2, "validation": 1, "test": 1}
  assert found.preparation["contents"]["train"]["questions"] == 3
  assert reader.answers(str(found.output)) == ["man", "sing"]
  assert (found.output / "tokenizer/sentencepiece.model").exists()
  assert found.missing == ["video9"]


def test_msvd(put, prepare):
  clips = [f"id-_{i}_33_46" for i in range(1302)]
  put("youtube_mapping.txt", "".join(f"{clip} vid{i + 1}\n" for i, clip in enumerate(clips)))
  said = "".join(f"{clips[i]} a cat {i} plays\n{clips[i]} it plays\n" for i in (0, 1200, 1300))
  put("AllVideoDescriptions.txt", "# The data\n#\n\n" + said)
  for i in (0, 1200, 1300):
    put(f"YouTubeClips/{clips[i]}.avi")
  found = prepare("msvd")
  assert found.clip(f"YouTubeClips/{clips[0]}.avi") == ("train", 0.0, ["a cat 0 plays", "it plays"], "")
  assert found.clip(f"YouTubeClips/{clips[1200]}.avi")[0] == "validation"
  assert found.clip(f"YouTubeClips/{clips[1300]}.avi") == ("test", 0.0, ["a cat 1300 plays", "it plays"], "")
  assert len(found.missing) == 1299 and clips[1] in found.missing
  put("train_list.txt", clips[1300])
  put("test_list.txt", clips[0] + "\n")
  assert prepare("msvd").clip(f"YouTubeClips/{clips[0]}.avi")[0] == "test"


def test_msvd_qa(put, prepare):
  put("youtube_mapping.txt", "mv89psg6zh4_33_46 vid1\nabc_1_2 vid1201\nxyz_1_2 vid2\n")
  put(
    "train_qa.json",
    [
      {"answer": "cat", "id": 0, "question": "what plays?", "video_id": 1},
      {"answer": "dog", "id": 1, "question": "what barks?", "video_id": 2},
    ],
  )
  put("val_qa.json", [{"answer": "cat", "id": 2, "question": "what plays?", "video_id": 1201}])
  put("YouTubeClips/mv89psg6zh4_33_46.avi")
  put("vid1201.mp4")
  found = prepare("msvd_qa")
  (record,) = found.by_source["YouTubeClips/mv89psg6zh4_33_46.avi"]
  assert record["questions"]["text"] == [b"what plays?"] and record["split"] == "train"
  assert found.by_source["vid1201.mp4"][0]["split"] == "validation"
  assert found.missing == ["vid2"]


def test_didemo(put, prepare):
  """The descriptions of a video are one paragraph; every video has a licence of its own."""
  tell = lambda number, video, text: {
    "annotation_id": number,
    "description": text,
    "dl_link": "l",
    "num_segments": 6,
    "reference_description": "r",
    "times": [[0, 0], [0, 1]],
    "video": video,
    "train_times": [],
  }
  first, second, third = "12@N00_2408_27.avi", "77@N01_9_ab.mov", "5@N03_6_cd.mp4"
  put("data/train_data.json", [tell(1, first, "a dog runs"), tell(2, second, "x"), tell(3, first, "it  sits.")])
  put("data/val_data.json", [tell(4, third, "a dog runs")])
  put("data/test_data.json", [tell(5, "1@N_2_3.mp4", "gone")])
  put("data/yfcc100m_hash.txt", "2408\tffff\n9\tabcdef012345\n")
  put(
    "data/video_licenses.txt",
    "VideoID\t\tLink\t\tLicense\n2408\thttp://f\thttp://creativecommons.org/licenses/by/2.0/\n",
  )
  put("videos/12@N00_2408_27.avi.mp4")
  put("videos/abcdef012345.mp4")
  put("videos/5@N03_6_cd.mp4")
  found = prepare("didemo")
  assert found.clip("videos/12@N00_2408_27.avi.mp4") == ("train", 0.0, ["a dog runs it sits."], "")
  assert found.clip("videos/abcdef012345.mp4") == ("train", 0.0, ["x"], "")
  assert found.clip("videos/5@N03_6_cd.mp4") == ("validation", 0.0, ["a dog runs"], "")
  assert "licenses/by/2.0" in found.licences["videos/12@N00_2408_27.avi.mp4"].pop()
  assert "by video" in found.licences["videos/5@N03_6_cd.mp4"].pop()
  assert found.missing == ["1@N_2_3.mp4"]


def test_youcook2(put, prepare):
  step = lambda number, start, end, text: {"segment": [start, end], "id": number, "sentence": text}
  about = lambda subset, *steps: {
    "duration": 311.77,
    "subset": subset,
    "recipe_type": "113",
    "annotations": list(steps),
    "video_url": "u",
  }
  put(
    "youcookii_annotations_trainval.json",
    {
      "database": {
        "GLd3aX16zBg": about("training", step(0, 0, 0.4, "spread margarine on bread"), step(1, 0.4, 0.8, "fry it")),
        "v-1": about("validation", step(0, 0.2, 0.6, "fry it")),
        "gone": about("validation", step(0, 1, 2, "x"), step(1, 2, 3, "y")),
      }
    },
  )
  put("raw_videos/training/113/GLd3aX16zBg.mp4")
  put("raw_videos/validation/113/v-1.mp4")
  found = prepare("youcook2")
  assert found.clips("raw_videos/training/113/GLd3aX16zBg.mp4") == [
    ("train", 0.0, ["spread margarine on bread"], ""),
    ("train", 0.4, ["fry it"], ""),
  ]
  assert found.clip("raw_videos/validation/113/v-1.mp4") == ("validation", 0.2, ["fry it"], "")
  assert found.missing == ["gone"]


def test_a_large_json_file_is_read_item_by_item(tmp_path, monkeypatch):
  monkeypatch.setattr(annotations, "CHUNK", 7)
  items = {f"video {i}": {"start": [0.5, i], "text": ["{a}, ", '"b"']} for i in range(5)}
  (tmp_path / "a.json").write_text(json.dumps(items, indent=1))
  assert dict(annotations.json_items(tmp_path / "a.json")) == items
  (tmp_path / "a.json").write_text(json.dumps(items)[:-9])
  with pytest.raises(UserError, match="ends in the middle"):
    list(annotations.json_items(tmp_path / "a.json"))


@pytest.mark.parametrize("name", [name for name in datasets.DATASETS if name != "imagenet"])
def test_without_annotations_the_folder_is_described(tmp_path, name):
  (tmp_path / "notes.md").write_text("hello")
  with pytest.raises(UserError, match="holds no .* --manual_dir must hold"):
    datasets.find(name, tmp_path, OPTIONS, Digests())


def test_when_all_media_are_missing_the_folder_is_described(put, tmp_path):
  put("meta/esc50.csv", "filename,fold,target,category\na.wav,1,0,dog\nb.wav,1,0,dog\n")
  with pytest.raises(UserError, match=r"None of the 2 files .* \(a.wav, b.wav\)\. .* meta/esc50.csv and audio/\*.wav"):
    datasets.find("esc50", tmp_path / "manual", OPTIONS, Digests())


def test_annotations_in_another_format_are_the_users_error(put, tmp_path):
  put("meta/esc50.csv", "filename,fold,category\na.wav,1,dog\n")
  with pytest.raises(UserError, match="has no column target"):
    datasets.find("esc50", tmp_path / "manual", OPTIONS, Digests())
  put("train_qa.json", {"questions": []})
  with pytest.raises(UserError, match="not in their published format"):
    datasets.find("msrvtt_qa", tmp_path / "manual", OPTIONS, Digests())


def test_the_program(put, tmp_path):
  put("meta/esc50.csv", "filename,fold,target,category\na.wav,1,0,dog\nb.wav,2,1,cat\nc.wav,2,1,cat\n")
  put("audio/a.wav")
  put("audio/b.wav")

  def run(*flags):
    command = [sys.executable, "-m", "vatt_jax.prepare", f"--output={tmp_path / 'out'}", "--workers=0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr

  manual = f"--manual_dir={tmp_path / 'manual'}"
  code, out, err = run("--source=tfds:esc50", manual)
  assert code == 0, err
  assert "c.wav: missing" in out and "labels: 2" in out and "disk: about" in err
  assert reader.labels(str(tmp_path / "out")) == ["dog", "cat"]
  assert run("--source=tfds:esc5", manual)[0::2] == (2, run("--source=tfds:esc5")[2])
  code, _, err = run("--source=tfds:esc50")
  assert code == 2 and "needs --manual_dir" in err
