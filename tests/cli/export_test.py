"""The command: a trained policy of a workdir, as others load it."""

import jax
import numpy as np
import pytest

from tests.cli.evaluate_complexfuncbench_test import config, save_fresh_policy  # noqa: F401
from tests.given_flags import given
from tooltrain.cli.export import FLAGS, export
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.policy.pretrained import from_pretrained


def test_the_newest_checkpoint_is_written_and_loads_again(config, tmp_path, capsys):  # noqa: F811
    save_fresh_policy(config, tmp_path)
    with given(FLAGS, stage="sft", directory=str(tmp_path / "hf")):
        export(config, str(tmp_path))
    assert "sft step 1" in capsys.readouterr().out
    policy = TrainedPolicy(config, str(tmp_path), "sft")
    written, params = from_pretrained(tmp_path / "hf")
    assert (written.d_model, written.vocab_size) == (16, policy.policy.vocab_size)
    jax.tree.map(np.testing.assert_array_equal, params, policy.params)
    text = "Flights from Rome to New York"
    assert load_tokenizer(tmp_path / "hf").encode(text) == policy.template.tokenizer.encode(text)


def test_the_best_of_a_stage_without_scores_is_refused(config, tmp_path):  # noqa: F811
    save_fresh_policy(config, tmp_path)
    with (
        given(FLAGS, stage="sft", checkpoint="best", directory=str(tmp_path / "hf")),
        pytest.raises(UserError, match="no checkpoint that was saved with a score"),
    ):
        export(config, str(tmp_path))


def test_a_directory_must_be_named(config, tmp_path):  # noqa: F811
    with given(FLAGS), pytest.raises(UserError, match="--directory is missing"):
        export(config, str(tmp_path))
