#include "inference/worker/cpu/amx_support.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int amx_words_check(const struct amx_words *w, struct err *err)
{
    const uint32_t tiles_and_int8 = 3U << 24;
    const uint64_t kept = UINT64_C(3) << 17;
    if ((w->leaf7_edx & tiles_and_int8) != tiles_and_int8) {
        return err_set(err, ERR_UNAVAILABLE, "the processor has none");
    }
    if (!(w->leaf1_ecx & (1U << 27)) || (w->xcr0 & kept) != kept) {
        return err_set(err, ERR_UNAVAILABLE, "the system does not keep tiles");
    }
    if (w->palette_bytes >> 16 != 1024 || w->palette_rows != (8U << 16 | 64) ||
        (w->palette_height & 0xFFFF) != 16) {
        return err_set(err, ERR_UNAVAILABLE, "tiles of another size");
    }
    return 0;
}

#if defined(__x86_64__)

#include <cpuid.h>

static uint64_t read_xcr0(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static struct amx_words read_words(void)
{
    struct amx_words w = {0};
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    (void)__get_cpuid(1, &a, &b, &w.leaf1_ecx, &d);
    (void)__get_cpuid_count(7, 0, &a, &b, &c, &w.leaf7_edx);
    (void)__get_cpuid_count(0x1D, 1, &w.palette_bytes, &w.palette_rows, &w.palette_height, &d);
    if (w.leaf1_ecx & (1U << 27)) {
        w.xcr0 = read_xcr0();
    }
    return w;
}

int amx_support(struct err *err)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    struct amx_words w = read_words();
    int rc = amx_words_check(&w, err);
    if (!rc && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0) {
        rc = err_set(err, ERR_DENIED, "the system refused tiles: %s", strerror(errno));
    }
    return rc;
}

#else

int amx_support(struct err *err)
{
    return amx_words_check(&(struct amx_words){0}, err);
}

#endif
