import json
import pathlib

from experiments import quickstart

RESULTS = pathlib.Path(quickstart.__file__).parent / "results" / "quickstart.json"


def test_a_seed_of_the_sweep_becomes_a_row_of_the_committed_table(tmp_path):
    committed = json.loads(RESULTS.read_text())
    evaluated = {
        name: {"splits": {"test": {"metrics": {"strict_turn_accuracy": {"mean": mean}}}}}
        for name, mean in committed["baselines"].items()
    }
    directory = tmp_path / f"seed{committed['seeds'][-1]['seed']}" / quickstart.ARM / "eval"
    directory.mkdir(parents=True)
    (directory / "baselines.json").write_text(json.dumps(evaluated))
    results = {s["seed"]: {**s, "last_steps": {"reward": 0.5}} for s in committed["seeds"]}
    told = quickstart.table(tmp_path, {quickstart.ARM: results})
    for name in ("seeds", "baselines", "mean", "strict_turn_accuracy_gain"):
        assert told[name] == committed[name]
