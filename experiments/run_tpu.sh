#!/bin/sh
# Trains on every host of a Cloud TPU slice: the same command on each, one run.
#
#   experiments/run_tpu.sh NAME ZONE WORKDIR [--config.field=value ...]
#
# NAME is a TPU VM that exists (docs/tpu.md makes one); WORKDIR a directory that all hosts see (a
# mounted bucket or NFS) and that holds cache/ and traces/. A run that was stopped, or lost a
# host, goes on from its last checkpoint when this is run again. Batches must fit the slice: on
# 16 chips give --config.sft.batch_size=16 --config.grpo.microbatch_rows=16 (docs/tpu.md).
set -eu

if [ "$#" -lt 3 ]; then
    echo "usage: $0 NAME ZONE WORKDIR [--config.field=value ...]" >&2
    exit 2
fi
name=$1 zone=$2 workdir=$3
shift 3

on_all_hosts() {
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

# What is committed, and nothing of this machine's environment or runs.
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
git archive --prefix=tooltrain/ --output="$archive" --format=tar HEAD
gcloud compute tpus tpu-vm scp --zone="$zone" --worker=all "$archive" "$name:tooltrain.tar"
on_all_hosts "tar xf tooltrain.tar && cd tooltrain && python3.11 -m venv .venv && .venv/bin/pip install -q -e '.[tpu]'"
for stage in sft grpo; do
    # A host that fails ends the command on all of them: the others notice within a minute.
    on_all_hosts "cd tooltrain && .venv/bin/python -m tooltrain.cli.train_$stage \
        --workdir=$workdir --coordinator=cloud --config.policy.dtype=bfloat16 $*"
done
