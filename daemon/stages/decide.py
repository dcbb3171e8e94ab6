"""Selection: the stages that decide about a document when it is read. None of them learns."""

from __future__ import annotations

from collections import Counter

import numpy as np
import xxhash
from numpy.typing import NDArray

from consumers.formats.documents import Arrival
from curation.batch import Batch
from curation.dedup.exact import Keys
from curation.quality.judge import PRESETS, Measures
from curation.quality.judge import Verdicts as QualityVerdicts
from curation.quality.rules import RULE_NAMES
from curation.ticks import Waiting
from curatord.records import Document
from daemon.stages.all_stages import Stages
from daemon.stages.identify import Run
from state.chance import draw_unit
from state.epoch import Epoch, Holdout
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import DECIMAL, NUMBER, Facts, Family, packed, single
from state.outcomes import Reason, Stage
from state.segments import DOCUMENTS, NO_MATCH, Segment, Verdicts

EMPTY_TEXT_KEY = np.frombuffer(xxhash.xxh3_128_digest(b""), np.uint64)
HOLDOUT_SHARD_DOCUMENTS = 1024


_HOLDOUT = Facts(Family("holdout", "a held-out document whose file is not full"), NUMBER, packed(Holdout))
_NEXT_HOLDOUT = single("next_holdout", DECIMAL)


