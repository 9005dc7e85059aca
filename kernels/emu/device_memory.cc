/* The memory of all emulated devices: one arena of addresses, each allocation over a guard page and filled with NaN.
 * Host code that touches it ends the program with a message; it is open only while a device works. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/emu/fiber.h"
#include "kernels/emu/machine.h"

enum {
    ALLOCATIONS_MAX = 4096,
    PAGE = 4096,
    DEVICES_MAX = 8,
    SIGNAL_STACK = 64 << 10,
    PARAMETER_SLOT_BYTES = 4096
};
static const size_t ARENA_BYTES = (size_t)1 << 38;
static const size_t PARAMETER_BYTES = (size_t)64 << 20;

struct allocation {
    uintptr_t at;
    size_t bytes;
    int device; /* -1: freed; its addresses are not given out again */
};

static char *arena;
static char *parameters;
static struct allocation allocations[ALLOCATIONS_MAX]; /* by rising address */
static uint32_t allocation_count;
static uint32_t last_hit;
static size_t next_offset;
static size_t used[DEVICES_MAX];
static size_t bytes_each;
static bool is_open;
static uint64_t parameter_turn;
static bool parameter_taken[(64 << 20) / PARAMETER_SLOT_BYTES];
static struct sigaction other_handler;

static uintptr_t number(const void *p)
{
    return reinterpret_cast<uintptr_t>(p);
}

/* --- the trap for host code --------------------------------------------------------------------------------- */

static void say(const char *text)
{
    ssize_t rest = write(STDERR_FILENO, text, strlen(text));
    (void)rest;
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    uintptr_t at = number(info->si_addr);
    if (device_memory_has(at)) {
        say(emu_block.running ? "emu: device code ran into a guard page of device memory\n"
                              : "emu: host code touched device memory; copy it with cudaMemcpy\n");
        _exit(70);
    }
    if (at >= fiber_stacks_begin() && at < fiber_stacks_end()) {
        say("emu: the stack of a CUDA thread is full\n");
        _exit(70);
    }
    sigaction(SIGSEGV, &other_handler, NULL); /* not ours: whoever was there before meets it again */
    (void)signal_number;
    (void)context;
}

static void set_trap(void)
{
    static thread_local char alternate[SIGNAL_STACK];
    stack_t stack = {};
    if (sigaltstack(NULL, &stack) == 0 &&
        (stack.ss_flags & SS_DISABLE)) { /* else a sanitizer's, which it frees */
        stack.ss_flags = 0;
        stack.ss_sp = alternate;
        stack.ss_size = sizeof alternate;
        sigaltstack(&stack, NULL);
    }
    struct sigaction action = {};
    struct sigaction before = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &before);
    if (before.sa_sigaction != on_fault) {
        other_handler = before;
    }
}

/* --- the arena ------------------------------------------------------------------------------------------------ */

static char *reserve(size_t bytes, int protection)
{
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("emu: device memory");
        abort();
    }
    return static_cast<char *>(p);
}

void device_memory_reset(size_t each)
{
    if (!arena) {
        arena = reserve(ARENA_BYTES, PROT_NONE);
        parameters = reserve(PARAMETER_BYTES, PROT_READ | PROT_WRITE);
        set_trap();
    }
    if (next_offset) {
        madvise(arena, next_offset, MADV_DONTNEED);
        mprotect(arena, next_offset, PROT_NONE);
    }
    allocation_count = 0;
    last_hit = 0;
    next_offset = 0;
    is_open = false;
    bytes_each = each;
    memset(used, 0, sizeof used);
}

bool device_memory_has(uintptr_t address)
{
    return arena && address >= number(arena) && address < number(arena) + ARENA_BYTES;
}

size_t device_memory_used(int device)
{
    return used[device];
}

size_t emu_bytes_allocated(void)
{
    size_t sum = 0;
    for (int i = 0; i < DEVICES_MAX; i++) {
        sum += used[i];
    }
    return sum;
}

