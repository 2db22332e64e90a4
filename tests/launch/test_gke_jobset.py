"""The JobSet that launch/gke_jobset.sh applies: its fields exist and hold what they should."""

import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent

# The fields that are used, of jobset.x-k8s.io/v1alpha2, batch/v1 Job and core/v1 Pod: a type, a set of values, a list of
# one form, a dict of fields (names that end in ! must be there), or {str: form} for free names.
POD = {
  "restartPolicy!": {"Never"},  # of Jobs with a podFailurePolicy
  "serviceAccountName": str,
  "terminationGracePeriodSeconds": int,
  "nodeSelector": {str: str},
  "tolerations": [{"key": str, "operator": {"Equal", "Exists"}, "value": str, "effect": {"NoSchedule", "NoExecute"}}],
  "containers!": [
    {
      "name!": str,
      "image!": str,
      "command": [str],
      "args": [str],
      "env": [{"name!": str, "value": str}],
      "ports": [{"containerPort!": int, "name": str}],
      "resources": {"requests": {str: int}, "limits": {str: int}},
    }
  ],
}
JOB = {
  "parallelism": int,
  "completions": int,
  "backoffLimit": int,
  "podFailurePolicy": {
    "rules!": [
      {
        "action!": {"FailJob", "Ignore", "Count"},
        "onExitCodes": {"containerName": str, "operator!": {"In", "NotIn"}, "values!": [int]},
      }
    ]
  },
  "template!": {"metadata": {"annotations": {str: str}}, "spec!": POD},
}
JOBSET = {
  "apiVersion!": {"jobset.x-k8s.io/v1alpha2"},
  "kind!": {"JobSet"},
  "metadata!": {"name!": str, "annotations": {str: str}},
  "spec!": {
    "failurePolicy": {
      "maxRestarts": int,
      "rules": [
        {
          "name!": str,
          "action!": {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"},
          "onJobFailureReasons": [{"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "PodFailurePolicy"}],
          "targetReplicatedJobs": [str],
        }
      ],
    },
    "replicatedJobs!": [{"name!": str, "replicas": int, "template!": {"spec!": JOB}}],
  },
}


def faults(value, form, place="") -> list[str]:
  """Where `value` is not of this form."""
  if isinstance(form, set):
    return [] if value in form else [f"{place} is {value!r}"]
  if isinstance(form, list):
    if not isinstance(value, list):
      return [f"{place} is no list"]
    return [fault for i, item in enumerate(value) for fault in faults(item, form[0], f"{place}[{i}]")]
  if not isinstance(form, dict):
    return [] if type(value) is form else [f"{place} is {value!r}"]
  if not isinstance(value, dict):
    return [f"{place} is no mapping"]
  if str in form:
    return [fault for name, item in value.items() for fault in faults(item, form[str], f"{place}.{name}")]
  fields = {name.rstrip("!"): inner for name, inner in form.items()}
  found = [f"{place}.{name[:-1]} is missing" for name in form if name.endswith("!") and name[:-1] not in value]
  for name, item in value.items():
    found += faults(item, fields[name], f"{place}.{name}") if name in fields else [f"{place}.{name} does not exist"]
  return found


def manifest(*settings):
  command = ["bash", "launch/gke_jobset.sh", "--name=a", "--image=i", "--workdir=gs://b/r", "--dry_run", *settings]
  return yaml.safe_load(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
  "settings", [[], ["--spot", "--slices=2"], ["--program=evaluate", "--hosts=1", "--topology=2x2"]]
)
def test_its_form(settings):
  assert faults(manifest(*settings, "--", "--config=a"), JOBSET) == []


def test_what_is_wrong_is_found():
  wrong = manifest()
  wrong["spec"]["failurePolicy"]["rules"][0].pop("name")
  wrong["spec"]["replicatedJobs"][0]["template"]["spec"]["backofLimit"] = 0
  wrong["spec"]["replicatedJobs"][0]["replicas"] = "1"
  assert faults(wrong, JOBSET) == [
    ".spec.failurePolicy.rules[0].name is missing",
    ".spec.replicatedJobs[0].replicas is '1'",
    ".spec.replicatedJobs[0].template.spec.backofLimit does not exist",
  ]


def test_what_it_asks_for():
  spec = manifest("--slices=2", "--topology=4x8", "--hosts=8", "--spot", "--", '--config=it\'s "x" \\ y')["spec"]
  (slices,) = spec["replicatedJobs"]
  job, pod = slices["template"]["spec"], slices["template"]["spec"]["template"]["spec"]
  assert slices["replicas"] == 2 and job["parallelism"] == job["completions"] == 8
  assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x8"
  assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true" and pod["tolerations"]
  container = pod["containers"][0]
  program = ["python", "-m", "vatt_jax.train", "--workdir=gs://b/r", '--config=it\'s "x" \\ y']
  assert container["args"] == program
  assert container["resources"]["limits"] == container["resources"]["requests"] == {"google.com/tpu": 4}


def test_only_what_cannot_be_helped_fails_at_once():
  """Exit codes 1 and 2 of until_done.sh end the JobSet; a preempted pod, 143 or none, starts all of them again."""
  spec = manifest()["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  (rule,) = job["podFailurePolicy"]["rules"]
  assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [1, 2]
  assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
  assert spec["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert spec["failurePolicy"]["maxRestarts"] > 0 and job["backoffLimit"] == 0
