"""Eight CPU devices, strict arrays, one compile cache, and the miniature data set."""

import functools
import os

# Tests compile much and compute little: without LLVM's optimizations they take two thirds of the time.
os.environ["XLA_FLAGS"] = " ".join([
    os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0",
])  # fmt: skip
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory):
  """All tests and the programs they start share the cache of compiled programs."""
  from vatt_jax import jobs

  os.environ.setdefault("VATT_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
  jobs.compilation_cache()


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> str:
  """A prepared data set: 48 training clips, 12 + 12 held out; some lack picture, sound or caption."""
  from vatt_jax.preparation import miniature

  return miniature.prepare(str(tmp_path_factory.mktemp("miniature")))


@pytest.fixture(scope="session")
def official(tmp_path_factory):
  """Name of a public data set -> directory of a miniature, prepared from its official format when it is asked for."""
  from tests.preparation import official_sets

  return functools.cache(lambda name: official_sets.prepare(name, tmp_path_factory.mktemp("official")))


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory, miniature) -> str:
  """The workdir of a run of one step: a whole VATT, tiny, that knows nothing."""
  from tests.runs import smoke_config
  from vatt_jax import train

  workdir = str(tmp_path_factory.mktemp("smoke"))
  train.train(smoke_config(data__directory=miniature, total_steps=1, evaluators={}), workdir)
  return workdir
