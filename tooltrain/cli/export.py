"""Writes a policy of WORKDIR as a Hugging Face directory: weights, config, tokenizer, template.

python -m tooltrain.cli.export --workdir=runs/demo --stage=grpo --directory=runs/demo/hf
"""

from __future__ import annotations

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.policy.export import export_policy
from tooltrain.train.checkpoint import BEST, NEWEST

FLAGS = flags.FlagValues()
_STAGE = flags.DEFINE_enum(
    "stage", "grpo", ("sft", "grpo"), "Whose checkpoint to write.", flag_values=FLAGS
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    NEWEST,
    (NEWEST, BEST),
    "Its newest, or the one that was best on held-out traces while it trained (GRPO).",
    flag_values=FLAGS,
)
_DIRECTORY = flags.DEFINE_string(
    "directory", "", "Where to; it must hold no safetensors yet.", flag_values=FLAGS
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ("float32", "bfloat16"), "Of the tensors written.", flag_values=FLAGS
)


def export(config: ConfigDict, workdir: str) -> None:
    if not _DIRECTORY.value:
        raise UserError("--directory is missing: name the directory to write")
    devices.prepare(workdir)
    policy = TrainedPolicy(config, workdir, _STAGE.value, checkpoint=_CHECKPOINT.value)
    export_policy(
        _DIRECTORY.value,
        policy.policy,
        policy.params,
        policy.template,
        max_len=policy.max_len,
        source=policy.source,
        dtype=_DTYPE.value,
    )
    print(f"wrote {_DIRECTORY.value}: {_STAGE.value} step {policy.identity['step']}")


if __name__ == "__main__":
    main.run(export, FLAGS)
