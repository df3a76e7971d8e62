import json

import numpy as np

from tooltrain.rollout import transcript
from tooltrain.types import Call, CallRecord, EndReason, MalformedCall, ObservationKind, Rollout


def _rollout(world):
    pieces = [
        (world.template.prompt("Weather?", []), False),
        (world.template.completion([Call("find_place", {"name": "Rome"})]), True),
        (world.template.observations(['{"id": 11}']), False),
        (world.template.completion(()), True),
    ]
    mask = np.concatenate([np.full(len(ids), sampled) for ids, sampled in pieces])
    return Rollout(
        prompt=4,
        generation=1,
        tokens=np.concatenate([ids for ids, _ in pieces]).astype(np.int32),
        completion_mask=mask,
        logprobs=np.where(mask, np.float32(-0.5), 0),
        records=(
            CallRecord(Call("find_place", {"name": "Rome"}), 0, ObservationKind.OK),
            CallRecord(MalformedCall("bad_json", "no"), 1, ObservationKind.MALFORMED),
        ),
        num_turns=2,
        end=EndReason.FINISHED,
    )


def test_an_episode_is_cut_where_the_writer_changes(world):
    cut = transcript.messages(_rollout(world), world.template)
    assert [message["author"] for message in cut] == ["prompt", "policy", "environment", "policy"]
    assert cut[1]["text"].startswith('<tool_call>\n{"name": "find_place"')
    assert '{"id": 11}' in cut[2]["text"]
    whole = world.template.text(_rollout(world).tokens.tolist())
    assert "".join(message["text"] for message in cut) == whole


def test_lines_are_appended_with_calls_kinds_and_terms(world, tmp_path):
    path = tmp_path / "episodes.jsonl"
    transcript.append(path, [_rollout(world)], world.template)
    transcript.append(path, [_rollout(world)], world.template, [{"reward": np.float32(0.5)}])
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["terms"], second["terms"]) == (None, {"reward": 0.5})
    assert first["end"] == "finished"
    assert [record["observation"] for record in first["calls"]] == ["ok", "malformed"]
    assert first["calls"][0]["call"] == {"name": "find_place", "arguments": {"name": "Rome"}}
    assert first["calls"][1]["malformed"]["kind"] == "bad_json"
    assert first["logprob_sum"] == -0.5 * first["num_sampled"]
