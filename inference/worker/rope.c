#include "inference/worker/rope.h"

#include <math.h>
#include <stdlib.h>

/* The pair that turns `turns` times within the original context, as a real number. */
static double pair_of(const struct rope_conf *c, double turns)
{
    return c->dims * log(c->original_context / (turns * 2.0 * M_PI)) / (2.0 * log(c->base));
}

/* How much of pair i's frequency is stretched: 0 for the fast ones, 1 for the slow ones. */
static double stretched(const struct rope_conf *c, uint32_t i)
{
    if (!c->is_yarn) {
        return 1.0;
    }
    double low = fmax(0.0, floor(pair_of(c, c->beta_fast)));
    double high = fmin(c->dims - 1.0, ceil(pair_of(c, c->beta_slow)));
    double at = (i - low) / fmax(0.001, high - low);
    return fmin(1.0, fmax(0.0, at));
}

static int check(const struct rope_conf *c, struct err *err)
{
    if (c->dims == 0 || c->dims % 2) {
        return err_set(err, ERR_INVALID, "model: %u rotary values", c->dims);
    }
    if (!(c->base > 1.0 && c->base <= 1e9)) {
        return err_set(err, ERR_INVALID, "model: rope base %g", c->base);
    }
    if (!(c->factor >= 1.0 && c->factor <= 1e6) || !(c->magnitude > 0.0F && c->magnitude < 100.0F)) {
        return err_set(err, ERR_INVALID, "model: rope scaling factor %g, magnitude %g", c->factor,
                       (double)c->magnitude);
    }
    if (c->is_yarn && !(c->original_context > 0 && c->beta_slow > 0.0 && c->beta_fast > c->beta_slow)) {
        return err_set(err, ERR_INVALID, "model: rope scaling yarn of %u positions, beta %g to %g",
                       c->original_context, c->beta_fast, c->beta_slow);
    }
    for (uint32_t i = 0; c->divisors && i < c->dims / 2; i++) {
        if (!(c->divisors[i] > 0.0F && c->divisors[i] < 1e9F)) {
            return err_set(err, ERR_INVALID, "model: rope_freqs.weight has a divisor of %g",
                           (double)c->divisors[i]);
        }
    }
    return 0;
}

int rope_init(struct rope *r, const struct rope_conf *c, struct err *err)
{
    *r = (struct rope){.style = c->style, .dims = c->dims, .magnitude = c->magnitude};
    int rc = check(c, err);
    if (rc) {
        return rc;
    }
    r->frequency = malloc(c->dims / 2 * sizeof *r->frequency);
    if (!r->frequency) {
        return err_set(err, ERR_NOMEM, "model: no memory for %u frequencies", c->dims / 2);
    }
    for (uint32_t i = 0; i < c->dims / 2; i++) {
        double frequency = pow(c->base, -2.0 * i / c->dims);
        if (c->divisors) {
            frequency /= (double)c->divisors[i];
        }
        double part = stretched(c, i);
        r->frequency[i] = frequency / c->factor * part + frequency * (1.0 - part);
    }
    return 0;
}

void rope_clear(struct rope *r)
{
    free(r->frequency);
    *r = (struct rope){0};
}
