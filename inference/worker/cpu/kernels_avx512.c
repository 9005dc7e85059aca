/* AVX-512 with VNNI: servers since 2019, AMD since 2022. What is no matrix product is the AVX2 code itself. */
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__) && !defined(TIDE_NO_AVX512) /* measured without: engine_peer.py */

#include "inference/worker/cpu/avx512_strips.h"

const struct cpu_kernels *cpu_kernels_avx512(void)
{
    static struct cpu_kernels kernels;
    const struct cpu_kernels *rest = cpu_kernels_avx2();
    bool usable = rest && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (!usable) {
        return NULL;
    }
    kernels = avx512_kernels(rest);
    return &kernels;
}

#else

const struct cpu_kernels *cpu_kernels_avx512(void)
{
    return NULL;
}

#endif
