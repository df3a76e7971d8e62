"""The tokenizer's corpus: every text of the training episodes, once."""

from __future__ import annotations

from tooltrain.data.corpus import corpus
from tooltrain.data.pipeline import gold_views


def test_the_corpus_holds_each_text_once_and_no_special_token(
    booking_generated, booking_environment
):
    traces = booking_generated.splits["validation"]
    texts = corpus([*traces, *traces], booking_environment)
    assert texts == corpus(traces, booking_environment)
    assert len(set(texts)) == len(texts)
    assert not any("<tool_call>" in text or "<|im_end|>" in text for text in texts)
    for trace in traces[:20]:
        assert any(trace.query in text for text in texts)
        assert set(gold_views(trace, booking_environment)) <= set(texts)
