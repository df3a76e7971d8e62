import json

import jax
import numpy as np
import optax
import pytest

from tooltrain import sharding
from tooltrain.errors import UserError
from tooltrain.policy.lora import Lora
from tooltrain.sharding import abstract_parameters, shard_params
from tooltrain.train import checkpoint
from tooltrain.train.checkpoint import (
    BEST,
    Checkpoints,
    best_step,
    claim_directory,
    keep_base,
    load_params,
)
from tooltrain.train.optimizer import make_optimizer
from tooltrain.train.state import TrainState, abstract_state, create_state, state_of_params


def make_params(width: int = 4):
    return {
        "embedding": jax.random.normal(jax.random.key(0), (8, width)),
        "layers": {"query": jax.random.normal(jax.random.key(1), (2, width, width))},
    }


def mesh_of(data: int, fsdp: int, tensor: int):
    shape = {"data": data, "fsdp": fsdp, "tensor": tensor}
    return sharding.make_mesh(shape, jax.devices()[: data * fsdp * tensor])


def make_state(mesh, name: str = "muon") -> tuple[TrainState, optax.GradientTransformation]:
    optimizer = make_optimizer(name, lambda _: 1e-3)
    state = create_state(mesh, make_params, optimizer)
    _, opt_state = optimizer.update(state.params, state.opt_state, state.params)
    return state._replace(opt_state=opt_state, step=state.step + 3), optimizer


def claim(directory, config) -> None:
    with claim_directory(directory, config):
        pass


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_whole_run_comes_back_onto_another_mesh(tmp_path):
    state, optimizer = make_state(mesh_of(1, 1, 1))
    run = {"seed": 7, "data": {"position": [1, 2], "inner": {"name": "x"}}}
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(state, 3, run)
    other = mesh_of(2, 2, 2)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 3
        restored, found = checkpoints.restore(abstract_state(other, state.params, optimizer))
    assert found == {**run, "step": 3}
    equal(restored, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert restored.params["layers"]["query"].sharding.mesh == other


def test_what_is_saved_is_the_run_as_it_was_then(tmp_path):
    state, _ = make_state(mesh_of(1, 1, 1))
    run = {"seed": 0, "data": {"position": 1}}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 1, run)
        run["data"]["position"] = 2  # the iterator goes on while the save is under way
    with Checkpoints(tmp_path) as checkpoints:
        _, found = checkpoints.restore(abstract_state(mesh_of(1, 1, 1), state.params, make()))
    assert found["data"] == {"position": 1}


def make():
    return make_optimizer("muon", lambda _: 1e-3)


def test_parameters_that_play_what_is_in_flight_come_back_beside_the_state(tmp_path):
    state, optimizer = make_state(mesh_of(1, 1, 1))
    before = jax.tree.map(lambda x: x - 1, state.params)
    abstract = abstract_state(mesh_of(1, 2, 2), state.params, optimizer)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 1, {"seed": 0}, behaviour=before)
    with Checkpoints(tmp_path) as checkpoints:
        restored, run = checkpoints.restore(abstract, behaviour=True)
        assert checkpoints.restore(abstract)[1] == {"seed": 0, "step": 1}
    equal(restored, state)
    equal(run.pop("behaviour"), before)
    assert run == {"seed": 0, "step": 1}


def test_lora_is_loaded_as_the_policy_that_it_makes_of_its_base(tmp_path):
    lora, base = Lora(rank=2, alpha=4.0), make_params()
    pairs = jax.device_get(jax.tree.map(lambda x: x + 0.5, lora.init(base, jax.random.key(2))))
    state = state_of_params(mesh_of(1, 1, 1), shard_params(mesh_of(1, 1, 1), pairs), optax.sgd(1.0))
    claim(tmp_path, {"config": {"lora": {"rank": 2, "alpha": 4.0}}, "data": {}})
    mesh = mesh_of(1, 2, 2)
    abstract = abstract_parameters(mesh, base)
    keep_base(tmp_path, abstract, lambda: shard_params(mesh, base), resumed=False)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 1, {})
    params, _ = load_params(tmp_path, abstract)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, lora.merge(base, pairs)
    )
    assert params["layers"]["query"].sharding == abstract["layers"]["query"].sharding
    # Another start overwrites what one that was killed had left; a resumed one reads it.
    other = jax.tree.map(lambda x: x + 1, base)
    keep_base(tmp_path, abstract, lambda: shard_params(mesh, other), resumed=False)
    equal(keep_base(tmp_path, abstract, pytest.fail, resumed=True), other)
    # Without it there is no policy, and the pairs alone are none.
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    for load in (
        lambda: keep_base(tmp_path, abstract, pytest.fail, resumed=True),
        lambda: load_params(tmp_path, abstract),
    ):
        with pytest.raises(UserError, match=r"with LoRA beside .*base, which is gone: bring it"):
            load()


def test_the_newest_are_kept(tmp_path):
    state, _ = make_state(mesh_of(1, 1, 1))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(state, step, {})
        checkpoints.save(state, 3, {})  # a finished run that is started again
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert names == ["2", "3"]


