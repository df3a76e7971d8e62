"""Improves the policy of WORKDIR/sft by GRPO in the environment; resumes WORKDIR/grpo."""

from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.train.grpo import train


def train_grpo(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir, joins=True)
    train(config, workdir)


if __name__ == "__main__":
    main.run(train_grpo)
