"""The exceptions from the rules of `test_tidy`, which may only shrink."""

from __future__ import annotations

ARROWS_TO_GO: set[str] = set()

# Sets of modules that import each other.
CIRCLES_TO_GO: set[str] = set()

LONG_FUNCTIONS = {
    "consumers/files/json_values.py values_of",
    # Kernels: one loop, whose state no function call may carry.
    "kernels/bag.py train_epoch",
    "kernels/deficit.py balance",
    "kernels/langid.py add_scaled_rows",
    "kernels/lsh.py match_and_insert",
    "kernels/text_masks.py scan_document",
    "kernels/words.py fold_text",
}

LONG_MODULES = {
    "curation/selection/bandit.py",
    "kernels/text_masks.py",
}

MANY_PARAMETERS = {
    "curatord/stream.py __init__",
    "daemon/cli.py curate",
    "state/segments.py segment",
}

# Names that no line of this repository uses, and which are called all the same.
CALLED_FROM_OUTSIDE = {
    # kafka-python's assignor and rebalance listener
    "consumers/kafka/assignor.py on_assignment",
    "consumers/kafka/assignor.py supported_protocols",
    "consumers/kafka/membership.py on_partitions_assigned",
    "consumers/kafka/membership.py on_partitions_lost",
    "consumers/kafka/membership.py on_partitions_revoked",
    # transformers' trainer callbacks
    "curatord/adapters/huggingface.py on_epoch_begin",
    "curatord/adapters/huggingface.py on_save",
    "curatord/adapters/huggingface.py on_train_begin",
    # numba's cache locators, which the cache module hands over as its subclasses
    "kernels/cache.py InTree",
    "kernels/cache.py Provided",
    # torch's modules
    "curation/vectors/bert.py forward",
    "curation/vectors/whole_numbers.py forward",
    # asyncio's protocol
    "ops/http_limits.py eof_received",
}
DEAD: set[str] = set()

# Modules with logic that are tested through others only.
WITHOUT_TESTS = {
    "daemon/stages/record.py",
    "curation/selection/document_rewards.py",
    "daemon/commands/explain_selection.py",
    "consumers/files/content.py",
    "consumers/files/parquet_pages.py",
    "consumers/formats/tables.py",
    "consumers/kafka/broker.py",
    "consumers/kafka/clients.py",
    "consumers/kafka/feedback_reader.py",
    "consumers/kafka/journal_reader.py",
    "consumers/kafka/membership.py",
    "consumers/kafka/replay.py",
    "curation/batch.py",
    "curation/topics/cluster_features.py",
    "curatord/__main__.py",
    "curatord/access.py",
    "curatord/adapters/hf_checks.py",
    "curatord/feedback.py",
    "curatord/folder.py",
    "curatord/tls.py",
    "curatord/topic.py",
    "daemon/app.py",
    "daemon/cli.py",
    "daemon/commands/dry_run.py",
    "daemon/commands/finish.py",
    "daemon/commands/inspect_dropped.py",
    "daemon/commands/read_state.py",
    "daemon/commands/retract.py",
    "daemon/commands/samples.py",
    "daemon/commands/status.py",
    "daemon/commands/topics.py",
    "daemon/pipeline.py",
    "kernels/bag.py",
    "kernels/best_fit.py",
    "kernels/c4.py",
    "kernels/characters.py",
    "kernels/deficit.py",
    "kernels/hash_index.py",
    "kernels/langid.py",
    "kernels/lines.py",
    "kernels/pool.py",
    "kernels/quality.py",
    "kernels/repetition.py",
    "kernels/text_masks.py",
    "kernels/whitespace.py",
    "ops/memory.py",
    "packing/added_tokens.py",
    "packing/codecs.py",
    "packing/emission.py",
    "packing/tokenizer_files.py",
    "packing/vocabularies.py",
    "state/epoch.py",
}
