#include "base/money.h"

#include <stdio.h>

enum { DECIMALS = 6, MOST = 1000000 };

bool money_parse(struct str text, uint64_t *millionths)
{
    struct str whole = STR("");
    uint64_t units = 0;
    uint64_t fraction = 0;
    struct str rest = text;
    bool has_point = memchr(text.p, '.', text.n) != NULL;
    (void)str_cut(&rest, '.', &whole);
    if (!str_u64(whole, &units) || units > MOST) {
        return false;
    }
    if (has_point && (rest.n > DECIMALS || !str_u64(rest, &fraction))) {
        return false;
    }
    for (size_t n = rest.n; has_point && n < DECIMALS; n++) {
        fraction *= 10;
    }
    *millionths = units * MONEY_ONE + fraction;
    return true;
}

void money_format(uint64_t millionths, char out[MONEY_TEXT_MAX])
{
    int n = snprintf(out, MONEY_TEXT_MAX, "%llu.%06llu", (unsigned long long)(millionths / MONEY_ONE),
                     (unsigned long long)(millionths % MONEY_ONE));
    while (n > 0 && out[n - 1] == '0') {
        out[--n] = '\0';
    }
    if (n > 0 && out[n - 1] == '.') {
        out[n - 1] = '\0';
    }
}
