"""datatrove's four filters over our splitters: words are what `\\w+` matches, sentences what `sentence_end` ends.

Nothing of ours is imported, so that it also runs in an environment that has datatrove alone.
"""

from __future__ import annotations

import re
from typing import Any


def build_filters(sentence_end: re.Pattern[str] | None) -> dict[str, Any]:
    """The filters by the name of ours that they are to agree with; None leaves them their own (spaCy) splitters."""
    from datatrove.pipeline.filters.c4_filters import C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import WordTokenizer

    splitter = sentence_end or re.compile("")

    class RegexTokenizer(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return re.findall(r"\w+", text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[start:end] for start, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            starts = [0, *(match.end() for match in splitter.finditer(text))]
            spans = [span for span in zip(starts, [*starts[1:], len(text)], strict=True) if text[slice(*span)].strip()]
            return spans or [(0, len(text))]

    language = RegexTokenizer() if sentence_end else "en"
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
