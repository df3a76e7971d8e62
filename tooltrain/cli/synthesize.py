"""Synthesizes traces from the cache into WORKDIR/traces, and a tokenizer for them.

    python -m tooltrain.cli.synthesize --workdir=runs/demo
    python -m tooltrain.cli.synthesize --workdir=runs/demo --export=traces.jsonl
    python -m tooltrain.cli.synthesize --check=traces.jsonl
    python -m tooltrain.cli.synthesize --workdir=runs/written \\
        --writer_url=http://127.0.0.1:8000/v1 --writer_model=NAME

--check reports how the arguments of any trace file can be derived, and makes nothing. With
--writer_url a language model writes the queries; they are held to the same check.
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
from tooltrain.synthesis.completions import Completions
from tooltrain.synthesis.generate import TRAIN, Generated, Settings, generate, plan, streams
from tooltrain.synthesis.report import report, report_lines
from tooltrain.synthesis.stream import TraceWriter
from tooltrain.synthesis.writer import QueryWriter, write_splits

FLAGS = flags.FlagValues()
CHECK = flags.DEFINE_string(
    "check",
    None,
    "Trace file (JSON lines, ours or the paper's) to report on instead of synthesizing; with "
    "--workdir, against what its cache holds and its projection shows.",
    flag_values=FLAGS,
)
EXPORT = flags.DEFINE_string(
    "export",
    None,
    "File to write all traces to as well, as JSON lines with their responses.",
    flag_values=FLAGS,
)
AGAINST = flags.DEFINE_list(
    "against",
    [],
    "Trace files, or lists of queries, to report the overlap of each split with (beside "
    "ComplexFuncBench where the cache holds its samples).",
    flag_values=FLAGS,
)
WRITER_URL = flags.DEFINE_string(
    "writer_url",
    None,
    "Base URL of an OpenAI-compatible endpoint that writes the queries (else the grammar "
    "does); its key is read from OPENAI_API_KEY.",
    flag_values=FLAGS,
)
WRITER_MODEL = flags.DEFINE_string(
    "writer_model", None, "Model that the endpoint is asked for.", flag_values=FLAGS
)
WRITER_PARALLEL = flags.DEFINE_integer(
    "writer_parallel", 8, "Requests at a time.", 1, flag_values=FLAGS
)
WRITER_TRIES = flags.DEFINE_integer(
    "writer_tries", 3, "Answers asked for a filling.", 1, flag_values=FLAGS
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
    if WRITER_URL.value is None:
        generated = generate(environment, settings)
    else:
        generated = _written(environment, settings, directory / "completions.jsonl")
    if not generated.splits[TRAIN]:
        raise UserError(
            "no training trace could be made with these settings; lower "
            "config.synthesis.min_support or widen config.projection"
        )
    found = report(generated, environment, settings, AGAINST.value)
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


def _written(environment: Environment, settings: Settings, kept: pathlib.Path) -> Generated:
    """What `generate` makes, its queries by the endpoint; `kept` holds the completions."""
    if not WRITER_MODEL.value:
        raise UserError("--writer_model is missing: name the model that --writer_url serves")
    completions = Completions(kept, base_url=WRITER_URL.value, model=WRITER_MODEL.value)
    planned = plan(environment, settings)
    writer = QueryWriter(
        completions,
        TraceWriter(environment, settings),
        environment.tools,
        tries=WRITER_TRIES.value,
        parallel=WRITER_PARALLEL.value,
    )
    found = streams(planned, environment, settings)
    splits = write_splits(found, writer, seed=settings.seed)
    print(f"{completions.asked:,} completions asked for, {completions.cached:,} kept before")
    print(f"asked again: {sum(writer.retried.values()):,} {dict(writer.retried.most_common(8))}")
    return Generated(splits, planned.rejected + writer.rejected, planned.workflows)


def _environment(config: ConfigDict, workdir: str) -> Environment:
    cache = config.cache or os.path.join(workdir, "cache", f"{config.suite}.sqlite")
    return open_environment(cache, **config.projection)


if __name__ == "__main__":
    main.run(synthesize, FLAGS, without_workdir=lambda: CHECK.value is not None)
