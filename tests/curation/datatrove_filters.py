"""datatrove's four filters over our splitters: its words are `\\w+`, its sentences those of `SENTENCE_END`."""

from __future__ import annotations

import re
from typing import Any

from curation.kernels.c4 import SENTENCE_END


def build_filters(stock: bool = False) -> dict[str, Any]:
    """The filters by the name of ours that they are to agree with; `stock` leaves them their own (spaCy) splitters."""
    from datatrove.pipeline.filters.c4_filters import C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import WordTokenizer

    class RegexTokenizer(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return re.findall(r"\w+", text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[start:end] for start, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            starts = [0, *(match.end() for match in SENTENCE_END.finditer(text))]
            spans = [span for span in zip(starts, [*starts[1:], len(text)], strict=True) if text[slice(*span)].strip()]
            return spans or [(0, len(text))]

    language = "en" if stock else RegexTokenizer()
    return {
        "gopher_quality": GopherQualityFilter(language=language),
        "gopher_repetition": GopherRepetitionFilter(language=language),
        "c4": C4QualityFilter(language=language),
        "c4_any_ending": C4QualityFilter(language=language, filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(language=language),
    }


def keeps(filters: dict[str, Any], name: str, text: str) -> bool | None:
    """Whether the filter keeps the text; None where it divides by zero."""
    from datatrove.data import Document

    try:
        verdict = filters[name].filter(Document(text=text, id=""))
    except ZeroDivisionError:
        return None
    return verdict is True
