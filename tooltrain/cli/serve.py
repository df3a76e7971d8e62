"""Serves a trained policy of WORKDIR as an OpenAI-compatible endpoint, on loopback by default."""

from __future__ import annotations

import os

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import TrainedPolicy

_STAGE = flags.DEFINE_enum("stage", "grpo", ("sft", "grpo"), "Whose newest checkpoint is served.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
_PORT = flags.DEFINE_integer("port", 8000, "Port; 0: any free one, printed.", lower_bound=0)
_NAME = flags.DEFINE_string("name", "tooltrain", "Name under which the model is served.")
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting", 256, "Requests that may wait for a slot; more are refused.", lower_bound=1
)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 120.0, "Of one request, waiting included.")


def serve(config: ConfigDict, workdir: str) -> None:
    """The key that clients must send is read from TOOLTRAIN_API_KEY; without it none is asked
    for, on loopback alone."""
    try:
        import uvicorn

        from tooltrain.serve.app import Limits, Server
    except ImportError as error:
        raise UserError(f"{error}; pip install 'tooltrain[serve]'") from None
    from tooltrain.serve.batcher import Batcher
    from tooltrain.serve.conversation import Conversations

    api_key = os.environ.get("TOOLTRAIN_API_KEY", "")
    if not api_key and _HOST.value not in ("127.0.0.1", "::1", "localhost"):
        raise UserError(
            f"--host={_HOST.value} is open to others: set TOOLTRAIN_API_KEY to the key that "
            "clients must send, or listen on 127.0.0.1"
        )
    devices.prepare(workdir)
    policy = TrainedPolicy(config, workdir, _STAGE.value)
    batcher = Batcher(policy.params, policy.engine, policy.mesh, max_waiting=_MAX_WAITING.value)
    server = Server(
        batcher,
        Conversations(policy.template),
        model=_NAME.value,
        limits=Limits(max_tokens=config.grpo.max_turn_tokens, timeout_s=_TIMEOUT_S.value),
        api_key=api_key,
    )
    uvicorn_config = uvicorn.Config(
        server.app, host=_HOST.value, port=_PORT.value, log_level="warning"
    )

    class Announced(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            print(f"serving {_NAME.value} at http://{_HOST.value}:{port}/v1", flush=True)

    # SIGINT and SIGTERM: uvicorn stops taking connections and lets requests finish.
    Announced(uvicorn_config).run()
    batcher.close(drain=True)


if __name__ == "__main__":
    main.run(serve)
