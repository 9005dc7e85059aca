/* The CUDA runtime's functions, as cuda_runtime.h beside this declares them. */
#include <stdio.h>
#include <stdlib.h>

#include <set>

#include "kernels/emu/runtime.h"

enum { DEVICES_MAX = 8 };

static const struct emu_conf defaults = {1, (size_t)4 << 30, 9, 0, 1};
static struct emu_conf conf = defaults;
static bool is_ready;
static enum emu_failure failure;
static uint32_t failure_after;
static int failure_device = -1; /* -1: any */
static bool is_lost[DEVICES_MAX];
static std::set<const void *> pinned;
static thread_local int current_device;
static thread_local cudaError last_error;

cudaError runtime_error(cudaError e)
{
    if (e != cudaSuccess) {
        last_error = e;
    }
    return e;
}

cudaError emu_sticky(int device)
{
    return is_lost[device] ? cudaErrorDevicesUnavailable : emu_fault_error();
}

static bool failure_is_due(enum emu_failure what)
{
    if (failure != what) {
        return false;
    }
    if (failure_after > 0) {
        failure_after--;
        return false;
    }
    return true;
}

bool emu_launch_fails(int device)
{
    if (failure_device >= 0 && failure_device != device) {
        return false;
    }
    if (failure_is_due(EMU_DEVICE_LOST)) {
        is_lost[device] = true;
    } else if (failure_is_due(EMU_KERNEL_FAULT)) {
        emu_note(cudaErrorIllegalAddress, "a kernel met an illegal address (injected)");
    } else {
        return false;
    }
    return true;
}

enum emu_failure emu_collective_fails(void)
{
    bool is_due = failure_is_due(EMU_COLLECTIVE_HANGS) || failure_is_due(EMU_COLLECTIVE_FAILS) ||
                  failure_is_due(EMU_ABORT_HANGS);
    return is_due ? failure : EMU_NO_FAILURE;
}

bool emu_abort_hangs(void)
{
    return failure == EMU_ABORT_HANGS;
}

/* What a program can ask of the environment, for tests of whole programs. */
static void read_environment(void)
{
    static const struct {
        const char *name;
        enum emu_failure failure;
    } names[] = {{"old-driver", EMU_OLD_DRIVER},
                 {"no-device", EMU_NO_DEVICE},
                 {"out-of-memory", EMU_OUT_OF_MEMORY},
                 {"device-lost", EMU_DEVICE_LOST},
                 {"kernel-fault", EMU_KERNEL_FAULT},
                 {"collective-hangs", EMU_COLLECTIVE_HANGS},
                 {"collective-fails", EMU_COLLECTIVE_FAILS},
                 {"abort-hangs", EMU_ABORT_HANGS}};
    const char *devices = getenv("TIDE_EMU_DEVICES");
    if (devices) {
        conf.devices = (uint32_t)strtoul(devices, NULL, 10);
        conf.devices = conf.devices < DEVICES_MAX ? conf.devices : (uint32_t)DEVICES_MAX;
    }
    const char *text = getenv("TIDE_EMU_FAIL"); /* NAME[:AFTER[@DEVICE]] */
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(text, names[i].name, n) == 0 && (text[n] == '\0' || text[n] == ':')) {
            failure = names[i].failure;
            failure_after = text[n] ? (uint32_t)strtoul(text + n + 1, NULL, 10) : 0;
            const char *device = strchr(text, '@');
            failure_device = device ? (int)strtol(device + 1, NULL, 10) : -1;
        }
    }
}

bool emu_has_e4m3(void)
{
    return conf.compute_major > 8 || (conf.compute_major == 8 && conf.compute_minor >= 9);
}

static void prepare(const struct emu_conf *c)
{
    conf = c ? *c : defaults;
    conf.device_bytes = conf.device_bytes ? conf.device_bytes : defaults.device_bytes;
    conf.compute_major = conf.compute_major ? conf.compute_major : defaults.compute_major;
    emu_random_seed(conf.seed);
    device_memory_reset(conf.device_bytes);
    is_ready = true;
}

cudaError runtime_begin(void) /* of every call: what stands against all of them */
{
    if (!is_ready) {
        prepare(NULL);
        read_environment();
    }
    if (failure == EMU_OLD_DRIVER) {
        return cudaErrorInsufficientDriver;
    }
    return failure == EMU_NO_DEVICE || conf.devices == 0 ? cudaErrorNoDevice : emu_sticky(current_device);
}

void emu_reset(const struct emu_conf *c)
{
    struct emu_lock lock;
    streams_free();
    emu_fault_clear();
    failure = EMU_NO_FAILURE;
    failure_device = -1;
    memset(is_lost, 0, sizeof is_lost);
    launch_limits_clear();
    current_device = 0;
    last_error = cudaSuccess;
    prepare(c);
}

void emu_seed(uint64_t seed)
{
    struct emu_lock lock;
    emu_random_seed(seed);
}

void emu_fail_on(int device, enum emu_failure what, uint32_t after)
{
    struct emu_lock lock;
    failure = what;
    failure_after = after;
    failure_device = device;
}

void emu_fail(enum emu_failure what, uint32_t after)
{
    emu_fail_on(-1, what, after);
}

