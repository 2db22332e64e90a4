"""All of it in a few minutes on two cores: a folder of videos, encoders for it, search in it, a classifier.

  python examples/tutorial.py --directory=tutorial

Every step is a command of its own that is printed before it runs; with videos of yours, begin at step 2. Started again,
everything goes on where it stopped.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import wave

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 30), "green": (40, 180, 60), "blue": (40, 70, 220), "yellow": (230, 210, 40)}
TONES_HZ = {"red": 220, "green": 440, "blue": 880, "yellow": 1760}
COUNTS = {"train": 64, "validation": 16, "test": 16}
RATE_HZ, SECONDS, FRAMES_PER_SECOND = 8_000, 1.0, 10


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("tutorial"))
  parser.add_argument("--steps", type=int, default=600, help="of each training")
  arguments = parser.parse_args()
  here, steps = arguments.directory, arguments.steps
  config = "--config=configs/pretrain/vatt_demo.py:smoke"  # A tiny model; without `:smoke` it is the quickstart's.

  title("1. A folder of videos: a coloured square that moves, a tone for each colour, and a sentence beside each")
  for split, count in COUNTS.items():
    for i in range(count):
      make_video(here / "videos" / split, list(COLOURS)[i % len(COLOURS)], i)

  title("2. The folder as a data set: clips, splits, and a vocabulary of its sentences")
  program(
    "prepare", f"--source={here / 'videos'}", f"--output={here / 'data'}", "--short_side=64", "--sample_rate_hz=8000"
  )

  title("3. Encoders for video, sound and text, by contrast between them")
  data = f"--config.data.directory={here / 'data'}"
  training = [f"--config.total_steps={steps}", "--config.checkpoint_every_steps=200", "--config.log_every_steps=50"]
  training += [f"--config.evaluate_every_steps={steps}"]
  program("train", config, data, f"--workdir={here / 'run'}", *training, "--config.batch_size=16")

  title("4. Search: everything in the test folder, by a sentence and by a sound")
  index = here / "videos.npz"
  program("embed", f"--checkpoint={here / 'run'}", f"--output={index}", here / "videos" / "test")
  program(
    "embed", f"--index={index}", "--query=a blue square", "--in=video", "--most=4", f"--gallery={here / 'blue.html'}"
  )
  sound = here / "videos" / "test" / "red_0.wav"
  program("embed", f"--index={index}", f"--query_media={sound}", "--in=video", "--most=4")

  title("5. A classifier that starts from the encoders")
  tuning = [f"--config.init_from={here / 'run'}", "--config.optimizer.learning_rate=0.01"]
  program(
    "train", "--config=configs/finetune/folder.py:smoke", data, f"--workdir={here / 'classifier'}", *training, *tuning
  )

  title("6. The same from Python")
  import vatt_jax

  model = vatt_jax.load(str(here / "run"))
  said = model.encode(text=[f"a {colour} square" for colour in COLOURS])["text/vt"]
  said = said / np.linalg.norm(said, axis=1, keepdims=True)
  print("similarity of the sentences:\n", (said @ said.T).round(2))
  results = json.loads((here / "classifier" / "results.json").read_text())
  print(f"\nThe classifier is right in {100 * results['eval/test/top_1']:.0f} % of the test videos; chance is 25 %.")
  print(f"{here / 'blue.html'} shows what was found, {here / 'run' / 'report.html'} how training went.")


def make_video(folder: pathlib.Path, colour: str, seed: int) -> None:
  """COLOUR_SEED.gif, .wav and .json: a square of this colour on a random way, its tone, and what both are called."""
  folder.mkdir(parents=True, exist_ok=True)
  path, rng = folder / f"{colour}_{seed}", np.random.default_rng(seed)
  start, end = rng.integers(0, 44, (2, 2))
  frames = []
  for share in np.linspace(0, 1, round(SECONDS * FRAMES_PER_SECOND)):
    frame = np.full((64, 64, 3), rng.integers(90, 110), np.uint8)
    y, x = (start + share * (end - start)).astype(int)
    frame[y : y + 20, x : x + 20] = COLOURS[colour]
    frames.append(Image.fromarray(frame))
  frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:], duration=1000 // FRAMES_PER_SECOND)
  time = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
  tone = np.sin(2 * np.pi * TONES_HZ[colour] * time) + 0.1 * rng.standard_normal(len(time))
  with wave.open(str(path.with_suffix(".wav")), "wb") as file:
    file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
    file.writeframes((8_000 * tone).astype("<i2").tobytes())
  path.with_suffix(".json").write_text(json.dumps({"caption": f"a {colour} square", "label": colour}))


def title(words: str) -> None:
  print(f"\n{words}\n")


def program(name: str, *arguments) -> None:
  """Prints and runs `python -m vatt_jax.NAME`."""
  print("$ python -m", f"vatt_jax.{name}", *arguments, flush=True)
  subprocess.run([sys.executable, "-m", f"vatt_jax.{name}", *map(str, arguments)], check=True)


if __name__ == "__main__":
  main()
