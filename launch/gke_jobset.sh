#!/usr/bin/env bash
# Trains on TPU slices in a GKE cluster (JobSet) until results.json exists.
#
#   bash launch/gke_jobset.sh --name=mine --image=IMAGE --workdir=gs://BUCKET/RUN -- --config=FILE --config.data.directory=gs://BUCKET/DATA
#
# Applies one JobSet; --dry_run prints it. The cluster needs the JobSet controller, and the image is launch/Dockerfile with
# --build-arg REQUIREMENTS=launch/requirements-tpu.txt. When a pod is preempted or lost all start together and go on. Exit
# code 2, the user's error, and too many crashes in a row end it at once.
# Logs: kubectl logs --follow --selector=jobset.sigs.k8s.io/jobset-name=NAME. Stop: kubectl delete jobset NAME; it saves
# first. Go on: the same command. Evaluation beside it: --program=evaluate with a name of its own.
set -euo pipefail

name=  # required: of the JobSet
image=  # required: of launch/Dockerfile, in a registry that the cluster can read
workdir=  # required: gs://...
accelerator=tpu-v5-lite-podslice  # tpu-v4-podslice, tpu-v5-lite-podslice, tpu-v5p-slice, tpu-v6e-slice
topology=4x4  # of a slice
hosts=4  # of a slice: its chips by chips_per_host
chips_per_host=4  # as the machine type has them
slices=1  # more than one: config.mesh should have as many replicas
service_account=default  # of Kubernetes; it may read and write the buckets
spot=  # on spot machines
max_restarts=100  # after preemptions and lost machines
program=train  # or evaluate
source "$(dirname "$0")/common.sh"

# YAML takes what JSON quotes.
json() {
  local text="${1//\\/\\\\}"
  echo "\"${text//\"/\\\"}\""
}

list() {
  local argument
  for argument in "$@"; do echo "              - $(json "$argument")"; done
}

manifest() {
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $(json "$name")
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool  # A slice is a node pool.
spec:
  failurePolicy:
    maxRestarts: $max_restarts
    rules:
    - name: until_done_gave_up
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: slice
    replicas: $slices
    template:
      spec:
        parallelism: $hosts
        completions: $hosts
        backoffLimit: 0  # A pod alone cannot come back: the JobSet starts all of them.
        podFailurePolicy:
          rules:
          - action: FailJob  # Of until_done.sh: the user's error, too many crashes. Anything else starts again.
            onExitCodes:
              containerName: vatt-jax
              operator: In
              values: [1, 2]
        template:
          spec:
            restartPolicy: Never
            serviceAccountName: $(json "$service_account")
            terminationGracePeriodSeconds: 300  # SIGTERM saves.
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: $(json "$accelerator")
              cloud.google.com/gke-tpu-topology: $(json "$topology")
YAML
  if [ -n "$spot" ]; then
    cat <<YAML
              cloud.google.com/gke-spot: "true"
            tolerations:
            - key: cloud.google.com/gke-spot
              operator: Equal
              value: "true"
              effect: NoSchedule
YAML
  fi
  cat <<YAML
            containers:
            - name: vatt-jax
              image: $(json "$image")
              args:  # The image's entry point is until_done.sh.
$(list "${job[@]}")
              ports:
              - containerPort: 8471  # between the hosts of a slice
              - containerPort: 8080  # between slices
              - containerPort: 8482  # jax.distributed
              resources:
                requests: {google.com/tpu: $chips_per_host}
                limits: {google.com/tpu: $chips_per_host}
YAML
}

if [ -n "$dry_run" ]; then
  echo "# kubectl apply --filename=-"
  manifest
else
  manifest | kubectl apply --filename=-
fi