/* --- devices and errors --------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    *count = rc == cudaSuccess ? (int)conf.devices : 0;
    return runtime_error(rc);
}

cudaError_t cudaSetDevice(int device)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && (device < 0 || device >= (int)conf.devices)) {
        rc = cudaErrorInvalidDevice;
    }
    if (rc == cudaSuccess) {
        current_device = device;
    }
    return runtime_error(rc);
}

cudaError_t cudaGetDevice(int *device)
{
    struct emu_lock lock;
    *device = current_device;
    return runtime_error(runtime_begin());
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc != cudaSuccess || device < 0 || device >= (int)conf.devices) {
        return runtime_error(rc != cudaSuccess ? rc : cudaErrorInvalidDevice);
    }
    *prop = {};
    snprintf(prop->name, sizeof prop->name, "emulated device %d", device);
    prop->totalGlobalMem = conf.device_bytes;
    prop->sharedMemPerBlock = 48 << 10;
    prop->sharedMemPerBlockOptin = 227 << 10;
    prop->warpSize = WARP;
    prop->maxThreadsPerBlock = THREADS_MAX;
    prop->major = (int)conf.compute_major;
    prop->minor = (int)conf.compute_minor;
    prop->multiProcessorCount = 132;
    prop->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && streams_forbid_waiting(NULL, current_device)) {
        rc = cudaErrorStreamCaptureUnsupported;
    }
    return runtime_error(rc == cudaSuccess ? streams_drain(current_device) : rc);
}

cudaError_t cudaDeviceReset(void)
{
    struct emu_lock lock;
    streams_clear(current_device);
    return runtime_error(runtime_begin());
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError e = last_error;
    last_error = cudaSuccess;
    return e;
}

static const struct {
    cudaError error;
    const char *name;
    const char *text;
} error_rows[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &row : error_rows) {
        if (row.error == error) {
            return row.name;
        }
    }
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &row : error_rows) {
        if (row.error == error) {
            return row.text;
        }
    }
    return "unknown error";
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && failure_is_due(EMU_OUT_OF_MEMORY)) {
        rc = cudaErrorMemoryAllocation;
    }
    return runtime_error(rc == cudaSuccess ? device_memory_new(current_device, bytes, p) : rc);
}

cudaError_t cudaFree(void *p) /* waits for all work, as the real one */
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && p) {
        rc = streams_drain(current_device);
    }
    cudaError freed = device_memory_free(p);
    return runtime_error(rc == cudaSuccess ? freed : rc);
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && failure_is_due(EMU_OUT_OF_MEMORY)) {
        rc = cudaErrorMemoryAllocation;
    }
    if (rc == cudaSuccess) {
        *p = malloc(bytes ? bytes : 1);
        pinned.insert(*p);
    }
    return runtime_error(rc);
}

cudaError_t cudaFreeHost(void *p)
{
    struct emu_lock lock;
    if (p && pinned.erase(p) == 0) {
        return runtime_error(cudaErrorInvalidValue);
    }
    free(p);
    return runtime_error(runtime_begin());
}

cudaError_t cudaMemGetInfo(size_t *unused, size_t *total)
{
    struct emu_lock lock;
    *total = conf.device_bytes;
    *unused = conf.device_bytes - device_memory_used(current_device);
    return runtime_error(runtime_begin());
}

static cudaError check_copy(const void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    bool to = device_memory_has(reinterpret_cast<uintptr_t>(dst));
    bool from = device_memory_has(reinterpret_cast<uintptr_t>(src));
    bool fits = kind == cudaMemcpyDefault ||
                (to == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                 from == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
    const char *wrong = device_memory_fault(dst, bytes, current_device);
    wrong = wrong ? wrong : device_memory_fault(src, bytes, current_device);
    return fits && !wrong ? cudaSuccess : cudaErrorInvalidValue;
}

/* The bytes are taken at once and reach the device when the default stream comes to it. Streams that do not block do not
 * wait for that: who launches there has to. */
static void copy_from_pageable(void *dst, const void *src, size_t bytes)
{
    struct operation op = {};
    op.kind = OPERATION_COPY;
    op.arguments = std::shared_ptr<void>(malloc(bytes), free);
    op.dst = dst;
    op.src = memcpy(op.arguments.get(), src, bytes);
    op.bytes = bytes;
    stream_add(stream_default(current_device), op);
}

/* At once: the default stream does not wait for streams that do not block. */
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        rc = stream_drain(stream_default(current_device));
    }
    if (rc == cudaSuccess) {
        rc = check_copy(dst, src, bytes, kind);
    }
    if (rc == cudaSuccess && bytes > 0 && kind == cudaMemcpyHostToDevice && !pinned.count(src)) {
        copy_from_pageable(dst, src, bytes);
    } else if (rc == cudaSuccess) {
        device_memory_copy(dst, src, bytes);
    }
    return runtime_error(rc);
}

int runtime_device(void)
{
    return current_device;
}

struct CUstream_st *runtime_stream(cudaStream_t stream)
{
    return stream ? stream : stream_default(current_device);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        rc = check_copy(dst, src, bytes, kind);
    }
    if (rc == cudaSuccess) {
        struct operation op = {};
        op.kind = OPERATION_COPY;
        op.dst = dst;
        op.src = src;
        op.bytes = bytes;
        stream_add(runtime_stream(stream), op);
    }
    return runtime_error(rc);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && (!device_memory_has(reinterpret_cast<uintptr_t>(p)) ||
                              device_memory_fault(p, bytes, current_device))) {
        rc = cudaErrorInvalidValue;
    }
    if (rc == cudaSuccess) {
        struct operation op = {};
        op.kind = OPERATION_FILL;
        op.dst = p;
        op.value = value;
        op.bytes = bytes;
        stream_add(runtime_stream(stream), op);
    }
    return runtime_error(rc);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes) /* waits for nothing, as the real one */
{
    return cudaMemsetAsync(p, value, bytes, NULL);
}
