"""Decide: each document of a run ends at the first stage that rejects it; the tokens of the others are held.

Cheap stages come before expensive ones, those without memory before those with. None of them learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.acquisition.url_lists import UrlLists
from curation.batch import Batch
from curation.decontamination.found import NUMBER_OF_QUESTION, SHARE, FoundQuestions
from curation.dedup import passages
from curation.dedup.exact import ExactDedup, Keys
from curation.dedup.near import NearDedup
from curation.dedup.passages import Passages
from curation.quality.judge import PRESETS
from curation.quality.rules import RULE_NAMES
from curation.ticks import Accepted
from daemon.stages.hold_out import HoldOut
from daemon.stages.identify import Run
from daemon.stages.prepare import Prepare
from daemon.stages.record import Record
from kernels.columns import Ragged, bounds_of, join_texts
from ops.phases import PhaseClock
from packing.held import HeldDocuments
from state.epoch import Epoch
from state.fact_table import FactOwner
from state.ledger import Ledger
from state.outcomes import Reason, Stage
from state.segments import NO_MATCH, Segment, Verdicts

EMPTY_TEXT_KEY = np.frombuffer(xxhash.xxh3_128_digest(b""), np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """The stages that decide about a document when it is read."""

    prepare: Prepare
    urls: UrlLists
    exact_dedup: ExactDedup
    near_dedup: NearDedup
    found_questions: FoundQuestions
    drops_contaminated: bool
    passages: Passages
    hold_out: HoldOut
    held: HeldDocuments
    ledger: Ledger
    record: Record
    phases: PhaseClock

    def owners(self) -> tuple[FactOwner, ...]:
        """The parts that own facts."""
        rows, examples = self.record.verdict_rows, self.record.examples
        return self.near_dedup.guard, self.found_questions, self.passages, self.hold_out, rows, examples

    def decide(self, run: Run, epoch: Epoch) -> Accepted:
        """Every document of the run gets its verdict; those that were accepted, whose tokens are held from now on."""
        names = (*self.prepare.quality.measured_names, *self.passages.measured_names)
        if self.prepare.questions is not None:
            names = (*names, SHARE, NUMBER_OF_QUESTION)
        verdicts = Verdicts(int(run.batch.doc_nos_B[0]), len(run.batch), names)
        enter = self.phases.enter
        enter(Stage.EXACT_DEDUP)
        batch = self._drop_unusable(run.batch, run, verdicts)
        batch = self._drop_blocked(batch, run, verdicts)
        batch = self._drop_duplicates(batch, run, verdicts)
        enter(Stage.QUALITY)
        batch = self._filter(batch, run, verdicts)
        batch = self._find_questions(batch, run, verdicts)
        enter(Stage.NEAR_DEDUP)
        batch = self._drop_near_duplicates(batch, run, verdicts, epoch)
        no_loss: dict[int, NDArray[np.int64]] = {}
        batch = self._find_passages(batch, run, verdicts, no_loss)
        batch = self._hold_out(batch, run, verdicts, epoch)
        enter(Stage.TOKENIZE)
        accepted = self._tokenize(batch, run, verdicts, no_loss)
        enter("record")
        self.record.record(run, verdicts, epoch)
        return accepted

    def _drop_unusable(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        """Documents that were retracted before they came, and those without any text."""
        _reject_all(verdicts, batch.doc_nos_B[run.withheld_B], Reason.RETRACTED)
        empty_B = (run.keys.texts_B2 == EMPTY_TEXT_KEY).all(axis=1) & ~run.withheld_B
        _reject_all(verdicts, batch.doc_nos_B[empty_B], Reason.EMPTY)
        return batch.keep(~(run.withheld_B | empty_B))

    def _drop_blocked(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        """Before duplicates are looked for: a text from elsewhere is no duplicate of one that is not wanted."""
        if not self.urls.digest:
            return batch
        urls = run.documents.urls
        blocked_B = self.urls.blocked([urls[row] for row in run.rows(batch).tolist()])
        _reject_all(verdicts, batch.doc_nos_B[blocked_B], Reason.BLOCKED_URL)
        return batch.keep(~blocked_B)

    def _drop_duplicates(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        duplicates = self.exact_dedup.find_duplicates(batch.doc_nos_B, run.keys.take(run.rows(batch)))
        for matches_B, reason in ((duplicates.by_text_B, Reason.SAME_TEXT), (duplicates.by_url_B, Reason.SAME_URL)):
            found_B = matches_B >= 0
            _reject_all(verdicts, batch.doc_nos_B[found_B], reason, matches_B[found_B])
        return batch.keep((duplicates.by_text_B < 0) & (duplicates.by_url_B < 0))

    def _filter(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        """By language, rules and scores."""
        if not len(batch):
            return batch
        measures = self.prepare.measure(batch, run)
        judged = self.prepare.quality.judge(measures)
        values_BR = measures.values_BR
        if measures.model_scores_BM.shape[1]:
            values_BR = np.concatenate((values_BR, measures.model_scores_BM), axis=1)
        verdicts.measure(batch.doc_nos_B, measures.scores_B, measures.languages_B, values_BR)
        rejected_B = judged.rejected_B
        verdicts.reject(
            batch.doc_nos_B[rejected_B],
            Stage.QUALITY,
            [reason for reason in judged.reasons_B if reason],
            values=judged.values_B[rejected_B],
            thresholds=judged.thresholds_B[rejected_B],
        )
        num_bytes_B = batch.texts.num_bytes()
        _count(self.ledger.would_drop, RULE_NAMES, judged.would_reject_R)
        _count(self.ledger.would_drop_bytes, PRESETS, num_bytes_B @ judged.fails_preset_BP)
        self.ledger.bytes_measured += int(num_bytes_B.sum())
        return batch.keep(~rejected_B)

    def _find_questions(self, batch: Batch, run: Run, verdicts: Verdicts) -> Batch:
        """Documents that hold a question of an evaluation set."""
        questions = self.prepare.questions
        if questions is None or not len(batch):
            return batch
        self.phases.enter(Stage.DECONTAMINATE)
        found = self.prepare.find_questions(batch, run, questions)
        holds_B = found.questions_B >= 0
        held_H, doc_nos_H = found.questions_B[holds_B], batch.doc_nos_B[holds_B]
        numbers = self.found_questions.numbers([questions.told(question) for question in held_H.tolist()])
        verdicts.note(batch.doc_nos_B, SHARE, found.shares_B)
        verdicts.note(doc_nos_H, NUMBER_OF_QUESTION, np.array(numbers, np.float32))
        if not self.drops_contaminated:
            return batch
        if len(doc_nos_H):
            reasons = [Reason.CONTAMINATED] * len(doc_nos_H)
            limits_H = questions.limits_Q[held_H].astype(np.float32)
            verdicts.reject(
                doc_nos_H, Stage.DECONTAMINATE, reasons, values=found.shares_B[holds_B], thresholds=limits_H
            )
        return batch.keep(~holds_B)

    def _drop_near_duplicates(self, batch: Batch, run: Run, verdicts: Verdicts, epoch: Epoch) -> Batch:
        config = self.near_dedup.config
        if not config.enabled or not len(batch):
            return batch
        signatures_BP, has_words_B = self.prepare.sign(batch, run)
        matches = self.near_dedup.match(batch.doc_nos_B, signatures_BP, has_words_B)
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
        epoch.surges += self.near_dedup.guard.observe(batch.sources, removed_B)
        return batch.keep(~removed_B)

    def _find_passages(
        self, batch: Batch, run: Run, verdicts: Verdicts, no_loss: dict[int, NDArray[np.int64]]
    ) -> Batch:
        """Passages of earlier documents; those that are to be without loss go into `no_loss`, by document."""
        config = self.passages.config
        if not config.enabled or not len(batch):
            return batch
        self.phases.enter(Stage.PASSAGES)
        seen = self.passages.judge(batch.doc_nos_B, batch.sources, self.prepare.fingerprint(batch, run))
        verdicts.note(batch.doc_nos_B, passages.SHARE, seen.shares_B)
        rejected_B = seen.rejected_B
        shares_B, doc_nos_B = seen.shares_B[rejected_B], batch.doc_nos_B[rejected_B]
        _reject_all(verdicts, doc_nos_B, Reason.SEEN_PASSAGES, NO_MATCH, shares_B, config.max_share)
        for row, words_R2 in seen.words.items():
            text = join_texts([batch.texts[row]])  # the texts of prepared rows are no buffer
            no_loss[int(batch.doc_nos_B[row])] = passages.bytes_of_words(text, 0, words_R2)
        return batch.keep(~rejected_B)

    def _hold_out(self, batch: Batch, run: Run, verdicts: Verdicts, epoch: Epoch) -> Batch:
        rows = run.rows(batch)
        held_out_B = self.hold_out.chosen(run.id_keys_B2[rows, 0])
        _reject_all(verdicts, batch.doc_nos_B[held_out_B], Reason.HELD_OUT)
        for row in rows[held_out_B].tolist():
            self.hold_out.keep(run.documents, row, epoch)
        return batch.keep(~held_out_B)

    def _tokenize(
        self, batch: Batch, run: Run, verdicts: Verdicts, no_loss: Mapping[int, NDArray[np.int64]]
    ) -> Accepted:
        """Accepted, if there are tokens, which are held.

        `no_loss` has the parts [first, end) of texts, in bytes, that carry no loss, (R, 2), by document.
        """
        tokens, places = self.prepare.encode(batch, run), self.prepare.places(batch, run)
        num_tokens_B = tokens.lengths()
        has_tokens_B = num_tokens_B > 0
        # A normalizer may leave nothing of a text of controls; there is nothing to train on then.
        _reject_all(verdicts, batch.doc_nos_B[~has_tokens_B], Reason.NO_TOKENS)
        batch, num_tokens_B = batch.keep(has_tokens_B), num_tokens_B[has_tokens_B]
        if len(batch):
            verdicts.accept(batch.doc_nos_B, num_tokens_B)
            self.ledger.tokens_accepted += int(num_tokens_B.sum())
            kept = Ragged(tokens.values_T, bounds_of(num_tokens_B))
            self.held.add(batch.doc_nos_B, batch.ids, kept, places and places.take(has_tokens_B))
            for row, doc_no in enumerate(batch.doc_nos_B.tolist() if no_loss else ()):
                if doc_no in no_loss:
                    ranges_R2 = self.prepare.tokenizer.ranges_of_tokens(kept[row], batch.texts[row], no_loss[doc_no])
                    self.held.mute(doc_no, ranges_R2)
        qualities_B, languages, scores_BM = verdicts.measured(batch.doc_nos_B, self.prepare.quality.model_names)
        return Accepted(
            ordinals_B=batch.ordinals_B,
            doc_nos_B=batch.doc_nos_B,
            keys_B=run.id_keys_B2[run.rows(batch), 0],
            sources=batch.sources,
            languages=languages,
            qualities_B=qualities_B,
            scores_BM=scores_BM,
            num_tokens_B=num_tokens_B,
        )

    def withdraw(self, segment: Segment, row: int) -> None:
        """Free the place of a retracted document in the indices, and in the open shard of held-out ones."""
        doc_no_1 = np.array([segment.first + row])
        keys = Keys(texts_B2=segment.keys("text_keys"), urls_B2=segment.keys("url_keys"))
        self.exact_dedup.drop(doc_no_1, keys.take(np.array([row])))
        self.near_dedup.drop(segment.first + row)
        self.hold_out.withdraw(segment.ids[row])

    def index(self, segment: Segment, alive_B: NDArray[np.bool_]) -> None:
        """Put the documents of a segment back into the indices, but for those that were retracted."""
        doc_nos_B = segment.doc_nos()
        # A document that came under a known address still took its text; one with a known text took nothing.
        took_text_B = alive_B & segment.having(lambda stage, _: stage != Stage.DOCUMENTS)
        took_text_B &= segment.having(lambda _, reason: reason != Reason.SAME_TEXT)
        took_url_B = took_text_B & segment.having(lambda _, reason: reason != Reason.SAME_URL)
        keys = Keys(texts_B2=segment.keys("text_keys"), urls_B2=segment.keys("url_keys"))
        self.exact_dedup.restore(doc_nos_B, keys, took_text_B, took_url_B)
        signed_B = segment.column("has_signature", np.bool_)
        if signed_B.any():
            signatures_BP = np.frombuffer(segment.signatures, np.uint8).reshape(int(signed_B.sum()), -1)
            self.near_dedup.restore(doc_nos_B[signed_B & alive_B], signatures_BP[alive_B[signed_B]])


def _count(counts: dict[str, int], names: Sequence[str], more: NDArray[np.int64]) -> None:
    for name, count in zip(names, more.tolist(), strict=True):
        counts[name] = counts.get(name, 0) + count


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
