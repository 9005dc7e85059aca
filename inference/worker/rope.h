/* Rotary positions: pair i of a head at position p turns by p * frequency[i] radians.
 * Whatever stretches them (linear scaling, YaRN, divisors from the file) is in the frequencies already, so a
 * backend needs no more than this table.
 *
 *     x' = x cos(a) - y sin(a)      y' = x sin(a) + y cos(a)      a = p * frequency[i], both times magnitude
 *
 * Sources: RoFormer (Su et al. 2021), YaRN (Peng et al. 2023, 3.2 and 3.4).
 * Errors: ERR_INVALID names the key whose value makes no sense; ERR_NOMEM.
 * Thread rule: read-only after rope_init. */
#ifndef TIDE_WORKER_ROPE_H
#define TIDE_WORKER_ROPE_H

#include <stdint.h>

#include "base/err.h"

enum rope_style {
    ROPE_PAIRS = 0,  /* values 2i and 2i + 1 are a pair */
    ROPE_HALVES = 1, /* values i and i + dims / 2 */
};

struct rope_conf {
    enum rope_style style;
    uint32_t dims;             /* rotated values of a head, even */
    double base;               /* frequencies without scaling are base^(-2i / dims) */
    double factor;             /* positions are stretched by it; 1: not */
    bool is_yarn;              /* only low frequencies are stretched, in between by a ramp */
    uint32_t original_context; /* YaRN: positions before the stretching */
    double beta_fast;          /* YaRN: turns within original_context above which nothing is stretched */
    double beta_slow;          /* YaRN: turns below which all is */
    float magnitude;
    const float *divisors; /* dims / 2 of the frequencies; NULL: none; borrowed during rope_init */
};

struct rope {
    enum rope_style style;
    uint32_t dims;     /* 0: not used by this model */
    float magnitude;   /* 1 but for YaRN */
    double *frequency; /* dims / 2, radians a position */
};

int rope_init(struct rope *r, const struct rope_conf *conf, struct err *err) TIDE_CHECK;
void rope_clear(struct rope *r);

#endif
