"""The command as a process: it says when it is ready, and how it takes a SIGTERM."""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.error
import urllib.request

import jax
import pytest
from absl import flags

from configs import tiny_cpu
from tests.given_flags import given
from tooltrain import sharding
from tooltrain.cli import devices
from tooltrain.cli import serve as command
from tooltrain.data.chat_template_models import Qwen3Template
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.train.checkpoint import Checkpoints
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.state import create_state

pytest.importorskip("uvicorn")
process = pytest.importorskip("tooltrain.serve.process")

REPO_ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = {
    "policy.num_layers": 1,
    "policy.d_model": 16,
    "policy.num_heads": 1,
    "policy.num_kv_heads": 1,
    "policy.head_dim": 16,
    "policy.d_ff": 16,
    "grpo.max_len": 192,
    "grpo.max_turn_tokens": 120,
    "eval.slots": 1,
}
ASK = {"model": "tooltrain", "messages": [{"role": "user", "content": "Where is Rome?"}]}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What training leaves, untrained: the way is tested, not what is said."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny_cpu.get_config()
    config.update_from_flattened_dict(SMALL)
    tokenizer = train_tokenizer([ASK["messages"][0]["content"]], 300)
    (workdir / "traces").mkdir()
    tokenizer.save(workdir / "traces" / "tokenizer.json")
    policy = PolicyConfig(vocab_size=tokenizer.vocab_size, **config.policy.to_dict())
    mesh = sharding.make_mesh(config.mesh)
    schedule = make_schedule(1e-3, steps=1, warmup_steps=0, final_fraction=1.0, decay="constant")
    optimizer = make_optimizer("adamw", schedule, **config.optimizer)
    with jax.set_mesh(mesh), Checkpoints(workdir / "sft") as checkpoints:
        state = create_state(mesh, lambda: init_params(policy, jax.random.key(0)), optimizer)
        checkpoints.save(state, 1, {"seed": 0, "data": {}})
    return workdir


@contextlib.contextmanager
def serving(workdir, *flags, ready=True):
    """(server process, url); ready: wait until it serves."""
    command = [sys.executable, "-m", "tooltrain.cli.serve", f"--workdir={workdir}", "--port=0"]
    command += ["--stage=sft", "--config=configs/tiny_cpu.py", *flags]
    command += [f"--config.{name}={value}" for name, value in SMALL.items()]
    with subprocess.Popen(command, cwd=REPO_ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            url = wait_for(started, r"listening on (\S+),")
            if ready:
                assert wait_for(started, r"serving tooltrain at (\S+)") == f"{url}/v1"
            yield started, url
        finally:
            started.kill()


def wait_for(started, pattern):
    for line in started.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"the process ended with status {started.wait()}")


def post(url, timeout=240, **options):
    data = json.dumps({**ASK, **options}).encode()
    try:
        with urllib.request.urlopen(f"{url}/v1/chat/completions", data, timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def get(url, path):
    try:
        with urllib.request.urlopen(url + path, timeout=240) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def taken(url):
    """Requests in a slot or waiting for it."""
    counts = re.findall(r"^tooltrain_requests_(?:live|waiting) (\d+)$", get(url, "/metrics"), re.M)
    return sum(map(int, counts))


def test_sigterm_finishes_what_was_taken_refuses_what_comes_and_ends_well(workdir):
    num_requests = 24
    with (
        serving(workdir, "--drain_s=600") as (server, url),
        concurrent.futures.ThreadPoolExecutor(num_requests) as pool,
    ):
        assert get(url, "/health") == '{"status":"ok"}'
        jobs = [pool.submit(post, url, stream=i % 2 == 0) for i in range(num_requests)]
        # The done ones are counted first: one that is done in between is counted by neither.
        while sum(job.done() for job in jobs) + taken(url) < num_requests:
            pass
        server.send_signal(signal.SIGTERM)
        while get(url, "/health") != '{"status":"stopping"}':
            pass
        status, body = post(url)
        assert (status, json.loads(body)["error"]["code"]) == (503, "stopping")
        for i, job in enumerate(jobs):
            status, body = job.result()
            assert status == 200
            assert body.endswith("data: [DONE]\n\n") if i % 2 == 0 else json.loads(body)["usage"]
        assert server.wait(240) == 0


@pytest.mark.slow
def test_a_stop_that_may_not_wait_still_answers_everyone(workdir):
    """Finished, cut off or refused: each in OpenAI's shape."""
    with (
        serving(workdir, "--drain_s=0") as (server, url),
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        jobs = [pool.submit(post, url) for _ in range(16)]
        while not taken(url) and not any(job.done() for job in jobs):
            pass
        server.send_signal(signal.SIGTERM)
        refused = 0
        for job in jobs:
            with contextlib.suppress(OSError):  # its connection was not taken up yet
                status, body = job.result()
                assert status in (200, 503)
                refused += status == 503 and json.loads(body)["error"]["code"] == "stopping"
        assert server.wait(240) == 0
    assert refused


@pytest.mark.slow
def test_a_stop_while_it_compiles_does_not_wait(workdir, tmp_path):
    """Nothing was taken yet, so there is nothing to finish."""
    with serving(workdir, "--config.eval.slots=64", ready=False) as (server, url):
        assert get(url, "/health") == '{"status":"starting"}'
        server.send_signal(signal.SIGTERM)
        assert "serving" not in server.stdout.read()
        assert server.wait(240) == 0


def test_an_address_that_is_taken_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}: .* --port"):
            process.listen("127.0.0.1", port)


def test_a_port_that_there_cannot_be_is_refused_by_its_flag():
    with (
        pytest.raises(flags.IllegalFlagValueError, match="65536"),
        given(command.FLAGS, port=65536),
    ):
        pass


def test_a_policy_that_cannot_be_served_is_refused_before_anything_is_compiled(
    tmp_path, monkeypatch
):
    # It has no engine for a batcher to begin with.
    policy = types.SimpleNamespace(template=Qwen3Template(train_tokenizer([], 300)))
    monkeypatch.setattr(command, "TrainedPolicy", lambda *args, **options: policy)
    monkeypatch.setattr(devices, "prepare", lambda workdir: None)
    with given(command.FLAGS, port=0), pytest.raises(UserError, match="Qwen3Template"):
        command.serve(tiny_cpu.get_config(), str(tmp_path))
