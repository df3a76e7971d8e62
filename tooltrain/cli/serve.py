"""Serves a trained policy of WORKDIR as an OpenAI-compatible endpoint, on loopback by default."""

from __future__ import annotations

import os

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import TrainedPolicy

FLAGS = flags.FlagValues()
_STAGE = flags.DEFINE_enum(
    "stage", "grpo", ("sft", "grpo"), "Whose newest checkpoint is served.", flag_values=FLAGS
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.", flag_values=FLAGS)
_PORT = flags.DEFINE_integer(
    "port",
    8000,
    "Port; 0: any free one, printed.",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "name", "tooltrain", "Name under which the model is served.", flag_values=FLAGS
)
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting",
    256,
    "Requests that may wait for a slot; more are refused.",
    lower_bound=1,
    flag_values=FLAGS,
)
_TIMEOUT_S = flags.DEFINE_float(
    "timeout_s", 120.0, "Of one request, waiting included.", flag_values=FLAGS
)
_DRAIN_S = flags.DEFINE_float(
    "drain_s",
    30.0,
    "How long a stop waits for requests under way.",
    lower_bound=0,
    flag_values=FLAGS,
)


def serve(config: ConfigDict, workdir: str) -> None:
    """The key that clients must send is read from TOOLTRAIN_API_KEY; without it none is asked
    for, on loopback alone."""
    try:
        from tooltrain.serve import process
        from tooltrain.serve.app import Server
    except ImportError as error:
        raise UserError(f"{error}; pip install 'tooltrain[serve]'") from None
    from tooltrain.serve.batcher import Batcher
    from tooltrain.serve.conversation import Conversations
    from tooltrain.serve.request import Limits

    api_key = os.environ.get("TOOLTRAIN_API_KEY", "")
    if not api_key and _HOST.value not in ("127.0.0.1", "::1", "localhost"):
        raise UserError(
            f"--host={_HOST.value} is open to others: set TOOLTRAIN_API_KEY to the key that "
            "clients must send, or listen on 127.0.0.1"
        )
    listening = process.listen(_HOST.value, _PORT.value)
    devices.prepare(workdir)
    policy = TrainedPolicy(config, workdir, _STAGE.value, coarse=True)
    conversations = Conversations(policy.template)  # refuses what cannot be served
    batcher = Batcher(policy.params, policy.engine, policy.mesh, max_waiting=_MAX_WAITING.value)
    server = Server(
        batcher,
        conversations,
        model=_NAME.value,
        limits=Limits(max_tokens=config.grpo.max_turn_tokens, timeout_s=_TIMEOUT_S.value),
        api_key=api_key,
    )
    process.run(server, listening, drain_s=_DRAIN_S.value)


if __name__ == "__main__":
    main.run(serve, FLAGS)
