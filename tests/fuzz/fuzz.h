/* What every fuzz target includes: the one function that it has, and how it says that something does not hold.
 *
 *     libFuzzer (preset fuzz) or replay.c (every other build) -> LLVMFuzzerTestOneInput(input) -> 0, or abort
 *
 * A target asserts more than "does not crash": mostly that the verdict is the same however the input is cut, and
 * that what was accepted is accepted again when written anew.
 * Ownership: fuzz_copy is the caller's, to be freed. */
#ifndef TIDE_TESTS_FUZZ_H
#define TIDE_TESTS_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(cond) BUG_ON(!(cond))

/* A block of exactly n bytes, so that a sanitizer sees one byte too far. */
static inline char *fuzz_copy(const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    MUST(copy);
    memcpy(copy, p, n);
    return copy;
}

/* A place to cut an input, 0..n, by its bytes: the same input is always cut there. */
static inline size_t fuzz_cut(const uint8_t *data, size_t n)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ data[i]) * 16777619u;
    }
    return hash % (n + 1);
}

#endif
