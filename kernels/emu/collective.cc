#include "kernels/emu/collective.h"

#include <stdio.h>
#include <string.h>

#include "kernels/emu/stream.h"

size_t collective_value_bytes(ncclDataType_t type)
{
    static const size_t bytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
    return (size_t)type < sizeof bytes / sizeof *bytes ? bytes[type] : 0;
}

static void describe(const struct collective *c, char *out, size_t n)
{
    static const char *const types[] = {"int8",   "uint8",   "int32",   "uint32",  "int64",
                                        "uint64", "float16", "float32", "float64", "bfloat16"};
    static const char *const ops[] = {"sum", "product", "maximum", "minimum", "mean"};
    if (c->kind == COLLECTIVE_ALL_REDUCE) {
        snprintf(out, n, "ncclAllReduce(%zu x %s, %s)", c->count, types[c->type], ops[c->op]);
    } else if (c->kind == COLLECTIVE_ALL_GATHER) {
        snprintf(out, n, "ncclAllGather(%zu x %s)", c->count, types[c->type]);
    } else {
        snprintf(out, n, "ncclBroadcast(%zu x %s, root %d)", c->count, types[c->type], c->root);
    }
}

void collective_explain(const struct collective *c, char *out, size_t n)
{
    char call[96];
    const std::vector<struct member> &members = c->clique->members;
    describe(c, call, sizeof call);
    for (size_t i = 0; i < members.size(); i++) {
        if (!members[i].waiting) {
            snprintf(out, n, "rank %d of %zu waits in %s for rank %zu, which %s", c->rank, members.size(),
                     call, i, members[i].is_aborted ? "has aborted" : "has not come");
            return;
        }
    }
    snprintf(out, n, "%s of %zu ranks does not end", call, members.size());
}

/* --- what may be asked ---------------------------------------------------------------------------------- */

static bool agree(const struct collective *a, const struct collective *b)
{
    return a->kind == b->kind && a->count == b->count && a->type == b->type &&
           (a->kind != COLLECTIVE_ALL_REDUCE || a->op == b->op) &&
           (a->kind != COLLECTIVE_BROADCAST || a->root == b->root);
}

static bool all_agree(const struct collective *c)
{
    for (const struct member &m : c->clique->members) {
        if (m.waiting && !agree(m.waiting.get(), c)) {
            char mine[96];
            char other[96];
            describe(c, mine, sizeof mine);
            describe(m.waiting.get(), other, sizeof other);
            emu_note(cudaErrorLaunchFailure, "ranks call different collectives: rank %d %s, rank %d %s",
                     m.waiting->rank, other, c->rank, mine);
            return false;
        }
    }
    return true;
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t x = reinterpret_cast<uintptr_t>(a);
    uintptr_t y = reinterpret_cast<uintptr_t>(b);
    return x < y + b_bytes && y < x + a_bytes;
}

/* NULL: the memory of this rank may be used so. */
static const char *buffer_fault(const struct collective *c)
{
    size_t bytes = c->count * collective_value_bytes(c->type);
    size_t received = c->kind == COLLECTIVE_ALL_GATHER ? bytes * c->clique->members.size() : bytes;
    int device = c->clique->members[(size_t)c->rank].device;
    const char *place = static_cast<const char *>(c->receive) +
                        (c->kind == COLLECTIVE_ALL_GATHER ? (size_t)c->rank * bytes : 0);
    if (!device_memory_has(reinterpret_cast<uintptr_t>(c->send)) ||
        !device_memory_has(reinterpret_cast<uintptr_t>(c->receive))) {
        return "host memory";
    }
    if (c->send != place && overlap(c->send, bytes, c->receive, received)) {
        return "overlapping memory";
    }
    const char *wrong = device_memory_fault(c->send, bytes, device);
    return wrong ? wrong : device_memory_fault(c->receive, received, device);
}

static bool buffers_are_fine(const struct collective *c)
{
    const char *wrong = c->count ? buffer_fault(c) : NULL;
    if (wrong) {
        char call[96];
        describe(c, call, sizeof call);
        emu_note(cudaErrorIllegalAddress, "rank %d: %s: %s", c->rank, call, wrong);
    }
    return !wrong;
}

/* --- the work --------------------------------------------------------------------------------------------- */

static float reduced(ncclRedOp_t op, float a, float b)
{
    return op == ncclMax ? (b > a ? b : a) : a + b;
}

/* In the order of the ranks, once, so that all have the same bits. */
static void all_reduce(const std::vector<struct member> &members, size_t count, ncclRedOp_t op)
{
    for (size_t i = 0; i < count; i++) {
        float all = static_cast<const float *>(members[0].waiting->send)[i];
        for (size_t r = 1; r < members.size(); r++) {
            all = reduced(op, all, static_cast<const float *>(members[r].waiting->send)[i]);
        }
        for (const struct member &m : members) {
            static_cast<float *>(m.waiting->receive)[i] = all;
        }
    }
}

static void all_gather(const std::vector<struct member> &members, size_t bytes)
{
    std::vector<char> all(bytes * members.size());
    for (size_t r = 0; r < members.size(); r++) {
        memcpy(all.data() + r * bytes, members[r].waiting->send, bytes);
    }
    for (const struct member &m : members) {
        memcpy(m.waiting->receive, all.data(), all.size());
    }
}

static void broadcast(const std::vector<struct member> &members, size_t bytes, int root)
{
    const void *from = members[(size_t)root].waiting->send;
    for (const struct member &m : members) {
        if (m.waiting->receive != from) {
            memcpy(m.waiting->receive, from, bytes);
        }
    }
}

static void work(struct clique *k, const struct collective *c)
{
    size_t bytes = c->count * collective_value_bytes(c->type);
    if (c->count == 0) {
        /* nothing is moved */
    } else if (c->kind == COLLECTIVE_ALL_REDUCE) {
        all_reduce(k->members, c->count, c->op);
    } else if (c->kind == COLLECTIVE_ALL_GATHER) {
        all_gather(k->members, bytes);
    } else {
        broadcast(k->members, bytes, c->root);
    }
    for (struct member &m : k->members) {
        m.waiting.reset();
        m.is_done = true;
    }
}

static bool all_wait(const struct clique *k)
{
    for (const struct member &m : k->members) {
        if (!m.waiting || m.is_aborted || m.error != ncclSuccess) {
            return false;
        }
    }
    return true;
}

bool collective_step(const std::shared_ptr<const struct collective> &c)
{
    struct clique *k = c->clique.get();
    struct member *m = &k->members[(size_t)c->rank];
    if (m->is_aborted) {
        m->waiting.reset();
        return true;
    }
    if (!m->waiting && !m->is_done) {
        if (!buffers_are_fine(c.get()) || !all_agree(c.get())) {
            return true;
        }
        m->waiting = c;
        enum emu_failure failure = all_wait(k) ? emu_collective_fails() : EMU_NO_FAILURE;
        if (failure == EMU_COLLECTIVE_FAILS) {
            for (struct member &each : k->members) {
                each.error = ncclRemoteError;
            }
        } else if (failure == EMU_NO_FAILURE && all_wait(k)) {
            work(k, c.get());
        }
    }
    if (!m->is_done) {
        return false;
    }
    m->is_done = false;
    return true;
}
