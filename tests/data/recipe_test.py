"""Files and streams are one dataset: the same examples, batches, bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import pathlib

import numpy as np
import pytest

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.corpus import corpus
from tooltrain.data.dataset import open_traces, write_recipe
from tooltrain.data.order import Curriculum, Shard
from tooltrain.data.pipeline import sft_batches
from tooltrain.data.recipe import Recipe
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.errors import UserError
from tooltrain.synthesis.generate import Settings


@pytest.fixture(scope="module")
def recipe(booking_cache) -> Recipe:
    settings = Settings(
        "booking", max_calls=2, min_support=60, max_fillings_per_workflow=30, train_traces=120
    )
    projection = (("max_items", 2), ("max_tokens", 80), ("max_value_chars", 64))
    return Recipe(str(booking_cache), projection, settings)


@pytest.fixture(scope="module")
def directory(recipe, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("recipe")
    write_recipe(directory, recipe)
    return directory


def _files(directory: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_files_and_streams_give_the_same_traces_by_index(recipe, directory):
    for name, stream in recipe.streams().items():
        if not len(stream):
            continue
        files = open_traces(directory, name)
        assert len(files) == len(stream)
        for i in (0, len(stream) // 2, len(stream) - 1):
            assert files[i] == dataclasses.replace(stream[i], responses=())


def test_files_and_streams_give_the_same_batches_by_shard_and_after_a_restart(recipe, directory):
    environment = recipe.environment()
    files, stream = open_traces(directory, "train"), recipe.streams()["train"]
    template = ChatTemplate(train_tokenizer(corpus(files[:40], environment), 600))

    def batches(traces, index):
        return iter(
            sft_batches(
                *(traces, template, environment),
                **{"batch_size": 2, "seq_len": 768, "seed": 5, "augment_fraction": 0.3},
                **{"variety": 0.5, "shard": Shard(index, 2)},
                curriculum=Curriculum("calls", ramp_examples=20),
            )
        )

    shards = []
    for index in range(2):
        one, two = batches(files, index), batches(stream, index)
        for _ in range(2):
            assert _equal(next(one), next(two))
        state = one.get_state()
        want = [next(one) for _ in range(2)]
        fresh = batches(stream, index)
        fresh.set_state(json.loads(json.dumps(state)) if isinstance(state, dict) else state)
        assert all(map(_equal, want, itertools.islice(fresh, 2)))
        shards.append(want[0])
    assert not _equal(*shards)


def _equal(one, two) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_dataset_says_what_it_was_made_from(recipe, directory):
    (path,) = directory.glob("tool_traces/*/*/metadata.json")
    assert path.parent.parent.name == "booking"
    found = json.loads(path.read_text())
    assert found["cache_digest"] == recipe.environment().cache.digest
    assert Settings(**json.loads(found["settings"])) == recipe.settings


def test_the_same_recipe_writes_the_same_bytes(recipe, directory, tmp_path):
    write_recipe(tmp_path, recipe)
    assert _files(tmp_path) == _files(directory)


@pytest.mark.slow
def test_a_beam_pipeline_writes_the_bytes_of_the_in_process_path(recipe, directory, tmp_path):
    pytest.importorskip("apache_beam")
    from tooltrain.data.beam import write_recipe_with_beam

    write_recipe_with_beam(tmp_path, recipe)
    assert _files(tmp_path) == _files(directory)


def test_a_recipe_says_how_many_traces_there_are():
    with pytest.raises(UserError, match="train_traces must say how many"):
        Recipe("cache.sqlite", (), Settings("booking"))
