"""Synthesizes traces from the cache into WORKDIR/traces, and a tokenizer for them.

    python -m tooltrain.cli.synthesize --workdir=runs/demo
    python -m tooltrain.cli.synthesize --workdir=runs/demo --export=traces.jsonl
    python -m tooltrain.cli.synthesize --check=traces.jsonl

--check reports how the arguments of any trace file can be derived, and makes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.data.corpus import corpus
from tooltrain.data.dataset import replacing, write_traces
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.data.traces import write_jsonl
from tooltrain.env.environment import Environment, open_environment
from tooltrain.errors import UserError
from tooltrain.synthesis import check
from tooltrain.synthesis.generate import TRAIN, Settings, generate
from tooltrain.synthesis.report import report, report_lines

CHECK = flags.DEFINE_string(
    "check",
    None,
    "Trace file (JSON lines, ours or the paper's) to report on instead of synthesizing; with "
    "--workdir, against what its cache holds and its projection shows.",
)
EXPORT = flags.DEFINE_string(
    "export", None, "File to write all traces to as well, as JSON lines with their responses."
)


def synthesize(config: ConfigDict, workdir: str) -> None:
    if CHECK.value is not None:
        environment = _environment(config, workdir) if workdir or config.cache else None
        print("\n".join(check.report_lines(check.check_file(CHECK.value, environment))))
        return
    directory = pathlib.Path(config.traces or f"{workdir}/traces")
    environment = _environment(config, workdir)
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
    made_from = {
        "cache_digest": environment.cache.digest,
        "projection": json.dumps(config.projection.to_dict()),
        "settings": json.dumps(dataclasses.asdict(settings)),
    }
    description = f"Traces over cache {environment.cache.digest}, settings {settings}."
    texts = corpus(generated.splits[TRAIN], environment)
    tokenizer = train_tokenizer(texts, config.tokenizer.vocab_size)
    with replacing(directory) as beside:  # traces and their tokenizer change together
        write_traces(beside, generated.splits, description, suite=config.suite, recipe=made_from)
        tokenizer.save(beside / "tokenizer.json")
        (beside / "report.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if EXPORT.value is not None:
        write_jsonl(EXPORT.value, (t for traces in generated.splits.values() for t in traces))
    print("\n".join(report_lines(found)))
    print(f"wrote {directory}: {len(texts):,} texts gave {tokenizer.vocab_size:,} token ids")


def _environment(config: ConfigDict, workdir: str) -> Environment:
    cache = config.cache or os.path.join(workdir, "cache", f"{config.suite}.sqlite")
    return open_environment(cache, **config.projection)


if __name__ == "__main__":
    main.run(synthesize, without_workdir=lambda: CHECK.value is not None)
