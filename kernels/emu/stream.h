/* Streams, events and graphs: what was asked for and not done yet. Nothing runs when it is queued: work is done when
 * somebody waits, from a stream drawn by the seed, so that a missing wait is seen.
 *
 * Ownership: an operation shares its launch's arguments with the graphs that recorded it.
 * Thread rule: under the emulator's lock (emu_lock). */
#ifndef TIDE_EMU_STREAM_H
#define TIDE_EMU_STREAM_H

#include <deque>
#include <memory>
#include <vector>

#include "kernels/emu/emu.h"
#include "kernels/emu/machine.h"

enum operation_kind {
    OPERATION_LAUNCH = 0,
    OPERATION_COPY = 1,
    OPERATION_FILL = 2,
    OPERATION_RECORD = 3,
    OPERATION_WAIT = 4,
    OPERATION_GRAPH = 5,
    OPERATION_COLLECTIVE = 6,
};

struct operation;
typedef std::vector<struct operation> operations;

struct operation {
    enum operation_kind kind;
    struct emu_launch launch;
    std::shared_ptr<void> arguments; /* of the launch; of a copy from pageable memory: what src points to */
    void *dst;
    const void *src;
    size_t bytes;
    int value;
    struct CUevent_st *event;
    uint64_t turn; /* of the event: which record */
    std::shared_ptr<const operations> graph;
    std::shared_ptr<const struct collective> collective;
};

struct CUstream_st {
    int device;
    std::deque<struct operation> queue;
    std::shared_ptr<operations> captured; /* NULL: not capturing */
    bool is_relaxed;                      /* capturing forbids only to wait for this stream */
};

struct CUevent_st {
    uint64_t recorded; /* records asked for */
    uint64_t done;     /* records reached */
};

struct CUgraph_st {
    std::shared_ptr<const operations> operations_;
};

struct CUgraphExec_st {
    std::shared_ptr<const operations> operations_;
};

/* Takes the lock for its scope. */
struct emu_lock {
    emu_lock();
    ~emu_lock();
    emu_lock(const emu_lock &) = delete;
    emu_lock &operator=(const emu_lock &) = delete;
};

void stream_add(struct CUstream_st *s, struct operation op); /* or to what it captures */
cudaError stream_drain(struct CUstream_st *s);               /* does work until it is empty */
cudaError streams_drain(int device);
cudaError event_wait(struct CUevent_st *e, int device);
bool streams_step(void); /* does one operation; false: none can be done */
struct CUstream_st *stream_default(int device);
void streams_register(struct CUstream_st *s);
bool streams_forget(struct CUstream_st *s); /* false: no such stream */
void streams_clear(int device);             /* everything queued there is dropped */
void streams_free(void);                    /* and the streams themselves */
/* A capture stands against waiting for that stream; NULL: for all of the device. */
bool streams_forbid_waiting(const struct CUstream_st *stream, int device);

/* Waits, without the lock, for another thread to bring what is missing. false: none did, for emu_patience. */
bool wait_for_others(void);
void tell_others(void);

/* runtime.cc: the error that everything on that device answers from now on; cudaSuccess: none. */
cudaError emu_sticky(int device);
bool emu_launch_fails(int device);           /* an injected failure meets this launch */
enum emu_failure emu_collective_fails(void); /* or this collective */
bool emu_abort_hangs(void);                  /* or every ncclCommAbort */

#endif
