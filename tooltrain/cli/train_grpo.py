"""Improves the policy of WORKDIR/sft by GRPO in the environment; resumes WORKDIR/grpo."""

from tooltrain.cli import main
from tooltrain.train.grpo import train

if __name__ == "__main__":
    main.run(train)
