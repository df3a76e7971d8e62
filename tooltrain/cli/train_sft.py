"""Fine-tunes a fresh policy on the gold traces of WORKDIR/traces; resumes WORKDIR/sft."""

from tooltrain.cli import main
from tooltrain.train.sft import train

if __name__ == "__main__":
    main.run(train)
