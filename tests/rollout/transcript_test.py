import json

import numpy as np

from tooltrain.rollout import transcript
from tooltrain.rollout.terminal import episode_lines
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
    assert (first["reward_terms"], second["reward_terms"]) == (None, {"reward": 0.5})
    assert first["end"] == "finished"
    assert first["turns"] == [
        [{"name": "find_place", "arguments": {"name": "Rome"}, "kind": "ok"}],
        [{"malformed": "bad_json: no", "kind": "malformed"}],
    ]
    assert first["ids"] == _rollout(world).tokens.tolist()
    assert first["mask"] == _rollout(world).completion_mask.tolist()
    assert first["logprob_sum"] == -0.5 * sum(first["mask"])


def test_a_written_episode_is_one_that_can_be_shown(world, tmp_path):
    path = tmp_path / "episodes.jsonl"
    transcript.append(path, [_rollout(world)], world.template)
    lines = list(episode_lines(json.loads(path.read_text()), color=False))
    sampled = [line for line in lines if line.startswith("+ ")]
    assert '+ {"name": "find_place", "arguments": {"name": "Rome"}}' in sampled
    assert sampled[-1] == "+ Done.<|im_end|>"
    assert "  -> find_place: ok" in lines
