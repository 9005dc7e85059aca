/* Sees every memory access of device code. Kernels are compiled with -fsanitize=thread, which puts a call before each
 * load and store; the calls come here instead of to that sanitizer's runtime. An access must lie in device memory, in
 * shared memory, in the thread's own stack, in the launch's arguments or in the program's constants, and be aligned. */
#include "kernels/emu/fiber.h"
#include "kernels/emu/machine.h"

extern "C" char __executable_start[];
extern "C" char __data_start[]; /* constants lie before it */

static uintptr_t number(const void *p)
{
    return reinterpret_cast<uintptr_t>(p);
}

static void check_elsewhere(uintptr_t address, size_t bytes, bool is_write)
{
    if (address >= fiber_stacks_begin() && address < fiber_stacks_end()) {
        emu_fault(cudaErrorIllegalAddress, "local memory of thread %u", fiber_of_stack(address));
    }
    bool constant =
        (address >= number(__executable_start) && address < number(__data_start)) ||
        (address >= number(&emu_here) && address < number(&emu_here + 1)); /* threadIdx and the like */
    if ((constant || parameters_has(address)) && !is_write) {
        return;
    }
    emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes of %s memory (%#lx)", is_write ? "write" : "read",
              bytes, constant ? "constant" : "host", (unsigned long)address);
}

/* Local memory and constants are the compiler's to align. */
static void check_alignment(uintptr_t address, size_t bytes, bool is_write)
{
    if (bytes <= 16 && (bytes & (bytes - 1)) == 0 && address % bytes) {
        emu_fault(cudaErrorMisalignedAddress,
                  "%s of %zu bytes at an address that is %lu past a multiple of it",
                  is_write ? "write" : "read", bytes, (unsigned long)(address % bytes));
    }
}

static void touch(const void *p, size_t bytes, bool is_write, const void *pc)
{
    if (!block_runs_here) {
        return; /* a launcher: host code, of this system thread or of another beside the kernel */
    }
    uintptr_t address = number(p);
    if (address - fiber_stack_running < FIBER_STACK_BYTES) {
        return; /* its own local memory: most accesses */
    }
    if (device_memory_has(address)) {
        check_alignment(address, bytes, is_write);
        device_memory_check(address, bytes, emu_block.device, is_write ? "write" : "read");
    } else if (shared_has(address)) {
        check_alignment(address, bytes, is_write);
        shared_touch(address, bytes, is_write, false);
    } else {
        check_elsewhere(address, bytes, is_write);
        return;
    }
    if (traffic_counts) {
        traffic_touch(address, bytes, is_write, pc);
    }
}

#define SEEN(name, bytes, is_write)                                                                          \
    extern "C" void name(void *p);                                                                           \
    void name(void *p)                                                                                       \
    {                                                                                                        \
        touch(p, bytes, is_write, __builtin_return_address(0));                                              \
    }
#define SEEN_BOTH(suffix, bytes)                                                                             \
    SEEN(__tsan_read##suffix, bytes, false) SEEN(__tsan_write##suffix, bytes, true)
#define SEEN_UNALIGNED(bytes)                                                                                \
    SEEN(__tsan_unaligned_read##bytes, bytes, false) SEEN(__tsan_unaligned_write##bytes, bytes, true)

SEEN_BOTH(1, 1)
SEEN_BOTH(2, 2)
SEEN_BOTH(4, 4)
SEEN_BOTH(8, 8)
SEEN_BOTH(16, 16)
SEEN_UNALIGNED(2)
SEEN_UNALIGNED(4)
SEEN_UNALIGNED(8)
SEEN_UNALIGNED(16)

extern "C" void __tsan_read_range(void *p, long bytes);
extern "C" void __tsan_write_range(void *p, long bytes);
extern "C" void __tsan_init(void);

void __tsan_read_range(void *p, long bytes)
{
    touch(p, (size_t)bytes, false, __builtin_return_address(0));
}

void __tsan_write_range(void *p, long bytes)
{
    touch(p, (size_t)bytes, true, __builtin_return_address(0));
}

void __tsan_init(void)
{
}

/* --- wide accesses, asynchronous copies, atomics ----------------------------------------------------------- */

uint4 emu_load16(const void *p)
{
    uint4 v;
    touch(p, sizeof v, false, __builtin_return_address(0));
    memcpy(&v, p, sizeof v);
    return v;
}

void emu_store16(void *p, uint4 v)
{
    touch(p, sizeof v, true, __builtin_return_address(0));
    memcpy(p, &v, sizeof v);
}

/* The destination stays NaN until the copy is waited for. */
void emu_copy_async(void *shared, const void *global, unsigned bytes)
{
    struct thread *t = emu_block.running;
    if (t->async_count == ASYNC_MAX) {
        emu_fault(cudaErrorLaunchFailure, "more than %d cp.async copies at once", ASYNC_MAX);
    }
    if (!shared_has(number(shared)) || number(shared) % 16 || number(global) % 16) {
        emu_fault(cudaErrorMisalignedAddress, "cp.async from %#lx to %#lx", (unsigned long)number(global),
                  (unsigned long)number(shared));
    }
    if (bytes) {
        touch(global, bytes, false, __builtin_return_address(0));
    }
    touch(shared, 16, true, __builtin_return_address(0));
    memset(shared, 0xFF, 16);
    t->async[t->async_count++] = {shared, global, bytes, t->async_group};
}

void emu_copy_commit(void)
{
    emu_block.running->async_group++;
}

void emu_copy_wait(unsigned groups_left)
{
    struct thread *t = emu_block.running;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->async_count; i++) {
        struct async_copy c = t->async[i];
        if (c.group + groups_left >= t->async_group) {
            t->async[kept++] = c;
            continue;
        }
        touch(c.dst, 16, true, __builtin_return_address(0));
        memset(c.dst, 0, 16);
        memcpy(c.dst, c.src, c.bytes);
    }
    t->async_count = kept;
}

static void touch_atomic(void *p, const void *pc)
{
    if (shared_has(number(p))) {
        check_alignment(number(p), 4, true);
        shared_touch(number(p), 4, true, true);
        if (traffic_counts) {
            traffic_touch(number(p), 4, true, pc);
        }
    } else {
        touch(p, 4, true, pc);
    }
}

int emu_atomic_add(int *p, int v)
{
    touch_atomic(p, __builtin_return_address(0));
    int before = *p;
    *p = (int)((unsigned)before + (unsigned)v);
    return before;
}

unsigned emu_atomic_add(unsigned *p, unsigned v)
{
    touch_atomic(p, __builtin_return_address(0));
    unsigned before = *p;
    *p = before + v;
    return before;
}

float emu_atomic_add(float *p, float v)
{
    touch_atomic(p, __builtin_return_address(0));
    float before = *p;
    *p = before + v;
    return before;
}
