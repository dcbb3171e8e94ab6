"""A document's vector as the sum of its tokens' rows: the inference and the training of a bag of tokens.

Inference: for each of the first T tokens, look up the token's row (int8) and add it to D int16, of which COLUMNS at a
time stay in vector registers; every 256 rows, before an int16 can overflow, they move into an accumulator of int32; at
the end scale to length 1. Whole numbers are exact in any order of summation, so a vector depends on the document alone,
not on the vector width of the machine. The scale of the table cancels. Cost: one random row of D bytes a token. Rows
are asked for long before their turn, more of them than a processor has under way by itself, which halves the time where
the table (10 MB and more) is not in the first caches: 6 to 13 us for 512 tokens of 384 dimensions.

Training: minibatches of documents; each token is kept with a small probability, the rows of the kept ones are summed,
u = v/|v|, loss = 1 - u.t for the teacher's vector t. The gradient with respect to every kept row is the same,
((u.t)u - t)/|v|, so it is computed once a document and added to the rows it touches; then Adam (Kingma & Ba, 2015)
moves those rows only, and their moments stay as they are while untouched ("sparse Adam"). Cost: ~0.3 us a kept token.
One thread, fixed order: equal inputs give equal bits on one machine.
"""

# numba types an intrinsic without the context argument that it adds itself.
# mypy: disable-error-code="call-arg"

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from kernels.addresses import fetch_line
from kernels.simd import I32, I64, element_pointer, load_block

LANES = 64
COLUMNS = 192  # half a row of 384, a quarter of 768: 6 vector registers of 64 bytes
INT16_64 = ir.VectorType(ir.IntType(16), LANES)
INT32_64 = ir.VectorType(I32, LANES)

# Rows that an int16 takes without overflow: 256 * 127 < 2**15.
MAX_INT16_ROWS = 256
# Rows between the one that is asked for and the one that is added: three cache lines of each are on their way.
AHEAD = 32

FIRST_DECAY = np.float32(0.9)
SECOND_DECAY = np.float32(0.999)


@intrinsic
def _add_rows(typing_context, table, starts, first, last, column, sums):
    """sums[:COLUMNS] += table[starts[k] + column:][:COLUMNS] for k in first..last - 1, int8 into int32.

    At least one row and at most MAX_INT16_ROWS: the sums of the rows stay in vector registers, of int16. Rows are asked
    for up to `starts[last + AHEAD - 1]`, wherever that leads.
    """

    def codegen(context, builder, signature, args):
        def block_of(k):
            start = builder.load(element_pointer(context, builder, signature.args[1], args[1], k))
            place = builder.add(start, args[4])
            return [
                builder.sext(
                    load_block(context, builder, signature.args[0], args[0], builder.add(place, ir.Constant(I64, d))),
                    INT16_64,
                )
                for d in range(0, COLUMNS, LANES)
            ]

        def ask_for(k):
            start = builder.load(element_pointer(context, builder, signature.args[1], args[1], k))
            for d in range(0, COLUMNS, LANES):
                place = builder.add(builder.add(start, args[4]), ir.Constant(I64, d))
                pointer = element_pointer(context, builder, signature.args[0], args[0], place)
                fetch_line(builder, pointer)

        before, loop = builder.block, builder.append_basic_block("row")
        after = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(I64)
        totals = [builder.phi(INT16_64) for _ in range(0, COLUMNS, LANES)]
        ask_for(builder.add(k, ir.Constant(I64, AHEAD)))
        added = [builder.add(total, addend) for total, addend in zip(totals, block_of(k), strict=True)]
        following = builder.add(k, ir.Constant(I64, 1))
        k.add_incoming(args[2], before)
        k.add_incoming(following, loop)
        for total, sum_ in zip(totals, added, strict=True):
            total.add_incoming(ir.Constant(INT16_64, [0] * LANES), before)
            total.add_incoming(sum_, loop)
        builder.cbranch(builder.icmp_signed("<", following, args[3]), loop, after)

        builder.position_at_end(after)
        for number, sum_ in enumerate(added):
            place = builder.add(args[4], ir.Constant(I64, LANES * number))
            target = element_pointer(context, builder, signature.args[5], args[5], place)
            pointer = builder.bitcast(target, INT32_64.as_pointer())
            total = builder.load(pointer)
            total.align = 4
            store = builder.store(builder.add(total, builder.sext(sum_, INT32_64)), pointer)
            store.align = 4
        return context.get_dummy_value()

    return types.void(table, starts, types.int64, types.int64, types.int64, sums), codegen


