#include "inference/worker/choices.h"

#include <string.h>

static unsigned byte_of(float weight, unsigned shift)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits >> shift & 255;
}

/* Sorts by one byte of the weight, the highest first; equals keep their order. */
static void sort_by_byte(const struct choice *from, struct choice *to, uint32_t n, unsigned shift)
{
    uint32_t place[256] = {0}; /* how many have that byte; then where the next of them goes */
    uint32_t before = 0;
    for (uint32_t i = 0; i < n; i++) {
        place[byte_of(from[i].weight, shift)]++;
    }
    for (unsigned byte = 256; byte-- > 0;) {
        uint32_t count = place[byte];
        place[byte] = before;
        before += count;
    }
    for (uint32_t i = 0; i < n; i++) {
        to[place[byte_of(from[i].weight, shift)]++] = from[i];
    }
}

void choices_sort(struct choice *choices, struct choice *spare, uint32_t n)
{
    for (unsigned shift = 0; shift < 32; shift += 16) {
        sort_by_byte(choices, spare, n, shift);
        sort_by_byte(spare, choices, n, shift + 8);
    }
}

uint32_t choices_heaviest(const struct choice *choices, uint32_t n, uint32_t k, double *total)
{
    n = n < k ? n : k;
    *total = 0;
    for (uint32_t i = 0; i < n; i++) {
        *total += (double)choices[i].weight;
    }
    return n;
}

uint32_t choices_nucleus(const struct choice *choices, uint32_t n, float top_p, double *total)
{
    double wanted = (double)top_p * *total;
    double sum = 0;
    uint32_t kept = 0;
    while (kept < n && (kept == 0 || sum < wanted)) {
        sum += (double)choices[kept++].weight;
    }
    *total = sum;
    return kept;
}

int32_t choices_draw(const struct choice *choices, uint32_t n, double target)
{
    uint32_t i = 0;
    for (; i + 1 < n; i++) {
        target -= (double)choices[i].weight;
        if (target < 0) {
            break;
        }
    }
    return choices[i].id;
}