class Selection(FactOwner):
    """From a run of new documents to tokens that are held."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._workers = stages.workers
        self._ledger = stages.ledger
        self._holdouts = FactTable(_HOLDOUT)  # of the shard that is not full
        self._next_holdout = FactCell(_NEXT_HOLDOUT, 0)

    def tables(self) -> tuple[Table, ...]:
        """The held-out documents, and the number of the next."""
        return self._holdouts, self._next_holdout

    def decide(self, run: Run, epoch: Epoch) -> None:
        """Every document of the run gets its verdict; the accepted ones are held, and wait for their tick."""
        stages = self._stages
        batch = run.batch
        verdicts = Verdicts(int(batch.doc_nos_B[0]), len(batch), RULE_NAMES)
        enter = stages.phases.enter
        enter(Stage.EXACT_DEDUP)
        batch = self._drop_unusable(batch, run, verdicts)
        batch = self._drop_duplicates(batch, run, verdicts)
        enter(Stage.QUALITY)
        batch, qualities_B = self._filter(batch, verdicts)
        enter(Stage.NEAR_DEDUP)
        batch, qualities_B = self._drop_near_duplicates(batch, qualities_B, verdicts)
        batch, qualities_B = self._hold_out(batch, qualities_B, run, verdicts, epoch)
        enter(Stage.TOKENIZE)
        self._tokenize(batch, qualities_B, run, verdicts)
        enter("record")
        self._record(run, verdicts, epoch)

    def _drop_unusable(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        """Documents that were retracted before they came, and those without any text."""
        _reject_all(verdicts, batch.doc_nos_B[run.withheld_B], Reason.RETRACTED)
        empty_B = (run.keys.texts_B2 == EMPTY_TEXT_KEY).all(axis=1) & ~run.withheld_B
        _reject_all(verdicts, batch.doc_nos_B[empty_B], Reason.EMPTY)
        return batch.keep(~(run.withheld_B | empty_B))

    def _drop_duplicates(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        duplicates = self._stages.exact_dedup.find_duplicates(batch.doc_nos_B, run.keys.take(_rows(batch, run)))
        for matches_B, reason in ((duplicates.by_text_B, Reason.SAME_TEXT), (duplicates.by_url_B, Reason.SAME_URL)):
            found_B = matches_B >= 0
            _reject_all(verdicts, batch.doc_nos_B[found_B], reason, matches_B[found_B])
        return batch.keep((duplicates.by_text_B < 0) & (duplicates.by_url_B < 0))

    def _filter(self, batch: Batch, verdicts: Verdicts) -> tuple[Batch, NDArray[np.float32]]:
        if not len(batch):
            return batch, np.zeros(0, np.float32)
        quality = self._stages.quality

        def judge(part: slice) -> tuple[slice, Measures, QualityVerdicts]:
            measures = quality.measure(batch.texts.take(part), batch.languages[part])
            return part, measures, quality.judge(measures)

        kept_B = np.ones(len(batch), np.bool_)
        qualities_B = np.empty(len(batch), np.float32)
        would_reject_R = np.zeros(len(RULE_NAMES), np.int64)
        would_reject_P = np.zeros(len(PRESETS), np.int64)  # bytes
        num_bytes_B = batch.texts.num_bytes()
        for part, measures, judged in self._workers.map(judge, len(batch)):
            doc_nos_B = batch.doc_nos_B[part]
            verdicts.measure(doc_nos_B, measures.scores_B, measures.languages_B, measures.values_BR)
            would_reject_R += judged.would_reject_R
            would_reject_P += num_bytes_B[part] @ judged.fails_preset_BP
            rejected_B = judged.rejected_B
            verdicts.reject(
                doc_nos_B[rejected_B],
                Stage.QUALITY,
                [reason for reason in judged.reasons_B if reason],
                values=judged.values_B[rejected_B],
                thresholds=judged.thresholds_B[rejected_B],
            )
            kept_B[part] = ~rejected_B
            qualities_B[part] = measures.scores_B
        for rule, count in zip(RULE_NAMES, would_reject_R.tolist(), strict=True):
            self._ledger.would_drop[rule] = self._ledger.would_drop.get(rule, 0) + count
        for preset, num_bytes in zip(PRESETS, would_reject_P.tolist(), strict=True):
            self._ledger.would_drop_bytes[preset] = self._ledger.would_drop_bytes.get(preset, 0) + num_bytes
        self._ledger.bytes_measured += int(num_bytes_B.sum())
        return batch.keep(kept_B), qualities_B[kept_B]

    def _drop_near_duplicates(
        self, batch: Batch, qualities_B: NDArray[np.float32], verdicts: Verdicts
    ) -> tuple[Batch, NDArray[np.float32]]:
        config = self._stages.config.dedup.near
        if not config.enabled or not len(batch):
            return batch, qualities_B
        near_dedup = self._stages.near_dedup
        signed = self._workers.map(lambda part: near_dedup.sign(batch.texts.take(part)), len(batch))
        signatures_BP = np.concatenate([signatures for signatures, _ in signed])
        has_words_B = np.concatenate([has_words for _, has_words in signed])
        matches = near_dedup.match(batch.doc_nos_B, signatures_BP, has_words_B)
        removed_B = matches.doc_nos_B >= 0
        _reject_all(
            verdicts,
            batch.doc_nos_B[removed_B],
            Reason.NEAR_DUPLICATE,
            matches.doc_nos_B[removed_B],
            matches.similarities_B[removed_B],
            config.min_similarity,
        )
        indexed_B = ~removed_B & has_words_B
        verdicts.sign(batch.doc_nos_B[indexed_B], matches.facts_BP[indexed_B])
        self._stages.surges += near_dedup.guard.observe(batch.sources, removed_B)
        return batch.keep(~removed_B), qualities_B[~removed_B]

    def _hold_out(
        self, batch: Batch, qualities_B: NDArray[np.float32], run: Run, verdicts: Verdicts, epoch: Epoch
    ) -> tuple[Batch, NDArray[np.float32]]:
        """A share of the documents, chosen by their ids, goes to the held-out shards as text."""
        share = self._stages.config.output.holdout
        if not share:
            return batch, qualities_B
        rows = _rows(batch, run)
        chances_B = draw_unit(run.id_keys_B2[rows, 0], seed=self._stages.config.output.seed, purpose="holdout")
        held_out_B = chances_B < share
        _reject_all(verdicts, batch.doc_nos_B[held_out_B], Reason.HELD_OUT)
        for row in rows[held_out_B].tolist():
            self._keep_out(run.arrivals[row], epoch)
        return batch.keep(~held_out_B), qualities_B[~held_out_B]

    def _keep_out(self, arrival: Arrival, epoch: Epoch) -> None:
        document = arrival.value
        assert isinstance(document, Document)
        number = self._next_holdout.value
        self._next_holdout.value += 1
        self._holdouts[number] = Holdout(
            number=number, doc_id=arrival.doc_id, source=document.source, url=document.url, text=document.text
        )
        if len(self._holdouts) == HOLDOUT_SHARD_DOCUMENTS:
            self.flush_holdout(epoch)

    def flush_holdout(self, epoch: Epoch) -> None:
        """Write the held-out documents of the open shard."""
        if not self._holdouts:
            return
        epoch.holdouts.append(list(self._holdouts.values()))
        self._holdouts.clear()

    def _tokenize(self, batch: Batch, qualities_B: NDArray[np.float32], run: Run, verdicts: Verdicts) -> None:
        """Accepted, if there are tokens: they are held, and the documents wait for their tick."""
        if not len(batch):
            return
        tokenizer = self._stages.tokenizer
        encoded = self._workers.map(
            lambda part: tokenizer.encode_batch(batch.texts.take(part)),
            len(batch),
        )
        arrays = [tokens for part in encoded for tokens in part]
        has_tokens_B = np.array([len(tokens) > 0 for tokens in arrays], np.bool_)
        # A normalizer may leave nothing of a text of controls; there is nothing to train on then.
        _reject_all(verdicts, batch.doc_nos_B[~has_tokens_B], Reason.NO_TOKENS)
        batch, qualities_B = batch.keep(has_tokens_B), qualities_B[has_tokens_B]
        arrays = [tokens for tokens in arrays if len(tokens)]
        doc_nos = batch.doc_nos_B.tolist()
        num_tokens = [len(tokens) for tokens in arrays]
        verdicts.accept(batch.doc_nos_B, np.array(num_tokens, np.int64))
        self._ledger.tokens_accepted += sum(num_tokens)
        self._stages.held.add(doc_nos, batch.ids, arrays)
        keys = run.id_keys_B2[_rows(batch, run), 0].tolist()
        columns = (batch.ordinals_B.tolist(), doc_nos, keys, batch.sources, qualities_B.tolist(), num_tokens)
        for document in map(Waiting, *columns):
            self._stages.waiting.add(document)

    def _record(self, run: Run, verdicts: Verdicts, epoch: Epoch) -> None:
        """Count the outcomes and write the segment."""
        batch = run.batch
        num_bytes_B = batch.texts.num_bytes()
        outcomes = verdicts.counts()
        for (stage, reason), rows in outcomes.items():
            num_bytes = int(num_bytes_B[rows].sum())
            if stage and reason:
                self._ledger.reject(stage, reason, len(rows), num_bytes)
            else:
                self._ledger.count("accepted", len(rows), num_bytes)
            for source, documents in Counter(batch.sources[row] for row in rows.tolist()).items():
                self._ledger.count_source(source, stage, documents)
        segment = verdicts.segment(
            ids=batch.ids,
            id_keys_B2=run.id_keys_B2,
            text_keys_B2=run.keys.texts_B2,
            url_keys_B2=run.keys.urls_B2,
            ordinals_B=batch.ordinals_B,
            inputs=[arrival.input for arrival in run.arrivals],
            positions=[arrival.position for arrival in run.arrivals],
            sources=batch.sources,
            num_bytes_B=num_bytes_B,
        )
        self._stages.segments.add(segment.first)
        DOCUMENTS.put(epoch, segment.first, segment)
        self._stages.verdict_rows.note(segment, run.arrivals, epoch)
        self._stages.examples.note(segment, outcomes, run.arrivals)

    @property
    def num_held_out(self) -> int:
        """Held-out documents of the open shard."""
        return len(self._holdouts)

    def take_back(self, segment: Segment, row: int) -> None:
        """Free the place of a retracted document in the indices, and in the open shard of held-out ones."""
        doc_no_1 = np.array([segment.first + row])
        keys = Keys(texts_B2=segment.keys("text_keys"), urls_B2=segment.keys("url_keys"))
        self._stages.exact_dedup.drop(doc_no_1, keys.take(np.array([row])))
        self._stages.near_dedup.drop(segment.first + row)
        for number in [n for n, holdout in self._holdouts.items() if holdout.doc_id == segment.ids[row]]:
            del self._holdouts[number]

    def index(self, segment: Segment, retracted: frozenset[int]) -> None:
        """Put the documents of a segment back into the indices, but for those that were retracted."""
        stages = self._stages
        doc_nos_B = segment.doc_nos()
        alive_B = np.array([doc_no not in retracted for doc_no in doc_nos_B.tolist()], np.bool_)
        # A document that came under a known address still took its text; one with a known text took nothing.
        took_text_B = alive_B & segment.having(lambda stage, _: stage != Stage.DOCUMENTS)
        took_text_B &= segment.having(lambda _, reason: reason != Reason.SAME_TEXT)
        took_url_B = took_text_B & segment.having(lambda _, reason: reason != Reason.SAME_URL)
        keys = Keys(texts_B2=segment.keys("text_keys"), urls_B2=segment.keys("url_keys"))
        stages.exact_dedup.restore(doc_nos_B, keys, took_text_B, took_url_B)
        signed_B = segment.column("has_signature", np.bool_)
        if signed_B.any():
            signatures_BP = np.frombuffer(segment.signatures, np.uint8).reshape(int(signed_B.sum()), -1)
            stages.near_dedup.restore(doc_nos_B[signed_B & alive_B], signatures_BP[alive_B[signed_B]])
        stages.segments.add(segment.first)


def _rows(batch: Batch, run: Run) -> NDArray[np.int64]:
    """Where the documents of a smaller batch stand in their run."""
    return batch.doc_nos_B - int(run.batch.doc_nos_B[0])


def _reject_all(
    verdicts: Verdicts,
    doc_nos_B: NDArray[np.int64],
    reason: Reason,
    matches_B: NDArray[np.int64] | int = NO_MATCH,
    values_B: NDArray[np.float32] | float = np.nan,
    threshold: float = np.nan,
) -> None:
    """Reject these documents for one reason."""
    if len(doc_nos_B):
        verdicts.reject(
            doc_nos_B, reason.stage, [reason] * len(doc_nos_B), values=values_B, thresholds=threshold, matches=matches_B
        )
