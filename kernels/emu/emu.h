/* What a test asks of the emulated devices: how many there are, in which order threads run, what shall fail, and what
 * was wrong or was counted afterwards. Programs under test use only cuda_runtime.h and nccl.h.
 *
 * A broken rule ends the kernel as a fault ends it on a device: the next call that waits answers an error
 * (cudaErrorLaunchFailure, cudaErrorIllegalAddress, ...), all later ones too, until emu_reset. emu_fault_text says
 * which rule, where, and who broke it.
 * Ownership: texts are the emulator's and hold until the next emu_reset.
 * Thread rule: any thread; calls take the emulator's one lock. */
#ifndef TIDE_EMU_EMU_H
#define TIDE_EMU_EMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emu_conf {
    uint32_t devices;       /* 0 to 8; 1 */
    size_t device_bytes;    /* memory of each; 4 GiB (backed by the system when touched) */
    uint32_t compute_major; /* 9 */
    uint32_t compute_minor; /* 0 */
    uint64_t seed;          /* order of blocks, warps, lanes and streams; 1 */
};

/* The first `after` calls of that kind still succeed. */
enum emu_failure {
    EMU_NO_FAILURE = 0,
    EMU_OLD_DRIVER = 1,       /* every call: cudaErrorInsufficientDriver */
    EMU_NO_DEVICE = 2,        /* every call: cudaErrorNoDevice */
    EMU_OUT_OF_MEMORY = 3,    /* cudaMalloc and cudaMallocHost */
    EMU_DEVICE_LOST = 4,      /* launches: from then on that device answers cudaErrorDevicesUnavailable */
    EMU_KERNEL_FAULT = 5,     /* launches: that one ends with an illegal address */
    EMU_COLLECTIVE_HANGS = 6, /* collectives: that one is never worked, though all ranks have come */
    EMU_COLLECTIVE_FAILS = 7, /* collectives: that one neither; ncclCommGetAsyncError says ncclRemoteError */
    EMU_ABORT_HANGS = 8,      /* collectives: that one hangs, and ncclCommAbort waits for it for ever */
};

/* What the memory system of a device would have been asked for, by launches since emu_traffic_start. A sector is
 * 32 bytes; a request is one instruction of one warp. */
struct emu_traffic {
    uint64_t read_bytes;      /* of global memory: distinct sectors a launch reads, times 32 */
    uint64_t written_bytes;   /* likewise written */
    uint64_t requests;        /* to global memory */
    uint64_t sectors;         /* that these requests touch */
    uint64_t least_sectors;   /* that they would touch if the same bytes lay together */
    uint64_t shared_requests; /* to shared memory */
    uint64_t bank_conflicts;  /* extra passes that these need */
    uint32_t shared_bytes;    /* most of one launch: its arrays and its dynamic part */
    uint32_t launches;
};

void emu_reset(const struct emu_conf *conf); /* forgets everything, faults and memory too; NULL: defaults */
void emu_seed(uint64_t seed);
void emu_fail(enum emu_failure what, uint32_t after);
void emu_fail_on(int device, enum emu_failure what, uint32_t after); /* launches of that device only */
void emu_patience(uint32_t ms);   /* until a wait that nothing can end is called a hang; 20 s */
const char *emu_fault_text(void); /* "" : nothing was wrong */
size_t emu_bytes_allocated(void); /* on all devices */

void emu_traffic_start(void);
struct emu_traffic emu_traffic_stop(void);

#ifdef __cplusplus
}
#endif
#endif
