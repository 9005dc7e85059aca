/* The emulator's insides, shared by its files: the block that runs, its threads, and how a broken rule ends it.
 *
 *     stream.cc    takes the next operation; a launch goes to
 *     block.cc     one block after another: a fiber a thread, barriers, order by seed
 *     warp.cc      operations of a warp; shared.cc, device_memory.cc  what may be touched; access.cc  each touch
 *
 * Thread rule: under the emulator's lock. */
#ifndef TIDE_EMU_MACHINE_H
#define TIDE_EMU_MACHINE_H

#include "kernels/emu/device.h"
#include "kernels/emu/emu.h"

enum { WARP = 32, THREADS_MAX = 1024, WARPS_MAX = THREADS_MAX / WARP };

enum thread_state {
    THREAD_READY = 0,
    THREAD_AT_WARP = 1,  /* waits for the other lanes of its operation */
    THREAD_AT_BLOCK = 2, /* waits at __syncthreads */
    THREAD_ENDED = 3,
};

struct async_copy { /* cp.async: done only when waited for */
    void *dst;
    const void *src;
    uint32_t bytes; /* read from src; the rest of 16 become zero */
    uint32_t group;
};

enum { ASYNC_MAX = 64 };

struct thread {
    enum thread_state state;
    struct emu_position here;
    struct emu_place place; /* of the barrier or operation it waits at or passed last */
    struct warp_op op;
    uint32_t warp;
    uint32_t lane;
    struct async_copy async[ASYNC_MAX];
    uint32_t async_count;
    uint32_t async_group; /* being filled */
};

struct block {
    struct thread threads[THREADS_MAX];
    uint32_t count;
    uint32_t epoch;                  /* grows at each barrier and each block, and never begins again */
    uint32_t first_epoch;            /* of the running block */
    uint32_t warp_epochs[WARPS_MAX]; /* grows at each __syncwarp */
    uint32_t lanes[WARPS_MAX];       /* of each warp, a bit a lane: those that exist, */
    uint32_t waiting[WARPS_MAX];     /* wait for their warp, */
    uint32_t ended[WARPS_MAX];       /* have ended */
    struct thread *running;          /* NULL: the scheduler */
    const struct emu_launch *launch;
    int device;
};

extern struct block emu_block;
extern __thread bool block_runs_here; /* this system thread is in device code now */

/* Runs every block of the grid. false: a rule was broken; emu_fault_text() and emu_fault_error say what. */
bool block_run_grid(const struct emu_launch *launch, int device);
/* From device code: ends the kernel. Formats "kernel NAME, block (x,y,z), thread (x,y,z): ..." */
[[noreturn]] void emu_fault(cudaError error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From host code: notes what was wrong. */
void emu_note(cudaError error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
cudaError emu_fault_error(void);
bool emu_has_e4m3(void); /* runtime.cc: devices from 8.9 on have the instructions */
void emu_fault_clear(void);

uint64_t emu_random(void);
void emu_random_seed(uint64_t seed);

/* shared.cc */
void shared_begin_launch(uint32_t dynamic_bytes);
void shared_begin_block(void);
bool shared_has(uintptr_t address);
void shared_touch(uintptr_t address, size_t bytes, bool is_write, bool is_atomic);
uint32_t shared_bytes_used(void);

/* device_memory.cc */
bool device_memory_has(uintptr_t address);
/* The allocation of `device` that holds all bytes, or a fault. */
void device_memory_check(uintptr_t address, size_t bytes, int device, const char *what);
void device_memory_open(void);  /* host code may touch it */
void device_memory_close(void); /* and may not */
/* A copy that was checked. It opens the allocations it meets, no others: a model has hundreds. */
void device_memory_copy(void *dst, const void *src, size_t bytes);
cudaError device_memory_new(int device, size_t bytes, void **out);
cudaError device_memory_free(void *p);
/* NULL: all bytes lie in one allocation or outside the arena; else what is wrong. */
const char *device_memory_fault(const void *p, size_t bytes, int device);
size_t device_memory_used(int device);
void device_memory_reset(size_t bytes_each);
void *parameters_new(size_t bytes); /* memory for a launch's arguments */
void *parameters_spare(void);       /* for a launch that is refused */
void parameters_free(void *p);
bool parameters_has(uintptr_t address);

/* traffic.cc */
extern bool traffic_counts;
void traffic_touch(uintptr_t address, size_t bytes, bool is_write, const void *pc);
void traffic_end_block(void);
void traffic_begin_launch(void);
void traffic_end_launch(void);

#endif
