/* Shared memory of the running block: its arrays with gaps between them, filled with NaN before each block, and for
 * each byte who touched it last, so that two threads without a barrier between them are seen, and reads of what nobody wrote. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernels/emu/machine.h"

enum {
    ROOM = 512 << 10, /* arrays and gaps */
    GAP = 256,
    ARRAYS_MAX = 64,
    STATIC_LIMIT = 48 << 10, /* of arrays */
    TOTAL_LIMIT = 227 << 10, /* with the dynamic part, compute capability 9.0 */
};

struct array {
    const void *site;
    const char *name;
    uint32_t offset;
    uint32_t bytes;
    uint32_t element; /* bytes */
};

struct touch {
    uint32_t epoch;
    uint32_t warp_epoch;
    uint16_t thread;
    bool atomic;
};

struct shadow { /* of one byte */
    struct touch write;
    struct touch read[2];
};

static char *memory;
static struct shadow *shadows;
static struct array arrays[ARRAYS_MAX];
static uint32_t array_count;
static uint32_t next_offset;
static uint32_t used;

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("emu: shared memory");
        abort();
    }
    return p;
}

static struct array *add_array(const void *site, const char *name, uint32_t bytes, uint32_t element)
{
    struct array *a = &arrays[array_count++];
    *a = {site, name, next_offset, bytes, element};
    next_offset += (bytes + GAP + 127) / 128 * 128;
    used += bytes;
    return a;
}

void shared_begin_launch(uint32_t dynamic_bytes)
{
    if (!memory) {
        memory = static_cast<char *>(reserve(ROOM));
        shadows = static_cast<struct shadow *>(reserve(ROOM * sizeof *shadows));
    }
    array_count = 0;
    next_offset = GAP;
    used = 0;
    if (dynamic_bytes) {
        add_array(memory, "dynamic shared memory", dynamic_bytes, 1);
    }
}

void shared_begin_block(void)
{
    for (uint32_t i = 0; i < array_count; i++) {
        memset(memory + arrays[i].offset, 0xFF, arrays[i].bytes);
    }
}

uint32_t shared_bytes_used(void)
{
    return used;
}

void *emu_dynamic_shared(void)
{
    if (array_count == 0 || arrays[0].site != memory) {
        emu_fault(cudaErrorLaunchFailure, "dynamic shared memory, but the launch gave 0 bytes");
    }
    return memory + arrays[0].offset;
}

void *emu_shared_array(const void *site, const char *name, size_t bytes, size_t element_bytes)
{
    for (uint32_t i = 0; i < array_count; i++) {
        if (arrays[i].site == site) {
            return memory + arrays[i].offset;
        }
    }
    if (array_count == ARRAYS_MAX || used + bytes > TOTAL_LIMIT || next_offset + bytes + GAP > ROOM) {
        emu_fault(cudaErrorLaunchFailure, "shared memory: %s of %zu bytes over %u others", name, bytes, used);
    }
    struct array *a = add_array(site, name, (uint32_t)bytes, (uint32_t)element_bytes);
    uint32_t fixed = used - (arrays[0].site == memory ? arrays[0].bytes : 0);
    if (fixed > STATIC_LIMIT) {
        emu_fault(cudaErrorLaunchFailure, "shared memory: arrays of %u bytes with %s, at most %d", fixed,
                  name, STATIC_LIMIT);
    }
    memset(memory + a->offset, 0xFF, bytes);
    return memory + a->offset;
}

bool shared_has(uintptr_t address)
{
    uintptr_t base = reinterpret_cast<uintptr_t>(memory);
    return address >= base && address < base + ROOM;
}

static const struct array *array_of(uint32_t offset, size_t bytes)
{
    for (uint32_t i = 0; i < array_count; i++) {
        if (offset >= arrays[i].offset && offset + bytes <= arrays[i].offset + arrays[i].bytes) {
            return &arrays[i];
        }
    }
    return NULL;
}

[[noreturn]] static void fault_outside(uint32_t offset, size_t bytes, bool is_write)
{
    const struct array *nearest = NULL;
    for (uint32_t i = 0; i < array_count; i++) {
        if (!nearest || arrays[i].offset <= offset + GAP) {
            nearest = &arrays[i];
        }
    }
    emu_fault(cudaErrorIllegalAddress, "%s of %zu bytes at byte %ld of %s, which has %u",
              is_write ? "write" : "read", bytes,
              nearest ? (long)offset - (long)nearest->offset : (long)offset,
              nearest ? nearest->name : "no array", nearest ? nearest->bytes : 0);
}

static bool is_ordered(const struct touch *before, const struct touch *now)
{
    return before->epoch != now->epoch || before->thread == now->thread || (before->atomic && now->atomic) ||
           (before->thread / WARP == now->thread / WARP && before->warp_epoch < now->warp_epoch);
}

[[noreturn]] static void fault_race(const struct array *a, uint32_t offset, const struct touch *before,
                                    const char *first, const char *second)
{
    emu_fault(cudaErrorLaunchFailure, "race on %s[%u]: %s by thread %u, %s by this one, no barrier between",
              a->name, (offset - a->offset) / a->element, first, before->thread, second);
}

static void note_read(struct shadow *s, const struct touch *now)
{
    if (is_ordered(&s->read[0], now)) {
        s->read[0] = *now;
    } else if (is_ordered(&s->read[1], now) || s->read[0].thread / WARP == s->read[1].thread / WARP) {
        s->read[1] = *now; /* two readers of different warps tell of any third */
    }
}

void shared_touch(uintptr_t address, size_t bytes, bool is_write, bool is_atomic)
{
    uint32_t offset = (uint32_t)(address - reinterpret_cast<uintptr_t>(memory));
    const struct array *a = array_of(offset, bytes);
    if (!a) {
        fault_outside(offset, bytes, is_write);
    }
    const struct thread *t = emu_block.running;
    const struct touch now = {emu_block.epoch, emu_block.warp_epochs[t->warp],
                              (uint16_t)(t - emu_block.threads), is_atomic};
    for (uint32_t i = offset; i < offset + bytes; i++) {
        struct shadow *s = &shadows[i];
        if ((!is_write || is_atomic) && s->write.epoch < emu_block.first_epoch) {
            emu_fault(cudaErrorLaunchFailure, "read of %s[%u], which nobody has written", a->name,
                      (i - a->offset) / a->element);
        }
        if (!is_ordered(&s->write, &now)) {
            fault_race(a, i, &s->write, "written", is_write ? "written" : "read");
        }
        if (!is_write) {
            note_read(s, &now);
            continue;
        }
        for (unsigned r = 0; r < 2; r++) {
            if (!is_ordered(&s->read[r], &now)) {
                fault_race(a, i, &s->read[r], "read", "written");
            }
        }
        s->write = now;
    }
}