/* The last allocation that starts at or before the address; NULL: none. */
static const struct allocation *allocation_before(uintptr_t address)
{
    const struct allocation *hit = &allocations[last_hit];
    if (last_hit < allocation_count && address >= hit->at && address - hit->at < hit->bytes) {
        return hit;
    }
    uint32_t from = 0;
    uint32_t to = allocation_count;
    while (from < to) {
        uint32_t middle = (from + to) / 2;
        if (allocations[middle].at <= address) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    last_hit = from ? from - 1 : 0;
    return from ? &allocations[from - 1] : NULL;
}

static void protect(const struct allocation *a, int protection)
{
    if (a->device >= 0 &&
        mprotect(reinterpret_cast<void *>(a->at), (a->bytes + PAGE - 1) / PAGE * PAGE, protection)) {
        perror("emu: device memory");
        abort();
    }
}

void device_memory_open(void)
{
    for (uint32_t i = 0; i < allocation_count && !is_open; i++) {
        protect(&allocations[i], PROT_READ | PROT_WRITE);
    }
    is_open = true;
}

void device_memory_close(void)
{
    for (uint32_t i = 0; i < allocation_count && is_open; i++) {
        protect(&allocations[i], PROT_NONE);
    }
    is_open = false;
    set_trap(); /* a test's framework may have taken the signal meanwhile */
}

static void protect_one(const void *p, int protection)
{
    if (device_memory_has(number(p)) && !is_open) {
        protect(allocation_before(number(p)), protection);
    }
}

void device_memory_copy(void *dst, const void *src, size_t bytes)
{
    protect_one(dst, PROT_READ | PROT_WRITE);
    protect_one(src, PROT_READ | PROT_WRITE);
    memcpy(dst, src, bytes);
    protect_one(dst, PROT_NONE);
    protect_one(src, PROT_NONE);
    set_trap(); /* as device_memory_close */
}

cudaError device_memory_new(int device, size_t bytes, void **out)
{
    size_t pages = (bytes + PAGE - 1) / PAGE * PAGE;
    if (bytes == 0) {
        *out = NULL;
        return cudaSuccess;
    }
    if (bytes > bytes_each - used[device] || allocation_count == ALLOCATIONS_MAX ||
        next_offset + pages + PAGE > ARENA_BYTES) {
        return cudaErrorMemoryAllocation;
    }
    struct allocation *a = &allocations[allocation_count++];
    *a = {number(arena) + next_offset, bytes, device};
    next_offset += pages + PAGE;
    used[device] += bytes;
    protect(a, PROT_READ | PROT_WRITE);
    memset(reinterpret_cast<void *>(a->at), 0xFF, bytes);
    if (!is_open) {
        protect(a, PROT_NONE);
    }
    *out = reinterpret_cast<void *>(a->at);
    return cudaSuccess;
}

cudaError device_memory_free(void *p)
{
    for (uint32_t i = 0; i < allocation_count; i++) {
        struct allocation *a = &allocations[i];
        if (a->at == number(p) && a->device >= 0) {
            used[a->device] -= a->bytes;
            protect(a, PROT_NONE);
            madvise(p, (a->bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
            a->device = -1;
            return cudaSuccess;
        }
    }
    return p ? cudaErrorInvalidValue : cudaSuccess;
}

void device_memory_check(uintptr_t address, size_t bytes, int device, const char *what)
{
    const struct allocation *a = allocation_before(address);
    if (a && a->device == device && address - a->at <= a->bytes && bytes <= a->bytes - (address - a->at)) {
        return;
    }
    if (!a) {
        emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes before all device memory", what, bytes);
    }
    if (a->device < 0) {
        emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes in device memory that was freed", what, bytes);
    }
    if (a->device != device) {
        emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes of device %d's memory by device %d", what, bytes,
                  a->device, device);
    }
    emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes at byte %zu of an allocation of %zu", what, bytes,
              (size_t)(address - a->at), a->bytes);
}

const char *device_memory_fault(const void *p, size_t bytes, int device)
{
    if (!device_memory_has(number(p))) {
        return NULL;
    }
    const struct allocation *a = allocation_before(number(p));
    if (!a || a->device < 0) {
        return "memory that is not allocated";
    }
    if (a->device != device) {
        return "another device's memory";
    }
    return number(p) - a->at + bytes > a->bytes ? "past the end of the allocation" : NULL;
}

/* --- the arguments of launches -------------------------------------------------------------------------------- */

void *parameters_new(size_t bytes)
{
    size_t slots = PARAMETER_BYTES / PARAMETER_SLOT_BYTES;
    for (size_t i = 0; i < slots && bytes <= PARAMETER_SLOT_BYTES; i++) {
        size_t slot = parameter_turn++ % slots;
        if (!parameter_taken[slot]) {
            parameter_taken[slot] = true;
            return parameters + slot * PARAMETER_SLOT_BYTES;
        }
    }
    fputs("emu: too many launches wait\n", stderr);
    abort();
}

void *parameters_spare(void)
{
    alignas(64) static char spare[PARAMETER_SLOT_BYTES];
    return spare;
}

void parameters_free(void *p)
{
    if (p == parameters_spare()) {
        return;
    }
    parameter_taken[(size_t)(static_cast<char *>(p) - parameters) / PARAMETER_SLOT_BYTES] = false;
}

bool parameters_has(uintptr_t address)
{
    return address >= number(parameters) && address < number(parameters) + PARAMETER_BYTES;
}
