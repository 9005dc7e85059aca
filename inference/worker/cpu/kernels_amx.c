/* AMX: Xeons since 2023. Sixteen tokens of a prompt at once; fewer columns, and what is no matrix product, are the AVX-512
 * kernels. No processor with AMX was at hand when this was written: amx_strips.h ran over a stand-in of the tile unit only. So
 * before these kernels are used they have to give AVX-512's bits on the processor at hand. */
#include "inference/worker/cpu/amx_support.h"
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__) && !defined(TIDE_NO_AVX512)

#include "inference/worker/cpu/tile_unit.h"

#include "inference/worker/cpu/amx_strips.h"

const struct cpu_kernels *cpu_kernels_amx(struct err *why)
{
    static struct cpu_kernels kernels;
    const struct cpu_kernels *few = cpu_kernels_avx512();
    int rc = amx_support(why);
    if (!rc && !few) {
        rc = err_set(why, ERR_UNAVAILABLE, "the processor has no AVX-512 VNNI");
    }
    if (rc) {
        return NULL;
    }
    kernels = amx_kernels(few);
    if (!cpu_kernels_agree(&kernels, few)) {
        (void)err_set(why, ERR_INTERNAL, "a product differs from AVX-512's");
        return NULL;
    }
    return &kernels;
}

#else

const struct cpu_kernels *cpu_kernels_amx(struct err *why)
{
    (void)err_set(why, ERR_UNAVAILABLE, "not built for this processor");
    return NULL;
}

#endif
