"""Synthesizes traces from the cache into WORKDIR/traces, and a tokenizer for them."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.data.corpus import corpus
from tooltrain.data.dataset import replacing, write_traces
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.errors import UserError
from tooltrain.synthesis.generate import TRAIN, Settings, generate
from tooltrain.synthesis.report import report, report_lines


def synthesize(config: ConfigDict, workdir: str) -> None:
    cache = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    directory = pathlib.Path(config.traces or f"{workdir}/traces")
    environment = open_environment(cache, **config.projection)
    allowed = {field.name for field in dataclasses.fields(Settings)} - {"suite", "seed"}
    if unknown := sorted(set(config.synthesis) - allowed):
        raise UserError(
            f"config.synthesis has no field {', '.join(unknown)}; allowed: "
            f"{', '.join(sorted(allowed))}"
        )
    settings = Settings(suite=config.suite, seed=config.seed, **config.synthesis)
    generated = generate(environment, settings)
    if not generated.splits[TRAIN]:
        raise UserError(
            "no training trace could be made with these settings; lower "
            "config.synthesis.min_support or widen config.projection"
        )
    found = report(generated, environment, settings)
    description = f"Traces over cache {environment.cache.digest}, settings {settings}."
    texts = corpus(generated.splits[TRAIN], environment)
    tokenizer = train_tokenizer(texts, config.tokenizer.vocab_size)
    with replacing(directory) as beside:  # traces and their tokenizer change together
        write_traces(beside, generated.splits, description)
        tokenizer.save(beside / "tokenizer.json")
        (beside / "report.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print("\n".join(report_lines(found)))
    print(f"wrote {directory}: {len(texts):,} texts gave {tokenizer.vocab_size:,} token ids")


if __name__ == "__main__":
    main.run(synthesize)
