/* The tile unit of AMX: what amx_strips.h asks of it, one instruction each. Eight tiles of up to 16 rows of 64 bytes; a thread
 * has its own, and must have configured them. The tests have a stand-in of the same names (tests/unit/tile_standin.h), which
 * runs anywhere.
 *
 * Instructions are written out: gcc 12's intrinsic for ldtilecfg tells the compiler that it reads 8 of the 64 bytes. The
 * compiler knows no tiles and uses none, so their number is part of the text: a macro that is a number. */
#ifndef TIDE_WORKER_CPU_TILE_UNIT_H
#define TIDE_WORKER_CPU_TILE_UNIT_H

#include "base/err.h"

/* Of functions that use it: what there is beside AVX-512 (avx512.h). */
#define AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,amx-tile,amx-int8")))

#define TILE_NAME(t) "%%tmm" TIDE_STR1(t)

/* config: struct tile_config. All tiles become zero. */
#define tile_configure(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(config)))
#define tile_release() __asm__ volatile("tilerelease" ::)

#define tile_zero(t) __asm__ volatile("tilezero " TILE_NAME(t)::)

/* Rows that stand `stride` bytes apart. */
#define tile_load(t, from, stride)                                                                           \
    __asm__ volatile("tileloadd (%0,%1,1), " TILE_NAME(t)::"r"(from), "r"((size_t)(stride)) : "memory")
#define tile_store(t, to, stride)                                                                            \
    __asm__ volatile("tilestored " TILE_NAME(t) ", (%0,%1,1)" ::"r"(to), "r"((size_t)(stride)) : "memory")

/* sums[i][j] += the sum over k of a[i][4k..4k+3] . b[k][4j..4j+3]: int8 by int8, 32-bit sums. */
#define tile_dot(sums, a, b)                                                                                 \
    __asm__ volatile("tdpbssd " TILE_NAME(b) ", " TILE_NAME(a) ", " TILE_NAME(sums)::)

#endif
