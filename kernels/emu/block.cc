/* Runs a grid: one block after another, in an order drawn by the seed; in a block one fiber a thread.
 *
 * A warp that can go on is drawn, and its lanes run in a drawn order, each until it waits. When none can go on, all
 * must stand at the same barrier; anything else is a barrier that a device would hang at. */
#include <stdarg.h>
#include <stdio.h>

#include "kernels/emu/fiber.h"
#include "kernels/emu/machine.h"

struct block emu_block;
__thread bool block_runs_here;
/* Declared const in device.h: a thread's position never changes while its fiber lives. */
extern "C" struct emu_position emu_position_now __asm__("emu_here");
struct emu_position emu_position_now;

static uint64_t random_state = 1;
static char fault_text[512];
static cudaError fault_error;

void emu_random_seed(uint64_t seed)
{
    random_state = seed * 0x9E3779B97F4A7C15ULL + 1;
}

uint64_t emu_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* --- faults --------------------------------------------------------------------------------------------- */

/* "norm.cu:17", or "its start" */
static const char *place_text(const struct emu_place *place, char *out, size_t n)
{
    const char *slash = place->file ? strrchr(place->file, '/') : NULL;
    if (place->file) {
        snprintf(out, n, "%s:%d", slash ? slash + 1 : place->file, place->line);
        return out;
    }
    return "its start";
}

static void keep_fault(cudaError error, const char *where, const char *fmt, va_list args)
{
    if (fault_error != cudaSuccess) {
        return; /* the first is the cause */
    }
    int n = snprintf(fault_text, sizeof fault_text, "%s", where);
    vsnprintf(fault_text + n, sizeof fault_text - (size_t)n, fmt, args);
    fault_error = error;
}

void emu_fault(cudaError error, const char *fmt, ...)
{
    char where[256];
    char after[64];
    const struct emu_position *p = &emu_block.running->here;
    snprintf(where, sizeof where,
             "kernel %s, block (%u,%u,%u), thread (%u,%u,%u), after %s: ", emu_block.launch->name, p->block.x,
             p->block.y, p->block.z, p->thread.x, p->thread.y, p->thread.z,
             place_text(&emu_block.running->place, after, sizeof after));
    va_list args;
    va_start(args, fmt);
    keep_fault(error, where, fmt, args);
    va_end(args);
    for (;;) {
        fiber_yield(); /* the scheduler sees the fault and resumes nobody */
    }
}

void emu_note(cudaError error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    keep_fault(error, "", fmt, args);
    va_end(args);
}

const char *emu_fault_text(void)
{
    return fault_text;
}

cudaError emu_fault_error(void)
{
    return fault_error;
}

void emu_fault_clear(void)
{
    fault_text[0] = '\0';
    fault_error = cudaSuccess;
}

/* --- one block ------------------------------------------------------------------------------------------- */

static void thread_body(void)
{
    const struct emu_launch *launch = emu_block.launch;
    launch->call(launch->arguments);
    struct thread *t = emu_block.running;
    if (t->async_count) {
        emu_fault(cudaErrorLaunchFailure, "ended with %u cp.async copies that nobody waited for",
                  t->async_count);
    }
}

static void start_thread(uint32_t i, dim3 index)
{
    const struct emu_launch *l = emu_block.launch;
    struct thread *t = &emu_block.threads[i];
    t->state = THREAD_READY;
    t->here = {dim3(i % l->block.x, i / l->block.x % l->block.y, i / (l->block.x * l->block.y)), index,
               l->block, l->grid};
    t->place = {NULL, 0};
    t->warp = i / WARP;
    t->lane = i % WARP;
    t->async_count = 0;
    t->async_group = 0;
    fiber_start(i, thread_body);
}

static void resume(uint32_t i)
{
    struct thread *t = &emu_block.threads[i];
    emu_block.running = t;
    emu_position_now = t->here;
    block_runs_here = true;
    fiber_resume(i);
    block_runs_here = false;
    emu_block.running = NULL;
    if (fiber_has_ended(i)) {
        t->state = THREAD_ENDED;
        emu_block.ended[t->warp] |= 1U << t->lane;
    }
}

static void shuffle(uint32_t *values, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t other = (uint32_t)(emu_random() % i);
        uint32_t v = values[i - 1];
        values[i - 1] = values[other];
        values[other] = v;
    }
}

