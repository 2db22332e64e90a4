"""Whether this machine is ready: versions, devices, disk, the cache, and the line that installs what is missing.

  python -m vatt_jax.doctor
  python -m vatt_jax.doctor --directory=/data/runs    # looks at the disk where runs and data sets will lie

Exit code 0: everything that is needed is there. 2: something is missing or broken, each with a line that helps.
"""

from collections.abc import Iterator
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import sys

from absl import flags

from vatt_jax import errors
from vatt_jax.cache import cache_directory

OLDEST_PYTHON = (3, 11)
REQUIREMENTS = pathlib.Path(__file__).parent.parent / "requirements.txt"
LITTLE_DISK = 10 * 2**30
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le")
# What some programs want: package, for what, the line that installs it.
OPTIONAL = (
  ("libtpu", "TPUs, and `plan --topology=tpu:...`", 'python -m pip install "jax[tpu]==0.10.2"'),
  ("jax-cuda13-plugin", "NVIDIA GPUs, and `plan --topology=gpu:...`", 'python -m pip install "jax[cuda13]==0.10.2"'),
  ("apache-beam", "`prepare --beam`", "python -m pip install -r launch/beam-requirements.txt"),
  ("HanTa", "`prompt --nouns_from`", "python -m pip install -r launch/nouns-requirements.txt"),
)
GOOD, NOTE, BAD = "ok", "note", "MISSING"
Line = tuple[str, str, str]  # GOOD, NOTE or BAD; what; what was found


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  found = []
  for check in (python, packages, optional, devices, decoders, lambda: disks(flags.FLAGS.directory)):
    for line in check():
      found.append(line)
      print("{:8s} {:24s} {}".format(*line), flush=True)
  bad = [what for state, what, _ in found if state == BAD]
  if bad:
    raise errors.UserError(f"{len(bad)} of these need attention: {', '.join(bad)}; the lines above say what helps.")
  print("\nThis machine is ready: bash launch/quickstart.sh")


def python() -> Iterator[Line]:
  """The interpreter and the machine."""
  version = ".".join(map(str, OLDEST_PYTHON))
  new_enough = sys.version_info >= OLDEST_PYTHON
  yield (
    (GOOD if new_enough else BAD),
    "python",
    platform.python_version() + ("" if new_enough else f": {version} is needed"),
  )
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  yield GOOD, "machine", f"{platform.system()} {platform.machine()}, {cores} cores, {_bytes(memory)} memory"


def packages(requirements: pathlib.Path = REQUIREMENTS) -> Iterator[Line]:
  """Everything of requirements.txt, as it is installed."""
  if not requirements.exists():
    yield NOTE, "requirements", f"{requirements} is not there, so versions cannot be compared"
    return
  for name, wanted in pinned(requirements.read_text()).items():
    try:
      installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      if name == "tensorflow-cpu" and _has("tensorflow"):
        continue  # The same, with more in it.
      yield BAD, name, f'python -m pip install "{name}=={wanted}"'
      continue
    same = installed == wanted
    yield (GOOD if same else NOTE), name, installed + ("" if same else f", tested with {wanted}")


def pinned(text: str) -> dict[str, str]:
  """Package -> version of the lines of a requirements file that hold on this machine."""
  here = (sys.platform, platform.machine()) == ("linux", "x86_64")
  found = {}
  for line in text.splitlines():
    match = re.match(r"([A-Za-z0-9_.-]+)==([^\s;#]+)(?:\s*;\s*([^#]*))?", line)
    if match and (not match[3] or here == ("==" in match[3])):
      found[match[1]] = match[2]
  return found


def optional() -> Iterator[Line]:
  """What only some programs or machines want."""
  for name, purpose, line in OPTIONAL:
    if _has(name):
      yield GOOD, name, importlib.metadata.version(name)
    else:
      yield NOTE, name, f"not installed; for {purpose}: {line}"


def devices() -> Iterator[Line]:
  """What JAX computes on, tried with a product, and accelerators that it does not see."""
  try:
    import jax

    kinds = [f"{device.platform} {device.device_kind}" for device in jax.local_devices()]
    value = float(jax.numpy.ones([256, 256]).dot(jax.numpy.ones([256, 256]))[0, 0])
  except Exception as error:  # A plugin that does not fit its driver can fail in any way.
    yield BAD, "devices", f"JAX cannot compute: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return
  described = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
  yield (GOOD if value == 256 else BAD), "devices", described + ("" if value == 256 else ": a product came out wrong")
  on_cpu = all(kind.startswith("cpu") for kind in kinds)
  if on_cpu and (pathlib.Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
    yield BAD, "gpu", f"there is an NVIDIA driver, but JAX sees no GPU: {OPTIONAL[1][2]}"
  if on_cpu and list(pathlib.Path("/dev").glob("accel*")):
    yield BAD, "tpu", f"there is an accelerator, but JAX sees no TPU: {OPTIONAL[0][2]}"


def decoders() -> Iterator[Line]:
  """What media can be read."""
  try:
    import av
  except ImportError as error:
    yield BAD, "decoders", f"PyAV cannot be imported ({error}): python -m pip install --force-reinstall av"
    return
  missing = [name for name in DECODERS if name not in av.codecs_available]
  yield (
    (NOTE if missing else GOOD),
    "decoders",
    f"no decoder for {', '.join(missing)}" if missing else ", ".join(DECODERS),
  )


def disks(directory: str) -> Iterator[Line]:
  """Free space where runs will lie and in the cache, and what the cache holds."""
  for what, place in (("disk", pathlib.Path(directory)), ("cache", cache_directory())):
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    state = BAD if not writable else NOTE if free < LITTLE_DISK else GOOD
    yield state, what, f"{place}: {_bytes(free)} free" + ("" if writable else ", but it cannot be written")
  for folder in sorted(cache_directory().glob("*")):
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    yield GOOD, f"cache/{folder.name}", f"{_bytes(size)}; it may be deleted"


def _has(package: str) -> bool:
  try:
    return bool(importlib.metadata.version(package))
  except importlib.metadata.PackageNotFoundError:
    return False


def _bytes(size: float) -> str:
  return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  flags.DEFINE_string("directory", ".", "Where runs and data sets will lie.", flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
