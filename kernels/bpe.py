"""Byte-level BPE over a batch's byte buffer: split into pieces, look whole pieces up, merge the rest.

Three steps, all in one pass over the bytes and none of them through Python:

1. *Split* the text into pieces (`kernels.pieces`).
2. *Look up.* Most pieces are tokens as they stand. A piece of up to 15 bytes is its own key (two words: the bytes
   and the length), so that a hit needs no comparison with the vocabulary; a longer one is hashed and compared.
3. *Merge.* What is not a token starts as single bytes; the adjacent pair of the lowest rank is joined, leftmost
   first, until no pair is in the table of pairs. Up to 512 bytes by scanning a row of ranks 16 at a time, O(n^2) with
   a very small constant; beyond that with a heap, O(n log n), so a line of 20 MB ends too.

The vocabulary's tables are read-only once built and shared by threads. Beside them each thread keeps a memo of how
pieces merged: a tenth of a page's pieces are no tokens, but nine tenths of those were met before. It only saves time.

Measured on one core, fresh documents: ~80 us for a web page of 3.7 KB, of which ~30 us go to splitting, ~15 to
looking up and the rest to merging and the memo. Each merge waits for two places in memory; hence the bit filter
before the table of pairs.

Reference: Sennrich, Haddow & Birch (2016), "Neural Machine Translation of Rare Words with Subword Units"; the
order of merges is that of tiktoken.
"""

# mypy: disable-error-code="call-arg, call-overload, var-annotated, has-type, assignment"

import numpy as np
from numba import int64, uint32, uint64

from kernels.pieces import inlined, kernel, leaf, piece_end
from kernels.simd import load_u64, mix_multiply, smallest_of_16

# Longer pieces are merged with a heap instead of by scanning; positions of a scan have POSITION_BITS.
SCAN_BYTES = 512
NO_RANK = np.uint32(0xFFFFFFFF)
POSITION_BITS = np.uint32(11)
POSITION_MASK = np.uint32((1 << 11) - 1)
# An empty place in the table of pairs; and the filter before it, a bit for each value of the hash's top 22 bits.
NO_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)
PAIR_BIT_WORDS = 1 << 16
PAIR_BIT_SHIFT = np.uint64(64 - 22)
# Words a slot of the piece table holds: key, key, id, and one unused, so that a slot never straddles a cache line.
SLOT_WORDS = 4
# Bits a token id may have: three of them share a word in the table of pairs.
ID_BITS = 21
ID_MASK = np.uint64((1 << ID_BITS) - 1)
KEY_BYTES = 15
# The memo of merged pieces: lines of the size of a cache line, four words of bytes and length, four of tokens (the
# first and their count, then two a word).
MEMO_LINES = 1 << 15
LINE_WORDS = 8
MEMO_BYTES = 31
MEMO_TOKENS = 7
C1, C2, C3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03), np.uint64(0xFF51AFD7ED558CCD)


# ---------------------------------------------------------------------------------------------------- looking up


@inlined
def low_bytes(num):
    """Mask of the lowest `num` bytes of a word: none for less than 1, all from 8 on."""
    if num >= 8:
        return uint64(0xFFFFFFFFFFFFFFFF)
    return (uint64(1) << uint64(8 * max(num, 0))) - uint64(1)


@inlined
def piece_key(buffer_N, i, num_bytes):
    """The two words that stand for a piece: itself up to 15 bytes (exact), two hashes beyond (to be compared)."""
    if num_bytes <= KEY_BYTES:
        low = load_u64(buffer_N, i) & low_bytes(num_bytes)
        high = load_u64(buffer_N, i + 8) & low_bytes(num_bytes - 8)
        return low, high | uint64(num_bytes) << uint64(56)
    low = uint64(num_bytes) * C1
    high = C2
    last = i + num_bytes - 8
    while i < last:
        word = load_u64(buffer_N, i)
        low = mix_multiply(low ^ word, C1)
        high = mix_multiply(high ^ word, C3)
        i += 8
    word = load_u64(buffer_N, last)
    low = mix_multiply(low ^ word, C1)
    high = mix_multiply(high ^ word, C3)
    return low, high >> uint64(8) | uint64(0xFF) << uint64(56)