static bool run_warp(uint32_t warp) /* false: no lane could go on */
{
    uint32_t lanes[WARP];
    uint32_t n = 0;
    for (uint32_t i = warp * WARP; i < (warp + 1) * WARP && i < emu_block.count; i++) {
        if (emu_block.threads[i].state == THREAD_READY) {
            lanes[n++] = i;
        }
    }
    shuffle(lanes, n);
    for (uint32_t i = 0; i < n && !fault_error; i++) {
        resume(lanes[i]);
    }
    return n > 0;
}

static const char *state_name(enum thread_state state)
{
    static const char *const names[] = {"runs", "waits for its warp", "waits at a barrier", "has ended"};
    return names[state];
}

static void note_divergence(const struct thread *a, const struct thread *b)
{
    char place[2][64];
    emu_note(cudaErrorLaunchFailure,
             "kernel %s: divergent barrier: thread %u %s (%s) while thread %u %s (%s)",
             emu_block.launch->name, (unsigned)(a - emu_block.threads), state_name(a->state),
             place_text(&a->place, place[0], sizeof place[0]), (unsigned)(b - emu_block.threads),
             state_name(b->state), place_text(&b->place, place[1], sizeof place[1]));
}

/* Nobody can go on: all stand at one barrier, or the kernel would hang. */
static void release_barrier(void)
{
    const struct thread *first = &emu_block.threads[0];
    for (uint32_t i = 0; i < emu_block.count; i++) {
        const struct thread *t = &emu_block.threads[i];
        if (first->state != THREAD_AT_BLOCK || t->state != THREAD_AT_BLOCK ||
            t->place.line != first->place.line || t->place.file != first->place.file) {
            note_divergence(first, t);
            return;
        }
    }
    emu_block.epoch++;
    for (uint32_t i = 0; i < emu_block.count; i++) {
        emu_block.threads[i].state = THREAD_READY;
    }
}

static bool all_ended(void)
{
    for (uint32_t i = 0; i < emu_block.count; i++) {
        if (emu_block.threads[i].state != THREAD_ENDED) {
            return false;
        }
    }
    return true;
}

static void run_block(dim3 index)
{
    uint32_t warps[WARPS_MAX];
    uint32_t count = (emu_block.count + WARP - 1) / WARP;
    emu_block.first_epoch = ++emu_block.epoch;
    shared_begin_block();
    for (uint32_t i = 0; i < emu_block.count; i++) {
        start_thread(i, index);
    }
    for (uint32_t w = 0; w < count; w++) {
        uint32_t lanes = emu_block.count - w * WARP;
        warps[w] = w;
        emu_block.lanes[w] = lanes < WARP ? (1U << lanes) - 1 : 0xFFFFFFFFU;
        emu_block.waiting[w] = 0;
        emu_block.ended[w] = 0;
    }
    while (!fault_error) {
        bool any = false;
        shuffle(warps, count);
        for (uint32_t w = 0; w < count && !fault_error; w++) {
            any = run_warp(warps[w]) || any;
        }
        if (!any && all_ended()) {
            break;
        }
        if (!any) {
            release_barrier();
        }
    }
    if (traffic_counts) {
        traffic_end_block();
    }
}

void emu_syncthreads(struct emu_place place)
{
    struct thread *t = emu_block.running;
    t->place = place;
    t->state = THREAD_AT_BLOCK;
    fiber_yield();
}

/* --- the grid -------------------------------------------------------------------------------------------- */

bool block_run_grid(const struct emu_launch *launch, int device)
{
    uint64_t blocks = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z;
    emu_block.launch = launch;
    emu_block.device = device;
    emu_block.count = launch->block.x * launch->block.y * launch->block.z;
    fibers_prepare(emu_block.count);
    shared_begin_launch((uint32_t)launch->shared_bytes);
    if (traffic_counts) {
        traffic_begin_launch();
    }
    /* From a drawn block on, by a drawn stride without a common divisor: each block once. */
    uint64_t at = emu_random() % blocks;
    uint64_t stride = blocks > 2 ? emu_random() % blocks | 1 : 1;
    for (uint64_t a = stride, b = blocks, rest = 1; rest != 0 && blocks > 2;) {
        rest = a % b;
        a = b;
        b = rest;
        if (rest == 0 && a != 1) {
            stride = 1;
        }
    }
    for (uint64_t i = 0; i < blocks && !fault_error; i++) {
        uint64_t xy = (uint64_t)launch->grid.x * launch->grid.y;
        run_block(dim3((unsigned)(at % launch->grid.x), (unsigned)(at / launch->grid.x % launch->grid.y),
                       (unsigned)(at / xy)));
        at = (at + stride) % blocks;
    }
    if (traffic_counts) {
        traffic_end_launch();
    }
    return fault_error == cudaSuccess;
}
