#include "kernels/emu/stream.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { DEVICES_MAX = 8, PATIENCE_S = 20 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static std::vector<struct CUstream_st *> streams;
static struct CUstream_st defaults[DEVICES_MAX];

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
    streams_clear();
    for (struct CUstream_st *s : streams) {
        if (s < defaults || s >= defaults + DEVICES_MAX) {
            delete s;
        }
    }
    streams.clear();
}

void streams_clear(void)
{
    for (struct CUstream_st *s : streams) {
        s->queue.clear();
        s->captured.reset();
    }
    pthread_cond_broadcast(&changed);
}

bool streams_capturing(void)
{
    for (const struct CUstream_st *s : streams) {
        if (s->captured) {
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
        if (!emu_launch_fails()) {
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
        break;
    }
}

static bool step_stream(struct CUstream_st *s)
{
    if (s->queue.empty()) {
        return false;
    }
    const struct operation &head = s->queue.front();
    if (head.kind == OPERATION_WAIT && head.event->done < head.turn) {
        return false;
    }
    struct operation op = head;
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
        }
    }
}

/* Another thread may bring what is missing. false: it did not, for PATIENCE_S. */
static bool wait_for_others(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return pthread_cond_timedwait(&changed, &mutex, &until) == 0;
}

static cudaError work_until(bool (*is_done)(const void *), const void *arg)
{
    cudaError rc = emu_sticky();
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
        rc = emu_sticky();
    }
    device_memory_close();
    if (rc != cudaSuccess) {
        streams_clear();
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
    return work_until(stream_is_done, s);
}

cudaError streams_drain(int device)
{
    return work_until(device_is_done, &device);
}

cudaError event_wait(struct CUevent_st *e)
{
    return work_until(event_is_done, e);
}
