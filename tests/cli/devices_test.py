"""What a command does before it computes."""

import subprocess
import sys

COMPILE = """
import sys
import jax
from absl import flags
from tooltrain.cli import devices

flags.FLAGS(["test"])
devices.prepare(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2.0 + 1.0)(jax.numpy.ones(7)).block_until_ready()
"""


def test_workdirs_that_share_a_directory_of_programs_by_a_link_share_programs(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    kept = []
    for name in ("one", "other"):
        workdir = tmp_path / name
        workdir.mkdir()
        (workdir / "compiled").symlink_to(shared)
        subprocess.run([sys.executable, "-c", COMPILE, str(workdir)], check=True)
        kept.append(sorted(path.name for path in shared.glob("*-cache")))
    assert kept[0]
    assert kept[1] == kept[0]
