"""Record: the decisions of a run, counted in the ledger and written down for look-ups, verdicts and examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from daemon.stages.examples import Examples
from daemon.stages.identify import Run
from daemon.stages.verdict_rows import VerdictRows
from state.epoch import Epoch
from state.ledger import Ledger
from state.segments import DOCUMENTS, Segments, Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that keeps decisions."""

    ledger: Ledger
    segments: Segments
    verdict_rows: VerdictRows
    examples: Examples

    def record(self, run: Run, verdicts: Verdicts, epoch: Epoch) -> None:
        """Count the outcomes of a run and write its segment."""
        batch = run.batch
        num_bytes_B = batch.texts.num_bytes()
        outcomes = verdicts.counts()
        for (stage, reason), rows in outcomes.items():
            num_bytes = int(num_bytes_B[rows].sum())
            if stage and reason:
                self.ledger.reject(stage, reason, len(rows), num_bytes)
            else:
                self.ledger.count("accepted", len(rows), num_bytes)
            for source, documents in Counter(batch.sources[row] for row in rows.tolist()).items():
                self.ledger.count_source(source, stage, documents)
        self.ledger.count_edits(run.documents.edits)
        segment = verdicts.segment(
            ids=batch.ids,
            id_keys_B2=run.id_keys_B2,
            text_keys_B2=run.keys.texts_B2,
            url_keys_B2=run.keys.urls_B2,
            ordinals_B=batch.ordinals_B,
            inputs=run.documents.inputs,
            positions_B=run.documents.positions_B,
            sources=batch.sources,
            num_bytes_B=num_bytes_B,
            edits=run.documents.edits,
        )
        DOCUMENTS.put(epoch, segment.first, segment)
        self.verdict_rows.note(segment, batch.texts, epoch)
        self.examples.note(segment, outcomes, batch.texts)