@njit(cache=True, nogil=True, boundscheck=False)
def embed_bags(tokens_T, offsets_B1, max_tokens, rows_V, table_N, width, embeddings_BD):
    """Write the unit vector of each document into `embeddings_BD`.

    `rows_V` gives a token's row, -1 for none; row r is `table_N[r * width:]`, and `width` is D rounded up to
    COLUMNS, filled with zeros. A sum of zero has no direction: the first axis.
    """
    num_ids = rows_V.shape[0]
    dimension = embeddings_BD.shape[1]
    sum_D = np.zeros(width, np.int32)
    starts = np.zeros(max_tokens + AHEAD, np.int64)
    for b in range(embeddings_BD.shape[0]):
        num_known = 0
        for i in range(offsets_B1[b], min(offsets_B1[b + 1], offsets_B1[b] + max_tokens)):
            token = tokens_T[i]
            if token < num_ids and rows_V[token] >= 0:
                starts[num_known] = np.int64(rows_V[token]) * width
                num_known += 1
        sum_D[:] = 0
        for first in range(0, num_known, MAX_INT16_ROWS):
            last = min(num_known, first + MAX_INT16_ROWS)
            for column in range(0, width, COLUMNS):
                _add_rows(table_N, starts, first, last, column, sum_D)
        square = np.int64(0)
        for d in range(dimension):
            square += np.int64(sum_D[d]) * np.int64(sum_D[d])
        if square == 0:
            embeddings_BD[b] = 0.0
            embeddings_BD[b, 0] = 1.0
        else:
            inverse = 1.0 / np.sqrt(np.float64(square))
            for d in range(dimension):
                embeddings_BD[b, d] = np.float32(sum_D[d] * inverse)


@njit(cache=True, nogil=True, boundscheck=False)
def start_table(rows_T, offsets_S1, targets_SD, table_RD):
    """Start each row at the mean of the teacher's vectors of the documents that hold the token, weighted by its idf."""
    num_rows, dimension = table_RD.shape
    last_document_R = np.full(num_rows, -1, np.int64)
    num_documents_R = np.zeros(num_rows, np.int64)
    num_documents = targets_SD.shape[0]
    for s in range(num_documents):
        for i in range(offsets_S1[s], offsets_S1[s + 1]):
            row = rows_T[i]
            if last_document_R[row] != s:
                last_document_R[row] = s
                num_documents_R[row] += 1
                for d in range(dimension):
                    table_RD[row, d] += targets_SD[s, d]
    for row in range(num_rows):
        if num_documents_R[row] > 0:
            idf = np.log((1.0 + num_documents) / num_documents_R[row])
            scale = np.float32(idf / num_documents_R[row])
            for d in range(dimension):
                table_RD[row, d] *= scale


@njit(inline="always")
def _mix(x):
    """splitmix64's finaliser (Steele, Lea & Flood, 2014): 64 well-mixed bits of a counter."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True, boundscheck=False, fastmath={"reassoc", "contract"})
def train_epoch(
    rows_T, offsets_S1, targets_SD, order_S, batch_documents, threshold, rate, key, step, table_RD, first_RD, second_RD
):
    """One pass over the documents in `order_S`; changes the table and Adam's two moments in place, returns the step.

    The token at place i is kept if hash(key, i) < `threshold` (uint64). `step` counts the minibatches so far.
    """
    num_rows, dimension = table_RD.shape
    slot_R = np.full(num_rows, -1, np.int32)
    touched = np.empty(num_rows, np.int32)
    gradients_RD = np.empty((num_rows, dimension), np.float32)
    longest = 0
    for s in range(offsets_S1.shape[0] - 1):
        longest = max(longest, offsets_S1[s + 1] - offsets_S1[s])
    kept = np.empty(longest, np.int32)
    sum_D = np.empty(dimension, np.float32)
    num_documents = order_S.shape[0]
    for first in range(0, num_documents, batch_documents):
        num_touched = 0
        for o in range(first, min(first + batch_documents, num_documents)):
            s = order_S[o]
            num_kept = 0
            sum_D[:] = 0.0
            for i in range(offsets_S1[s], offsets_S1[s + 1]):
                if _mix(key + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15)) < threshold:
                    row = rows_T[i]
                    kept[num_kept] = row
                    num_kept += 1
                    for d in range(dimension):
                        sum_D[d] += table_RD[row, d]
            square = np.float32(0.0)
            agreement = np.float32(0.0)
            for d in range(dimension):
                square += sum_D[d] * sum_D[d]
                agreement += sum_D[d] * targets_SD[s, d]
            if not square > np.float32(1e-20):
                continue
            inverse = np.float32(1.0) / np.sqrt(square)
            cosine = agreement * inverse
            for d in range(dimension):
                sum_D[d] = (cosine * sum_D[d] * inverse - targets_SD[s, d]) * inverse
            for k in range(num_kept):
                row = kept[k]
                slot = slot_R[row]
                if slot < 0:
                    slot = num_touched
                    slot_R[row] = slot
                    touched[slot] = row
                    num_touched += 1
                    for d in range(dimension):
                        gradients_RD[slot, d] = sum_D[d]
                else:
                    for d in range(dimension):
                        gradients_RD[slot, d] += sum_D[d]
        step += 1
        first_correction = np.float32(1.0 / (1.0 - np.float64(FIRST_DECAY) ** step))
        second_correction = np.float32(1.0 / (1.0 - np.float64(SECOND_DECAY) ** step))
        for slot in range(num_touched):
            row = touched[slot]
            slot_R[row] = -1
            for d in range(dimension):
                g = gradients_RD[slot, d]
                m = FIRST_DECAY * first_RD[row, d] + (np.float32(1.0) - FIRST_DECAY) * g
                v = SECOND_DECAY * second_RD[row, d] + (np.float32(1.0) - SECOND_DECAY) * g * g
                first_RD[row, d] = m
                second_RD[row, d] = v
                table_RD[row, d] -= rate * m * first_correction / (np.sqrt(v * second_correction) + np.float32(1e-8))
    return step
