"""Deficit scheduling: which buffered document goes out next, so that every cluster gets its fair share of tokens.

Documents wait in one bounded buffer a *flow*; a flow is one cluster within one group of sources. For each document
that comes in:

1. It joins the buffer of its flow. A full buffer gives up its most used document, and among equals the one with the
   highest chance number: what stays is a uniform sample of what came (reservoir by hash).
2. The output is owed `ratio` x its tokens more.
3. While anything is owed: among the groups that have a document ready, the one with the least service; within it
   the flow with the least service; within that the least used document, the oldest among equals. Service is tokens
   divided by weight, so the argmin is max-min fair (start-time fair queuing, Goyal, Vin & Cheng, 1996). A document
   is ready if it was never used or was last used at least `gap` emissions ago.

A flow or group that is heard of for the first time starts at the *level*: the highest service at which anyone was
ever chosen, which is what those with a backlog have reached. It neither catches up with the past nor waits.

Service fades with a half-life in emitted tokens. Only ratios matter, so instead of shrinking what was, what comes is
scaled up by 2^(emitted / half-life); after 64 half-lives everything is scaled back by an exact power of two.

Cost: O(flows + buffer) an emission, O(buffer) an eviction, both plain scans over small records.
Legend: B documents, F flows, G groups, W slots of a buffer.
"""

import numpy as np
from numba import njit

FLOW = np.dtype(
    [
        ("cluster", "<i8"),
        ("group", "<i8"),
        ("weight", "<f8"),
        ("served", "<f8"),  # emitted tokens over weight, scaled up
        ("arrived", "<f8"),  # tokens that came in, scaled up
        ("born", "<i8"),  # 0 until its first document
        ("count", "<i8"),  # documents in the buffer
        ("ready_at", "<i8"),  # first emission for which one of them is ready
    ]
)
GROUP = np.dtype([("weight", "<f8"), ("served", "<f8"), ("level", "<f8"), ("born", "<i8")])
HELD = np.dtype(
    [
        ("doc_no", "<i8"),
        ("order", "<i8"),  # of arrival
        ("chance", "<u8"),
        ("num_tokens", "<i8"),
        ("uses", "<i8"),
        ("used_at", "<i8"),  # emission that used it last
    ]
)
CLOCK = np.dtype(
    [
        ("due", "<f8"),  # tokens owed to the output
        ("emitted_tokens", "<i8"),
        ("emissions", "<i8"),
        ("arrivals", "<i8"),
        ("scale_origin", "<f8"),  # emitted tokens at which the scale was 1
        ("level", "<f8"),  # among groups
        ("arrived", "<f8"),  # of all flows
    ]
)

NEVER = np.int64(1) << 62
RESCALE_HALF_LIVES = 64
LEAST_SIZE = 1e-6  # of a flow, relative to the mean: no weight is 0


@njit(cache=True, nogil=True, boundscheck=False)
def ready_at(held_W, count, max_uses, gap):
    """The first emission for which one of the first `count` documents is ready."""
    first = NEVER
    for i in range(count):
        document = held_W[i]
        if document.uses == 0:
            return 0
        if document.uses < max_uses:
            first = min(first, document.used_at + gap)
    return first


@njit(cache=True, nogil=True, boundscheck=False)
def most_used(held_W, count):
    """The slot of the document to give up."""
    worst = 0
    for i in range(1, count):
        a, b = held_W[i], held_W[worst]
        if a.uses != b.uses:
            if a.uses > b.uses:
                worst = i
        elif a.chance > b.chance or (a.chance == b.chance and a.order > b.order):
            worst = i
    return worst


@njit(cache=True, nogil=True, boundscheck=False)
def least_used(held_W, count, max_uses, gap, emission):
    """The slot of the document to emit among those that are ready; -1 if none is."""
    best = -1
    for i in range(count):
        a = held_W[i]
        if a.uses >= max_uses or (a.uses > 0 and a.used_at + gap > emission):
            continue
        if best < 0 or a.uses < held_W[best].uses or (a.uses == held_W[best].uses and a.order < held_W[best].order):
            best = i
    return best


@njit(cache=True, nogil=True, boundscheck=False)
def take(flow, held_W, slot):
    """Remove a document from its buffer; the last one moves into its slot."""
    flow.count -= 1
    if slot != flow.count:
        held_W[slot] = held_W[flow.count]


@njit(cache=True, nogil=True, boundscheck=False)
def choose(flows_F, groups_G, emission, best_G):
    """The flow that has had the least among those with a document ready; -1 if there is none.

    `best_G` is scratch. Ties go to the lower group, then to the lower cluster.
    """
    best_G[:] = -1
    for f in range(len(flows_F)):
        flow = flows_F[f]
        if flow.count == 0 or flow.ready_at > emission:
            continue
        best = best_G[flow.group]
        if (
            best < 0
            or flow.served < flows_F[best].served
            or (flow.served == flows_F[best].served and flow.cluster < flows_F[best].cluster)
        ):
            best_G[flow.group] = f
    chosen = -1
    for g in range(len(groups_G)):
        if best_G[g] >= 0 and (chosen < 0 or groups_G[g].served < groups_G[flows_F[chosen].group].served):
            chosen = best_G[g]
    return chosen


