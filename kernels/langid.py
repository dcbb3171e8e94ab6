"""Language identification: py3langid's model, walked and summed without Python's loop.

The model is an automaton over bytes whose states announce n-grams (1 to 6 bytes), and a naive Bayes table: score of a
language = prior + sum over the n-grams met of log(1 + times met) * table[n-gram, language].

The automaton's table is 39 MB, so every step waits for memory; but what state it is in depends on the last few bytes
only (the longest n-gram's). So the text is cut into 8 segments that are walked abreast, each started that many bytes
early: 8 waits at once instead of one after the other. The naive Bayes rows (284 bytes of half-precision floats, 28 MB)
are fetched ahead of use, and summed in vector registers.

Most documents are decided by a first, small sample: see FIRST_BYTES.

Cost: 6 ns a byte walked and 18 ns a different n-gram: 5 us for 256 bytes, 14 us for 1,024.

Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", 2012.

Shape legend: B documents, N bytes of text, S states, F n-grams (features), L languages padded to COLUMNS, V visits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import float32, types, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.addresses import fetch_line
from kernels.characters import (
    COMPOSES,
    LETTER,
    LOWER,
    OTHER_SCRIPT,
    UPPER,
    character_bytes,
    code_point,
    leaf,
)
from kernels.simd import I32, I64, element_pointer, popcount, range_mask, splat
from kernels.text_masks import low_bits

SEGMENTS = 8
LANES = 16  # languages of a vector
COLUMNS = 144  # languages whose sums are in registers together
CACHE_LINE_HALVES = 32
FETCH_AHEAD = 16  # rows asked for before they are needed

# Bytes of a document that are looked at. Against the first 30,000 bytes, 1,024 name another language for 1.2 % of mixed
# documents (abbreviations, code, rare languages), 2,048 for 0.8 % at 1.7 times the cost.
SAMPLE_BYTES = 1024
# Bytes that are looked at first in a document of more than FIRST_OF_BYTES. They decide if a language has CLEAR_SCORE in
# a whole sample that goes on like them, and in neither half of them another is e^HALF_DOUBT times as probable
# (docs/decisions/0025-language-in-two-steps.md).
FIRST_BYTES = 256
FIRST_OF_BYTES = 512
CLEAR_SCORE = 0.99
HALF_DOUBT = 2.0

# What has to be done to a text before the model sees it, as bits; the last: it cannot judge it.
ASK_NFC, IN_CAPITALS, OTHER = 1, 2, 4

LOWEST_EXPONENT = -25.0  # languages less probable than e^-25 do not count

HALVES = ir.VectorType(ir.IntType(16), LANES)
WORDS = ir.VectorType(I32, LANES)
FLOATS = ir.VectorType(ir.FloatType(), LANES)


@intrinsic
def add_scaled_rows(typing_context, halves, stride, rows, row_scales, num_rows, sums, column):
    """`sums[column + j] += row_scales[v] * halves[rows[v] * stride + column + j]`, for COLUMNS values j, row by row.

    The halves come as the bits of float16. They become float32 by integer shifts, which every machine has: exact but
    for the exponent, whose bias is 2^112 short; the scales have to carry that factor. No infinities, no NaN. The sums
    stay in vector registers; the row FETCH_AHEAD places ahead is asked for, so `rows` goes on as far beyond its end. At
    least one row.
    """

    def codegen(context, builder, signature, args):
        halves_type, _, rows_type, scales_type, _, sums_type, _ = signature.args
        offsets = [ir.Constant(I64, offset) for offset in range(0, COLUMNS, LANES)]

        def constant(value):
            return ir.Constant(WORDS, [value] * LANES)

        def place_of(v):
            row = builder.load(element_pointer(context, builder, rows_type, args[2], v))
            return builder.add(builder.mul(builder.sext(row, I64), args[1]), args[6])

        def singles_of(place):
            for offset in offsets:
                source = element_pointer(context, builder, halves_type, args[0], builder.add(place, offset))
                half = builder.load(builder.bitcast(source, HALVES.as_pointer()))
                half.align = 2
                # Sign, 5 bits of exponent, 10 of fraction: the copies of the sign make room for 8 bits of exponent.
                shifted = builder.shl(builder.sext(half, WORDS), constant(13))
                yield builder.bitcast(builder.and_(shifted, constant(0x8FFFFFFF)), FLOATS)

        def sums_at(offset):
            pointer = element_pointer(context, builder, sums_type, args[5], builder.add(args[6], offset))
            return builder.bitcast(pointer, FLOATS.as_pointer())

        before_sums = []
        for offset in offsets:
            total = builder.load(sums_at(offset))
            total.align = 4
            before_sums.append(total)
        before, loop = builder.block, builder.append_basic_block("row")
        after = builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        v = builder.phi(I64)
        totals = [builder.phi(FLOATS) for _ in offsets]
        ahead = place_of(builder.add(v, ir.Constant(I64, FETCH_AHEAD)))
        for offset in range(0, COLUMNS, CACHE_LINE_HALVES):
            fetch_line(
                builder,
                element_pointer(context, builder, halves_type, args[0], builder.add(ahead, ir.Constant(I64, offset))),
            )
        scale = splat(builder, builder.load(element_pointer(context, builder, scales_type, args[3], v)), FLOATS)
        added = [
            builder.fadd(total, builder.fmul(single, scale))
            for total, single in zip(totals, singles_of(place_of(v)), strict=True)
        ]
        following = builder.add(v, ir.Constant(I64, 1))
        v.add_incoming(ir.Constant(I64, 0), before)
        v.add_incoming(following, loop)
        for total, start, end in zip(totals, before_sums, added, strict=True):
            total.add_incoming(start, before)
            total.add_incoming(end, loop)
        builder.cbranch(builder.icmp_signed("<", following, args[4]), loop, after)

        builder.position_at_end(after)
        for offset, end in zip(offsets, added, strict=True):
            store = builder.store(end, sums_at(offset))
            store.align = 4
        return context.get_dummy_value()

    return types.void(halves, types.int64, rows, row_scales, types.int64, sums, types.int64), codegen


class Memory(NamedTuple):
    """Working memory of one thread, large enough for the longest text of a batch."""

    visits_V: NDArray[np.int32]  # n-grams in the order in which they are met
    counts_F: NDArray[np.int32]  # times that each was met; 0 between texts
    scales_V: NDArray[np.float32]
    sums_3L: NDArray[np.float32]  # scores of three texts


def allocate_memory(longest_bytes: int, num_ngrams: int, num_columns: int) -> Memory:
    """Memory for texts of up to `longest_bytes`."""
    return Memory(
        visits_V=np.empty(longest_bytes + SEGMENTS + FETCH_AHEAD, np.int32),
        counts_F=np.zeros(num_ngrams, np.int32),
        scales_V=np.empty(longest_bytes, np.float32),
        sums_3L=np.empty((3, num_columns), np.float32),
    )


@leaf
def longest_ngram(next_state_SN, row_S, depth_S, queue_S):
    """Bytes of the longest n-gram that the automaton knows: how far back its state can reach. O(states)."""
    depth_S[:] = -1
    depth_S[0] = 0
    queue_S[0] = 0
    num_queued, longest = 1, 0
    for q in range(depth_S.size):
        if q >= num_queued:
            break
        state = int(queue_S[q])
        longest = int(depth_S[state])
        row = int(row_S[state]) << 8
        for byte in range(256):
            following = int(next_state_SN[row + byte])
            if depth_S[following] < 0:
                depth_S[following] = longest + 1
                queue_S[num_queued] = following
                num_queued += 1
    return longest


@leaf
def treatment(buffer_N, start, end, properties_P):
    """Properties of the text: its letters counted by case and script, and a look for what is not in normal form C.

    A text is in capitals if all its cased letters are, as for py3langid; or if most of its letters are, and two thirds
    of the cased ones (of base64 half are).
    """
    lower = upper = letters = others = uncased = 0
    asks = 0
    for i in range(start, end, 64):
        valid = low_bits(end - i)
        lower += int(popcount(range_mask(buffer_N, i, 97, 26) & valid))
        upper += int(popcount(range_mask(buffer_N, i, 65, 26) & valid))
        if range_mask(buffer_N, i, 0x80, 0x80) & valid != uint64(0):
            j = i
            while j < min(i + 64, end):
                first = buffer_N[j]
                if first >= 0xC0:
                    found = properties_P[code_point(buffer_N, j)]
                    lower += int(found & LOWER != 0)
                    upper += int(found & UPPER != 0)
                    letters += int(found & LETTER != 0)
                    uncased += int(found & (LETTER | UPPER | LOWER) == LETTER)
                    others += int(found & OTHER_SCRIPT != 0)
                    if found & COMPOSES != 0:
                        asks = ASK_NFC
                    j += character_bytes(first)
                else:
                    j += 1
    if others > 0:
        for i in range(start, end):
            letters += int(97 <= buffer_N[i] | 32 <= 122)
        if 2 * others > letters:
            return OTHER
    in_capitals = (upper > 0 and lower == 0) or upper > max(2 * lower, uncased)
    return asks | (IN_CAPITALS if in_capitals else 0)


@leaf
def _add_up(first, last, model, memory, sums_L):
    """Scores of all languages for the visits [first, last), into `sums_L`; returns whether any n-gram was met.

    Writes to FETCH_AHEAD visits more.
    """
    visits_V, counts_F, scales_V = memory.visits_V[first:], memory.counts_F, memory.scales_V
    num_met = 0
    for v in range(last - first):
        feature = visits_V[v]
        is_ngram = int(feature >= 0)  # as good as random: added rather than branched on
        feature = max(feature, 0)
        counts_F[feature] += is_ngram
        visits_V[num_met] = feature
        num_met += is_ngram & int(counts_F[feature] == 1)
    stride = sums_L.size
    for j in range(stride):
        sums_L[j] = model.prior_L[j]
    for v in range(num_met):
        feature = visits_V[v]
        scales_V[v] = model.log_counts[counts_F[feature]]
        counts_F[feature] = 0
    visits_V[num_met : num_met + FETCH_AHEAD] = 0
    if num_met > 0:
        for column in range(0, stride, COLUMNS):
            add_scaled_rows(model.table_FL, stride, visits_V, scales_V, num_met, sums_L, column)
    return num_met > 0


@leaf
def _walk(buffer_N, start, num_bytes, model, overlap, visits_V):
    """The n-gram that ends at each byte of the text (-1 for none), into `visits_V`.

    Writes and reads up to SEGMENTS bytes past the end; what it writes there means nothing.
    """
    next_state_SN, row_S, feature_S = model.next_state_SN, model.row_S, model.feature_S
    segment = (num_bytes + SEGMENTS - 1) // SEGMENTS
    if segment < 2 * overlap:
        state = 0
        for v in range(num_bytes):
            state = int(next_state_SN[(int(row_S[state]) << 8) + buffer_N[start + v]])
            visits_V[v] = feature_S[state]
        return
    a = b = c = d = e = f = g = h = 0
    p = start + segment
    for j in range(-overlap, 0):
        b = int(next_state_SN[(int(row_S[b]) << 8) + buffer_N[p + j]])
        c = int(next_state_SN[(int(row_S[c]) << 8) + buffer_N[p + segment + j]])
        d = int(next_state_SN[(int(row_S[d]) << 8) + buffer_N[p + 2 * segment + j]])
        e = int(next_state_SN[(int(row_S[e]) << 8) + buffer_N[p + 3 * segment + j]])
        f = int(next_state_SN[(int(row_S[f]) << 8) + buffer_N[p + 4 * segment + j]])
        g = int(next_state_SN[(int(row_S[g]) << 8) + buffer_N[p + 5 * segment + j]])
        h = int(next_state_SN[(int(row_S[h]) << 8) + buffer_N[p + 6 * segment + j]])
    for v in range(segment):
        p = start + v
        a = int(next_state_SN[(int(row_S[a]) << 8) + buffer_N[p]])
        b = int(next_state_SN[(int(row_S[b]) << 8) + buffer_N[p + segment]])
        c = int(next_state_SN[(int(row_S[c]) << 8) + buffer_N[p + 2 * segment]])
        d = int(next_state_SN[(int(row_S[d]) << 8) + buffer_N[p + 3 * segment]])
        e = int(next_state_SN[(int(row_S[e]) << 8) + buffer_N[p + 4 * segment]])
        f = int(next_state_SN[(int(row_S[f]) << 8) + buffer_N[p + 5 * segment]])
        g = int(next_state_SN[(int(row_S[g]) << 8) + buffer_N[p + 6 * segment]])
        h = int(next_state_SN[(int(row_S[h]) << 8) + buffer_N[p + 7 * segment]])
        visits_V[v] = feature_S[a]
        visits_V[v + segment] = feature_S[b]
        visits_V[v + 2 * segment] = feature_S[c]
        visits_V[v + 3 * segment] = feature_S[d]
        visits_V[v + 4 * segment] = feature_S[e]
        visits_V[v + 5 * segment] = feature_S[f]
        visits_V[v + 6 * segment] = feature_S[g]
        visits_V[v + 7 * segment] = feature_S[h]


@leaf
def _weigh(sums_L, softness, model):
    """Turn scores into weights of languages, in place: (the heaviest, its share of all)."""
    num_languages = model.first_L.size
    highest = sums_L[0]
    for k in range(1, num_languages):
        highest = max(highest, sums_L[k])
    total = 0.0
    for k in range(num_languages):
        exponent = (sums_L[k] - highest) * softness
        sums_L[k] = 0.0
        if exponent < LOWEST_EXPONENT:
            continue
        probability = np.exp(exponent)
        sums_L[model.first_L[k]] += float32(probability)  # two scripts of one language are one
        total += probability
    best = 0
    for k in range(num_languages):
        if sums_L[k] > sums_L[best]:
            best = k
    return best, sums_L[best] / total


@leaf
def _speaks_against(sums_L, language, num_bytes, model):
    """Whether the scores make another language far more probable than this one."""
    highest = own = sums_L[language]
    for k in range(model.first_L.size):
        highest = max(highest, sums_L[k])
        if model.first_L[k] == language:
            own = max(own, sums_L[k])
    return highest - own > HALF_DOUBT * np.sqrt(num_bytes)


@leaf
def classify_halves(
    buffer_N, starts_B, middles_B, ends_B, stand_for_B, model, overlap, properties_P, memory, classes_B, scores_B
):
    """Language and probability of each sample whose halves leave no doubt; -1 and 0 for the others.

    The probability is that of `stand_for_B` bytes which speak for the languages as the sample does. A sample that needs
    treatment is in doubt.
    """
    first_L, second_L, both_L = memory.sums_3L[0], memory.sums_3L[1], memory.sums_3L[2]
    for b in range(len(starts_B)):
        start, middle, end = starts_B[b], middles_B[b], ends_B[b]
        classes_B[b] = -1
        scores_B[b] = 0.0
        if treatment(buffer_N, start, end, properties_P) != 0:
            continue
        _walk(buffer_N, start, end - start, model, overlap, memory.visits_V)
        _add_up(middle - start, end - start, model, memory, second_L)
        _add_up(0, middle - start, model, memory, first_L)
        for k in range(both_L.size):
            both_L[k] = first_L[k] + second_L[k] - model.prior_L[k]
        best, score = _weigh(both_L, np.sqrt(stand_for_B[b]) / (end - start), model)
        if (
            score >= CLEAR_SCORE
            and not _speaks_against(first_L, best, middle - start, model)
            and not _speaks_against(second_L, best, end - middle, model)
        ):
            classes_B[b] = best
            scores_B[b] = score


@leaf
def classify_documents(
    buffer_N, starts_B, ends_B, model, overlap, properties_P, as_is, memory, classes_B, scores_B, treat_B
):
    """Best language (-1 for none) and its probability for each text.

    Unless `as_is`, texts that need treatment first are left out; `treat_B` tells which.
    """
    sums_L = memory.sums_3L[0]
    for b in range(len(starts_B)):
        start, end = starts_B[b], ends_B[b]
        classes_B[b] = -1
        scores_B[b] = 0.0
        treat_B[b] = 0 if as_is else treatment(buffer_N, start, end, properties_P)
        if treat_B[b] != 0:
            continue
        _walk(buffer_N, start, end - start, model, overlap, memory.visits_V)
        if not _add_up(0, end - start, model, memory, sums_L):
            continue
        # Scores are softened by the root of the length, as py3langid does to get probabilities.
        classes_B[b], scores_B[b] = _weigh(sums_L, 1.0 / np.sqrt(end - start), model)
