/* The attention of kernels_avx2.c's table. Exists on x86-64 only.
 * Thread rule: a pure function. */
#ifndef TIDE_WORKER_CPU_ATTEND_AVX2_H
#define TIDE_WORKER_CPU_ATTEND_AVX2_H

#include "inference/worker/cpu/kernels.h"

void cpu_attend_avx2(const struct attend_job *job);

#endif