@njit(cache=True, nogil=True, boundscheck=False)
def size_exponent(schedule, schedule_tokens, size_power, emitted_tokens):
    """The power of the arrived tokens by which weights are multiplied: `size_power` with a `schedule` of 0, from 0 to 1
    within `schedule_tokens` with 1, and the reverse with -1."""
    if schedule == 0:
        return size_power
    exponent = min(1.0, emitted_tokens / schedule_tokens)
    return 1.0 - exponent if schedule < 0 else exponent


@njit(cache=True, nogil=True, boundscheck=False)
def balance(
    flow_B,
    doc_nos_B,
    chances_B,
    num_tokens_B,
    flows_F,
    groups_G,
    held_FW,
    clock_1,
    ratio,
    max_uses,
    capacity,
    gap,
    half_life,
    schedule,
    schedule_tokens,
    size_power,
    emitted_X2,
    evicted_X,
    finished_X,
):
    """Push documents one after the other and emit what is owed; returns how many were emitted, evicted, finished.

    Buffers have at least one slot more than `capacity` and than any flow's count. Weights are multiplied by a power of
    the arrived tokens (`size_exponent`). Evicted documents were never emitted; finished ones were, and will not come
    again.
    """
    clock = clock_1[0]
    best_G = np.empty(len(groups_G), np.int64)
    num_emitted = num_evicted = num_finished = 0
    num_born = 0
    backlog = 0  # tokens that the buffers can still give
    for f in range(len(flows_F)):
        num_born += flows_F[f].born
        for i in range(flows_F[f].count):
            document = held_FW[f, i]
            backlog += max(0, max_uses - document.uses) * document.num_tokens
    for b in range(len(flow_B)):
        flow, held_W = flows_F[flow_B[b]], held_FW[flow_B[b]]
        group = groups_G[flow.group]
        if group.born == 0:
            group.born = 1
            group.served = clock.level
        if flow.born == 0:
            flow.born = 1
            flow.served = group.level
            num_born += 1
        scale = 2.0 ** ((clock.emitted_tokens - clock.scale_origin) / half_life)
        flow.arrived += num_tokens_B[b] * scale
        clock.arrived += num_tokens_B[b] * scale

        document = held_W[flow.count]
        document.doc_no = doc_nos_B[b]
        document.order = clock.arrivals
        document.chance = chances_B[b]
        document.num_tokens = num_tokens_B[b]
        document.uses = 0
        document.used_at = 0
        clock.arrivals += 1
        flow.count += 1
        flow.ready_at = 0
        backlog += max_uses * num_tokens_B[b]
        if flow.count > capacity:
            while flow.count > capacity:
                slot = most_used(held_W, flow.count)
                backlog -= max(0, max_uses - held_W[slot].uses) * held_W[slot].num_tokens
                if held_W[slot].uses == 0:
                    evicted_X[num_evicted] = held_W[slot].doc_no
                    num_evicted += 1
                else:
                    finished_X[num_finished] = held_W[slot].doc_no
                    num_finished += 1
                take(flow, held_W, slot)
            flow.ready_at = ready_at(held_W, flow.count, max_uses, gap)

        clock.due += ratio * num_tokens_B[b]
        while clock.due > 0.0:
            chosen = choose(flows_F, groups_G, clock.emissions, best_G)
            if chosen < 0:
                # A debt that nothing held could ever pay is forgiven.
                clock.due = min(clock.due, float(backlog))
                break
            flow, held_W = flows_F[chosen], held_FW[chosen]
            group = groups_G[flow.group]
            slot = least_used(held_W, flow.count, max_uses, gap, clock.emissions)
            document = held_W[slot]
            emitted_X2[num_emitted, 0] = document.doc_no
            emitted_X2[num_emitted, 1] = document.uses
            num_emitted += 1
            num_tokens = document.num_tokens
            document.uses += 1
            document.used_at = clock.emissions
            if document.uses == max_uses:
                finished_X[num_finished] = document.doc_no
                num_finished += 1
                take(flow, held_W, slot)
            flow.ready_at = ready_at(held_W, flow.count, max_uses, gap)

            weight = flow.weight
            exponent = size_exponent(schedule, schedule_tokens, size_power, clock.emitted_tokens)
            if exponent != 0.0:
                size = max(flow.arrived * num_born / clock.arrived, LEAST_SIZE)
                weight *= size**exponent
            scale = 2.0 ** ((clock.emitted_tokens - clock.scale_origin) / half_life)
            group.level = max(group.level, flow.served)
            flow.served += num_tokens * scale / weight
            clock.level = max(clock.level, group.served)
            group.served += num_tokens * scale / group.weight
            clock.emissions += 1
            clock.emitted_tokens += num_tokens
            clock.due -= num_tokens
            backlog -= num_tokens

            if clock.emitted_tokens - clock.scale_origin >= RESCALE_HALF_LIVES * half_life:
                shrink = 2.0**-RESCALE_HALF_LIVES
                clock.scale_origin += RESCALE_HALF_LIVES * half_life
                clock.level *= shrink
                clock.arrived *= shrink
                for f in range(len(flows_F)):
                    flows_F[f].served *= shrink
                    flows_F[f].arrived *= shrink
                for g in range(len(groups_G)):
                    groups_G[g].served *= shrink
                    groups_G[g].level *= shrink
    return num_emitted, num_evicted, num_finished
