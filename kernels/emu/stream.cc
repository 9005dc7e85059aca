#include "kernels/emu/stream.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "kernels/emu/collective.h"

enum { DEVICES_MAX = 8, PATIENCE_MS = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static std::vector<struct CUstream_st *> streams;
static struct CUstream_st defaults[DEVICES_MAX];
static uint32_t patience_ms = PATIENCE_MS;

emu_lock::emu_lock()
{
    pthread_mutex_lock(&mutex);
}

emu_lock::~emu_lock()
{
    pthread_mutex_unlock(&mutex);
}

struct CUstream_st *stream_default(int device)
{
    struct CUstream_st *s = &defaults[device];
    s->device = device;
    for (struct CUstream_st *known : streams) {
        if (known == s) {
            return s;
        }
    }
    streams.push_back(s);
    return s;
}

void streams_register(struct CUstream_st *s)
{
    streams.push_back(s);
}

bool streams_forget(struct CUstream_st *s)
{
    for (size_t i = 0; i < streams.size(); i++) {
        if (streams[i] == s) {
            streams.erase(streams.begin() + (ptrdiff_t)i);
            return true;
        }
    }
    return false;
}

void streams_free(void)
{
    for (int device = 0; device < DEVICES_MAX; device++) {
        streams_clear(device);
    }
    patience_ms = PATIENCE_MS;
    for (struct CUstream_st *s : streams) {
        if (s < defaults || s >= defaults + DEVICES_MAX) {
            delete s;
        }
    }
    streams.clear();
}

void streams_clear(int device)
{
    for (struct CUstream_st *s : streams) {
        if (s->device == device) {
            s->queue.clear();
            s->captured.reset();
        }
    }
    pthread_cond_broadcast(&changed);
}

bool streams_forbid_waiting(const struct CUstream_st *stream, int device)
{
    for (const struct CUstream_st *s : streams) {
        bool is_meant = stream ? s == stream : s->device == device;
        if (s->captured && (is_meant || !s->is_relaxed)) {
            return true;
        }
    }
    return false;
}

void stream_add(struct CUstream_st *s, struct operation op)
{
    if (s->captured) {
        s->captured->push_back(op);
        return;
    }
    if (op.kind == OPERATION_RECORD) {
        op.turn = ++op.event->recorded;
    } else if (op.kind == OPERATION_WAIT) {
        op.turn = op.event->recorded;
    }
    s->queue.push_back(op);
    pthread_cond_broadcast(&changed);
}

/* --- doing the work ------------------------------------------------------------------------------------------ */

static void copy(const struct operation *op, int device)
{
    const char *wrong = device_memory_fault(op->dst, op->bytes, device);
    wrong = wrong ? wrong : device_memory_fault(op->src, op->bytes, device);
    if (wrong) {
        emu_note(cudaErrorInvalidValue, "an asynchronous copy of %zu bytes: %s", op->bytes, wrong);
        return;
    }
    memcpy(op->dst, op->src, op->bytes);
}

static void fill(const struct operation *op, int device)
{
    const char *wrong = device_memory_fault(op->dst, op->bytes, device);
    if (wrong) {
        emu_note(cudaErrorInvalidValue, "filling %zu bytes: %s", op->bytes, wrong);
        return;
    }
    memset(op->dst, op->value, op->bytes);
}

static void perform(struct CUstream_st *s, const struct operation *op)
{
    switch (op->kind) {
    case OPERATION_LAUNCH:
        if (!emu_launch_fails(s->device)) {
            block_run_grid(&op->launch, s->device);
        }
        break;
    case OPERATION_COPY:
        copy(op, s->device);
        break;
    case OPERATION_FILL:
        fill(op, s->device);
        break;
    case OPERATION_RECORD:
        op->event->done = op->turn > op->event->done ? op->turn : op->event->done;
        break;
    case OPERATION_GRAPH:
        s->queue.insert(s->queue.begin(), op->graph->begin(), op->graph->end());
        break;
    case OPERATION_WAIT:
    case OPERATION_COLLECTIVE:
        break;
    }
}

static bool head_must_wait(const struct operation *head)
{
    return (head->kind == OPERATION_WAIT && head->event->done < head->turn) ||
           (head->kind == OPERATION_COLLECTIVE && !collective_step(head->collective));
}

static bool step_stream(struct CUstream_st *s)
{
    if (s->queue.empty()) {
        return false;
    }
    if (emu_sticky(s->device) != cudaSuccess) {
        s->queue.clear(); /* a lost device does nothing more */
        return false;
    }
    if (head_must_wait(&s->queue.front())) {
        return false;
    }
    struct operation op = s->queue.front();
    s->queue.pop_front();
    perform(s, &op);
    return true;
}

bool streams_step(void)
{
    size_t n = streams.size();
    size_t first = n ? emu_random() % n : 0;
    for (size_t i = 0; i < n; i++) {
        if (step_stream(streams[(first + i) % n])) {
            pthread_cond_broadcast(&changed);
            return true;
        }
    }
    return false;
}

static void explain(char *out, size_t n)
{
    snprintf(out, n, "nothing is left to do, and yet somebody waits");
    for (const struct CUstream_st *s : streams) {
        if (s->queue.empty()) {
            continue;
        }
        const struct operation &head = s->queue.front();
        if (head.kind == OPERATION_WAIT) {
            snprintf(out, n, "a stream waits for an event that no stream records");
        } else if (head.kind == OPERATION_COLLECTIVE) {
            collective_explain(head.collective.get(), out, n);
            return;
        }
    }
}

void emu_patience(uint32_t ms)
{
    struct emu_lock lock;
    patience_ms = ms;
}

void tell_others(void)
{
    pthread_cond_broadcast(&changed);
}

bool wait_for_others(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)patience_ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    return pthread_cond_timedwait(&changed, &mutex, &until) == 0;
}

static cudaError work_until(int device, bool (*is_done)(const void *), const void *arg)
{
    cudaError rc = emu_sticky(device);
    if (rc == cudaSuccess && is_done(arg)) {
        device_memory_close(); /* sets its trap again */
        return rc;
    }
    device_memory_open();
    while (rc == cudaSuccess && !is_done(arg)) {
        if (!streams_step()) {
            device_memory_close();
            if (!wait_for_others()) {
                char text[256];
                explain(text, sizeof text);
                emu_note(cudaErrorLaunchFailure, "hang: %s", text);
            }
            device_memory_open();
        }
        rc = emu_sticky(device);
    }
    device_memory_close();
    if (rc != cudaSuccess) {
        streams_clear(device);
    }
    return rc;
}

static bool stream_is_done(const void *arg)
{
    return static_cast<const struct CUstream_st *>(arg)->queue.empty();
}

static bool device_is_done(const void *arg)
{
    for (const struct CUstream_st *s : streams) {
        if (s->device == *static_cast<const int *>(arg) && !s->queue.empty()) {
            return false;
        }
    }
    return true;
}

static bool event_is_done(const void *arg)
{
    const struct CUevent_st *e = static_cast<const struct CUevent_st *>(arg);
    return e->done >= e->recorded;
}

cudaError stream_drain(struct CUstream_st *s)
{
    return work_until(s->device, stream_is_done, s);
}

cudaError streams_drain(int device)
{
    return work_until(device, device_is_done, &device);
}

cudaError event_wait(struct CUevent_st *e, int device)
{
    return work_until(device, event_is_done, e);
}