@inlined
def hash_key(low, high):
    """Where a piece's search begins, in the low bits; the memo takes the high ones."""
    return mix_multiply(low ^ C2, high ^ C1)


@leaf
def find_key(low, high, buffer_N, i, num_bytes, slots, blob, token_starts):
    """Id of the token that is exactly `buffer_N[i:i + num_bytes]`, whose key is (low, high), or -1."""
    mask = uint64(len(slots) // SLOT_WORDS - 1)
    p = hash_key(low, high) & mask
    while True:
        at = p * uint64(SLOT_WORDS)
        slot_high = slots[at + uint64(1)]
        if slot_high == uint64(0):
            return -1
        if slot_high == high and slots[at] == low:
            token = int64(slots[at + uint64(2)])
            if num_bytes <= KEY_BYTES:
                return token
            start = token_starts[token]
            if token_starts[token + 1] - start == num_bytes:
                k = 0
                while k < num_bytes and blob[start + k] == buffer_N[i + k]:
                    k += 1
                if k == num_bytes:
                    return token
        p = (p + uint64(1)) & mask


@leaf
def find_piece(buffer_N, i, num_bytes, slots, blob, token_starts):
    """Id of the token that is exactly `buffer_N[i:i + num_bytes]`, or -1."""
    low, high = piece_key(buffer_N, i, num_bytes)
    return find_key(low, high, buffer_N, i, num_bytes, slots, blob, token_starts)


@leaf
def add_piece(blob, i, num_bytes, token, slots):
    """Put a token that is not in the table yet."""
    low, high = piece_key(blob, i, num_bytes)
    mask = uint64(len(slots) // SLOT_WORDS - 1)
    p = hash_key(low, high) & mask
    while slots[p * uint64(SLOT_WORDS) + uint64(1)] != uint64(0):
        p = (p + uint64(1)) & mask
    at = p * uint64(SLOT_WORDS)
    slots[at] = low
    slots[at + uint64(1)] = high
    slots[at + uint64(2)] = uint64(token)


@leaf
def find_pair(left, right, pairs, pair_bits):
    """Rank of the merge of two adjacent tokens, or NO_RANK.

    Most pairs are not to be merged: one look at `pair_bits`, half a megabyte that stays close to the core, settles
    nine tenths of those.
    """
    key = uint64(left) << uint64(ID_BITS) | uint64(right)
    spread = key * C1
    bit = spread >> PAIR_BIT_SHIFT
    if not (pair_bits[bit >> uint64(6)] >> (bit & uint64(63))) & uint64(1):
        return NO_RANK
    mask = uint64(len(pairs) - 1)
    p = (spread >> uint64(24)) & mask
    while True:
        entry = pairs[p]
        if entry == NO_PAIR:
            return NO_RANK
        if entry >> uint64(ID_BITS) == key:
            return uint32(entry & ID_MASK)
        p = (p + uint64(1)) & mask


@leaf
def add_pair(left, right, rank, pairs, pair_bits):
    """Put a merge; a pair that is there already gets the new rank."""
    key = uint64(left) << uint64(ID_BITS) | uint64(right)
    spread = key * C1
    bit = spread >> PAIR_BIT_SHIFT
    pair_bits[bit >> uint64(6)] |= uint64(1) << (bit & uint64(63))
    mask = uint64(len(pairs) - 1)
    p = (spread >> uint64(24)) & mask
    while pairs[p] != NO_PAIR and pairs[p] >> uint64(ID_BITS) != key:
        p = (p + uint64(1)) & mask
    pairs[p] = key << uint64(ID_BITS) | uint64(rank)


# ---------------------------------------------------------------------------------------------------- merging


@inlined
def entry_of(rank, position):
    """Rank and position of a pair in one number that sorts as the pairs are merged."""
    return NO_RANK if rank == NO_RANK else rank << POSITION_BITS | uint32(position)


@leaf
def merge_scanning(symbols, n, scratch, pairs, pair_bits, merged_ids):
    """Merge `symbols[:n]` in place, lowest rank first, leftmost among equals; returns how many are left.

    Row 0 of `scratch` holds the pairs, rank and position in one number, whose smallest is the next merge; a pair
    that is not to be merged, or whose left symbol is gone, is NO_RANK. Rows 1 and 2 link the symbols that are left.
    """
    entries, before, after = scratch[0], scratch[1], scratch[2]
    padded = (n + 15) & ~15
    while True:
        best = NO_RANK
        for k in range(0, padded, 16):
            best = min(best, smallest_of_16(entries, k))
        if best == NO_RANK:
            break
        at = int64(best & POSITION_MASK)
        gone = int64(after[at])
        following = int64(after[gone])
        symbols[at] = merged_ids[best >> POSITION_BITS]
        after[at] = following
        entries[gone] = NO_RANK
        entries[at] = NO_RANK
        if following < n:
            before[following] = at
            entries[at] = entry_of(find_pair(symbols[at], symbols[following], pairs, pair_bits), at)
        if at > 0:
            left = int64(before[at])
            entries[left] = entry_of(find_pair(symbols[left], symbols[at], pairs, pair_bits), left)
    num_left = 0
    at = 0
    while at < n:
        symbols[num_left] = symbols[at]
        num_left += 1
        at = int64(after[at])
    return num_left


@leaf
def sift_down(heap, at, size):
    """Move the entry at `at` down to its place in a binary min-heap."""
    entry = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = entry


@leaf
def push(heap, size, entry):
    """Put `entry` into a min-heap of `size` entries; returns the new size."""
    at = size
    while at > 0 and heap[(at - 1) // 2] > entry:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = entry
    return size + 1


@kernel
def merge_with_heap(symbols, n, pairs, pair_bits, merged_ids):
    """As `merge_scanning`, for long pieces: a heap of (rank, position), stale entries skipped when they come up.

    An entry is stale when the pair at its position has another rank by now, or its left symbol is gone.
    """
    before = np.arange(-1, n - 1).astype(np.int32)
    after = np.arange(1, n + 1).astype(np.int32)
    ranks = np.empty(n, np.uint32)
    heap = np.empty(2 * n, np.uint64)
    size = 0
    ranks[n - 1] = NO_RANK
    for k in range(n - 1):
        ranks[k] = find_pair(symbols[k], symbols[k + 1], pairs, pair_bits)
        if ranks[k] != NO_RANK:
            heap[size] = uint64(ranks[k]) << uint64(32) | uint64(k)
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        sift_down(heap, at, size)
    while size > 0:
        entry = heap[0]
        size -= 1
        heap[0] = heap[size]
        sift_down(heap, 0, size)
        at = int64(entry & uint64(0xFFFFFFFF))
        rank = uint32(entry >> uint64(32))
        if ranks[at] != rank:
            continue
        symbols[at] = merged_ids[rank]
        gone = after[at]
        ranks[gone] = NO_RANK
        after[at] = after[gone]
        if after[at] < n:
            before[after[at]] = at
            ranks[at] = find_pair(symbols[at], symbols[after[at]], pairs, pair_bits)
            if ranks[at] != NO_RANK:
                size = push(heap, size, uint64(ranks[at]) << uint64(32) | uint64(at))
        else:
            ranks[at] = NO_RANK
        left = before[at]
        if left >= 0:
            ranks[left] = find_pair(symbols[left], symbols[at], pairs, pair_bits)
            if ranks[left] != NO_RANK:
                size = push(heap, size, uint64(ranks[left]) << uint64(32) | uint64(left))
    num_left = 0
    at = 0
    while at < n:
        symbols[num_left] = symbols[at]
        num_left += 1
        at = after[at]
    return num_left


@kernel
def merge_piece(buffer_N, i, num_bytes, symbols, scratch, byte_ids, byte_ranks, pairs, pair_bits, merged_ids):
    """Tokens of one piece into `symbols`, which has room for its bytes; returns how many.

    `scratch` (uint32, 3 rows of SCAN_BYTES) is used up to SCAN_BYTES.
    """
    for k in range(num_bytes):
        symbols[k] = byte_ids[buffer_N[i + k]]
    if num_bytes <= SCAN_BYTES:
        for k in range(num_bytes):
            scratch[1, k] = k - 1
            scratch[2, k] = k + 1
        for k in range(num_bytes - 1):
            scratch[0, k] = entry_of(byte_ranks[int64(buffer_N[i + k]) << 8 | buffer_N[i + k + 1]], k)
        for k in range(num_bytes - 1, (num_bytes + 15) & ~15):
            scratch[0, k] = NO_RANK
        return merge_scanning(symbols, num_bytes, scratch, pairs, pair_bits, merged_ids)
    return merge_with_heap(symbols, num_bytes, pairs, pair_bits, merged_ids)


# ---------------------------------------------------------------------------------------------------- the whole


@kernel
def encode_documents(
    buffer_N,
    starts_B,
    ends_B,
    pattern,
    extra,
    classes,
    slots,
    blob,
    token_starts,
    byte_ids,
    byte_ranks,
    pairs,
    pair_bits,
    merged_ids,
    memo,
    tokens_T,
):
    """Encode B documents one behind the other into `tokens_T`; returns offsets_B1.

    `tokens_T` (uint32) needs room for as many tokens as the documents have bytes, and two more each.
    `extra` = (added to every id of the vocabulary, BOS or -1, EOS or -1). `memo` (uint64, MEMO_LINES lines, zeros at
    first) remembers how pieces merged; it may be forgotten at any time and must not be shared by threads.
    """
    shift, bos, eos = extra
    scratch = np.empty((3, SCAN_BYTES), np.uint32)
    offsets_B1 = np.zeros(len(starts_B) + 1, np.int64)
    line_mask = uint64(len(memo) // LINE_WORDS - 1)
    n = 0
    for b in range(len(starts_B)):
        i = starts_B[b]
        end = ends_B[b]
        if bos >= 0:
            tokens_T[n] = bos
            n += 1
        while i < end:
            stop = piece_end(buffer_N, i, end, classes, pattern)
            num_bytes = stop - i
            low, high = piece_key(buffer_N, i, num_bytes)
            token = find_key(low, high, buffer_N, i, num_bytes, slots, blob, token_starts)
            if token >= 0:
                tokens_T[n] = token + shift
                n += 1
                i = stop
                continue
            line = int64(((hash_key(low, high) >> uint64(32)) & line_mask) * uint64(LINE_WORDS))
            remembered = num_bytes <= MEMO_BYTES
            if remembered:
                word_0 = load_u64(buffer_N, i) & low_bytes(num_bytes)
                word_1 = load_u64(buffer_N, i + 8) & low_bytes(num_bytes - 8)
                word_2 = load_u64(buffer_N, i + 16) & low_bytes(num_bytes - 16)
                word_3 = load_u64(buffer_N, i + 24) & low_bytes(num_bytes - 24) | uint64(num_bytes) << uint64(56)
                remembered = (
                    memo[line] == word_0
                    and memo[line + 1] == word_1
                    and memo[line + 2] == word_2
                    and memo[line + 3] == word_3
                )
            if remembered:
                num = int64(memo[line + 4] >> uint64(32))
                tokens_T[n] = (memo[line + 4] & uint64(0xFFFFFFFF)) + uint64(shift)
                for k in range(1, num):
                    half = uint64(32 * (k & 1))
                    tokens_T[n + k] = ((memo[line + 4 + (k + 1) // 2] >> half) & uint64(0xFFFFFFFF)) + uint64(shift)
            else:
                symbols = tokens_T[n:]
                num = merge_piece(
                    buffer_N, i, num_bytes, symbols, scratch, byte_ids, byte_ranks, pairs, pair_bits, merged_ids
                )
                if num_bytes <= MEMO_BYTES and num <= MEMO_TOKENS:
                    memo[line] = word_0
                    memo[line + 1] = word_1
                    memo[line + 2] = word_2
                    memo[line + 3] = word_3
                    memo[line + 4] = uint64(symbols[0]) | uint64(num) << uint64(32)
                    memo[line + 5] = memo[line + 6] = memo[line + 7] = uint64(0)
                    for k in range(1, num):
                        memo[line + 4 + (k + 1) // 2] |= uint64(symbols[k]) << uint64(32 * (k & 1))
                for k in range(n, n + num):
                    tokens_T[k] += shift
            n += num
            i = stop
        if eos >= 0:
            tokens_T[n] = eos
            n += 1
        offsets_B1[b + 1] = n
    return offsets_B1


# ---------------------------------------------------------------------------------------------------- building


@kernel
def build_pieces(blob, token_starts, slots):
    """Fill the piece table with every token."""
    for token in range(len(token_starts) - 1):
        num_bytes = token_starts[token + 1] - token_starts[token]
        if num_bytes > 0:
            add_piece(blob, token_starts[token], num_bytes, token, slots)


@kernel
def build_merged_pieces(blob, token_starts, slots, byte_ids, byte_ranks, pairs, pair_bits, merged_ids):
    """Fill the piece table with the tokens that the merges make of their own bytes."""
    longest = 0
    for token in range(len(token_starts) - 1):
        longest = max(longest, token_starts[token + 1] - token_starts[token])
    symbols = np.empty(longest, np.uint32)
    scratch = np.empty((3, SCAN_BYTES), np.uint32)
    for token in range(len(token_starts) - 1):
        start = token_starts[token]
        num_bytes = token_starts[token + 1] - start
        if num_bytes > 0:
            num = merge_piece(
                blob, start, num_bytes, symbols, scratch, byte_ids, byte_ranks, pairs, pair_bits, merged_ids
            )
            if num == 1 and symbols[0] == token:
                add_piece(blob, start, num_bytes, token, slots)


@kernel
def find_cuts(blob, token_starts, slots):
    """Every way to cut a token into two tokens: (lefts_M, rights_M, ranks_M); ranks are ids, as tiktoken has it."""
    room = len(blob)
    lefts_M, rights_M, ranks_M = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    n = 0
    for token in range(len(token_starts) - 1):
        start = token_starts[token]
        num_bytes = token_starts[token + 1] - start
        for cut in range(1, num_bytes):
            left = find_piece(blob, start, cut, slots, blob, token_starts)
            if left >= 0:
                right = find_piece(blob, start + cut, num_bytes - cut, slots, blob, token_starts)
                if right >= 0:
                    lefts_M[n] = left
                    rights_M[n] = right
                    ranks_M[n] = token
                    n += 1
    return lefts_M[:n].copy(), rights_M[:n].copy(), ranks_M[:n].copy()


@kernel
def build_pairs(lefts_M, rights_M, ranks_M, pairs, pair_bits):
    """Fill the table of pairs with merges, in order."""
    for m in range(len(ranks_M)):
        add_pair(lefts_M[m], rights_M[m], ranks_M[m], pairs, pair_bits)


@kernel
def build_byte_ranks(byte_ids, pairs, pair_bits):
    """Ranks of the pairs of single bytes, by first << 8 | second: where every merge begins."""
    byte_ranks = np.empty(1 << 16, np.uint32)
    for pair in range(1 << 16):
        byte_ranks[pair] = find_pair(byte_ids[pair >> 8], byte_ids[pair & 255], pairs, pair_bits)
    return byte_ranks
