"""Probes: texts on which two libraries must agree before one stands in for the other.

They hold every script and every kind of character between neighbours of several kinds, and the traps of splitting
expressions: case, contractions, marks, digits, signs, white space, line ends.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

# Where the alternatives of splitting expressions meet.
EDGES = (
    "", "a", "A", "\n", " ", "\0", "ab CD eF GHi jKL", "HTTPServer OpenAI's IT'S we'LL 'tis 'S I'VE",
    "e\u0301 E\u0301X \u0301\u0301 \u0301A \u0301a A\u0301B a\u0301b \u0301", " \u0301x", "  \u0301", "ǅǆ ʰʰA ªB ªb Aª",
    "日本語ABC漢字abc", "1234567 ١٢٣٤ Ⅻ ½3", "://\n/a//\r\n/b", "!?\n\n  x", "a\n \n  b", "   ", "x   ", "x  \n  ",
    "«a» “b” x\u2029y",
    "\t\tx", "\r\n\r\n", "a\u00a0b\u2003\u2003c\u3000", "\u2028\u2028x\u0085y", "\x1c\x1d x", " \u00a0x", "\ta \n\tb",
    "  1", " 1 ", " -1", "'", "''", "'s", "'l", "'r", "'ll", "'lL'Re", "don't won'T x'd'm", "\ufffd\u200d👩‍👩‍👧‍👦🇩🇪",
    "\U0010ffff\U000e0001\ue000", "\ufeffbom", "ſ 'S ſt", "İı ẞß ﬁ ① Å Ω", "각 가\u11a8 ㄱ", "a" * 300,
    "ab" * 100, "🎉" * 40, " " * 500, "\n" * 100, "é" * 40, "漢字仮名" * 50, "▁a Ġb <0x41>",
    "</s><s><unk>[INST]<|endoftext|><|im_start|>",
)  # fmt: skip
SENTENCES = (
    "The quick brown fox jumps over the lazy dog; it didn't cost $1,299.50 (in 2024).",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "Voix ambiguë d’un cœur qui préfère l’été.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia.", "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Съешь же ещё этих мягких французских булок.", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.", "נפרשׁ דג סקרן שט בים.",
    "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ", "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा", "আমি কাঁচ খেতে পারি",
    "ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ",
    "我能吞下玻璃而不伤身体。", "いろはにほへと ちりぬるを。",
    "키스의 고유조건은 입술끼리 만나야 하고", "Thoát y nữ đỏ 15% ở Đà Nẵng",
    "ქართული ენა", "Հայոց լեզու", "ភាសាខ្មែរ", "မြန်မာဘာသာ", "தமிழ் மொழி", "አማርኛ", "ᏣᎳᎩ", "ᐃᓄᒃᑎᑐᑦ",
    "𐌰𐌽𐌳 𐍃𐍀𐌴𐌻𐌻", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛",
    'def f(x: int) -> str:\n    """Doc."""\n\treturn f"{x!r}"  # ok\n\n\nclass A(B[C]): ...\n',
    '<div class="a">x &amp; y</div>\r\n{"k": [1, 2.5e-3, null]}', "E = mc² ∑∞ ≠ ½ ℵ₀ → α∈ℝ",
)  # fmt: skip
_NEIGHBOURS = "a{0}A 1{0} \n {0}'{0}t B{0}{0}b\n"
_STEP = 61  # of code points; a prime, so that every block of a script is met
_TEXT_CHARACTERS = 20  # of those a text


@functools.cache
def probes() -> tuple[str, ...]:
    """The probes that suit every vocabulary."""
    points = [*range(1, 0xD800, _STEP), *range(0xE000, 0x32000, _STEP), *range(0xE0001, 0xE0200, _STEP)]
    around = [_NEIGHBOURS.format(chr(point)) for point in points]
    spread = ["".join(around[at : at + _TEXT_CHARACTERS]) for at in range(0, len(around), _TEXT_CHARACTERS)]
    return (*EDGES, *SENTENCES, " ".join(SENTENCES), *spread)


def probes_with(words: Sequence[str]) -> tuple[str, ...]:
    """The same, and words of one vocabulary in several places."""
    return (*probes(), *(f"a{word}b {word} {word}{word}  {word}\n{word}" for word in words))