def test_parameters_load_alone_onto_the_mesh(tmp_path):
    state, _ = make_state(mesh_of(1, 1, 1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 5, {})
    mesh = mesh_of(1, 2, 2)
    abstract = abstract_state(mesh, state.params, optax.sgd(1.0)).params
    params, step = load_params(tmp_path, abstract)
    assert step == 5
    equal(params, state.params)
    assert params["embedding"].addressable_shards[0].data.shape == (2, 4)


def test_loading_from_nothing_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint to start from; run train_sft"):
        load_params(tmp_path / "sft", {})


@pytest.mark.parametrize("wanted", [make_params(8), {"embedding": make_params()["embedding"]}])
def test_loading_another_policy_is_an_error(tmp_path, wanted):
    state, _ = make_state(mesh_of(1, 1, 1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 5, {})
    abstract = abstract_state(mesh_of(1, 1, 1), wanted, optax.sgd(1.0)).params
    with pytest.raises(UserError, match="does not hold the policy of this config"):
        load_params(tmp_path, abstract)


CONFIG = {"config": {"seed": 0, "sft": {"steps": 4, "learning_rate": 0.1}}, "data": {"cache": "a"}}


def snapshot(directory):
    return {p: p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_fresh_directory_is_claimed_and_the_same_config_may_resume(tmp_path):
    directory = tmp_path / "sft"
    claim(directory, CONFIG)
    assert json.loads((directory / "config.json").read_text()) == CONFIG
    (directory / "checkpoints" / "2").mkdir(parents=True)
    before = snapshot(directory)
    claim(directory, CONFIG)
    assert snapshot(directory) == before


def test_another_config_is_refused_with_the_fields_that_differ_and_nothing_changed(tmp_path):
    directory = tmp_path / "sft"
    claim(directory, CONFIG)
    (directory / "checkpoints" / "2").mkdir(parents=True)
    before = snapshot(directory)
    other = {
        "config": {"seed": 1, "sft": {"steps": 4, "learning_rate": 0.1, "decay": "cosine"}},
        "data": {"cache": "a"},
    }
    with pytest.raises(UserError) as error:
        claim(directory, other)
    message = str(error.value)
    assert "config.seed is 0 there and 1 here" in message
    assert "config.sft.decay is '(not set)' there and 'cosine' here" in message
    assert "learning_rate" not in message
    assert "another --workdir" in message
    assert snapshot(directory) == before


def test_a_directory_without_checkpoints_may_change_its_config(tmp_path):
    claim(tmp_path, CONFIG)
    claim(tmp_path, {**CONFIG, "data": {"cache": "b"}})
    assert json.loads((tmp_path / "config.json").read_text())["data"] == {"cache": "b"}


def test_checkpoints_without_a_config_are_refused(tmp_path):
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no config\.json"):
        claim(tmp_path, CONFIG)


def test_a_save_that_was_killed_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir(parents=True)
    assert checkpoint.latest_step(tmp_path) is None


def test_the_recorded_config_leaves_out_what_the_stage_does_not_read(config):
    recorded = checkpoint.recorded_config(config, ("grpo", "eval"), {"cache": "digest"})
    assert recorded["data"] == {"cache": "digest"}
    assert recorded["config"]["sft"]["steps"] == config.sft.steps
    assert not {"grpo", "eval"} & recorded["config"].keys()


def test_the_digest_of_traces_changes_with_the_tokenizer(workdir):
    before = checkpoint.traces_digest(workdir / "traces")
    assert checkpoint.traces_digest(workdir / "traces") == before
    (workdir / "traces" / "tokenizer.json").write_text("{}")
    assert checkpoint.traces_digest(workdir / "traces") != before


def test_lines_after_the_resumed_step_are_dropped_and_so_is_a_cut_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 2, 3, 4)]
    path.write_text("".join(lines) + '{"step": ')
    checkpoint.truncate_lines(path, 4)
    assert path.read_text() == "".join(lines)
    checkpoint.truncate_lines(path, 2)
    assert path.read_text() == "".join(lines[:3])
    checkpoint.truncate_lines(path, None)
    assert path.read_text() == ""
    checkpoint.truncate_lines(tmp_path / "absent.jsonl", 2)
    assert not (tmp_path / "absent.jsonl").exists()


def test_the_best_is_kept_beside_the_newest_also_by_a_resumed_run(tmp_path):
    state, _ = make_state(mesh_of(1, 1, 1))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert best_step(tmp_path) is None
        for step, score in ((1, 0.25), (2, 0.5), (3, None)):
            checkpoints.save(state, step, {}, score=score)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, score in ((4, 0.375), (5, None), (6, None)):
            checkpoints.save(state, step, {}, score=score)
        assert best_step(tmp_path) == 2
        assert checkpoints.latest_step == 6
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert names == ["2", "5", "6"]


def test_the_best_is_loaded_when_it_is_asked_for(tmp_path):
    state, optimizer = make_state(mesh_of(1, 1, 1))
    later = state._replace(params=jax.tree.map(lambda x: x + 1, state.params))
    abstract = abstract_state(mesh_of(1, 1, 1), state.params, optimizer).params
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(later, 1, {})
    with pytest.raises(UserError, match="no checkpoint that was saved with a score"):
        load_params(tmp_path, abstract, BEST)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 2, {}, score=0.5)
        checkpoints.save(later, 3, {}, score=0.25)
    for which, step, params in (
        ((), 3, later.params),
        ((BEST,), 2, state.params),
    ):
        loaded, loaded_step = load_params(tmp_path, abstract, *which)
        assert loaded_step == step
        equal(loaded, params)


def test_of_equal_scores_the_newest_is_the_best(tmp_path):
    state, _ = make_state(mesh_of(1, 1, 1))
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state, step, {}, score=0.5)
    assert best_step(tmp_path) == 2


def test_a_directory_is_one_processes_at_a_time(tmp_path):
    directory = tmp_path / "sft"
    with claim_directory(directory, CONFIG):
        before = snapshot(directory)
        other = {**CONFIG, "data": {"cache": "b"}}
        with pytest.raises(UserError, match="sft is being trained by another process; wait"):
            claim(directory, other)
        assert snapshot(directory) == before
    claim(directory, other)
    assert json.loads((directory / "config.json").read_text()) == other
