"""Fine-tunes a fresh policy on the gold traces of WORKDIR/traces; resumes WORKDIR/sft."""

from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.train.sft import train


def train_sft(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir, cpu_devices=config.sft.cpu_devices, joins=True)
    train(config, workdir)


if __name__ == "__main__":
    main.run(train_sft)
