/* The table of assigned mobile ranges. Checklist: a new range also goes into tests/unit/phone_test.c. */
#include "auth/cn_ranges.h"

#include <stddef.h>

/* First digits of assigned ranges; those of virtual operators are marked. */
struct cn_range {
    const char *prefix;
    bool is_virtual;
};

static const struct cn_range cn_ranges[] = {
    {"13", false},    {"145", false},   {"147", false},   {"150", false},   {"151", false},
    {"152", false},   {"153", false},   {"155", false},   {"156", false},   {"157", false},
    {"158", false},   {"159", false},   {"1610", false},  {"162", true},    {"165", true},
    {"166", false},   {"167", true},    {"170", true},    {"171", true},    {"172", false},
    {"173", false},   {"17400", false}, {"17401", false}, {"17402", false}, {"17403", false},
    {"17404", false}, {"17405", false}, {"175", false},   {"176", false},   {"177", false},
    {"178", false},   {"18", false},    {"190", false},   {"191", false},   {"192", false},
    {"193", false},   {"195", false},   {"196", false},   {"197", false},   {"198", false},
    {"199", false},
};

static const struct cn_range *cn_range_find(struct str national)
{
    for (size_t i = 0; i < sizeof cn_ranges / sizeof *cn_ranges; i++) {
        if (str_starts(national, str_from(cn_ranges[i].prefix))) {
            return &cn_ranges[i];
        }
    }
    return NULL;
}

bool cn_mobile_is_shaped(struct str national)
{
    if (national.n != CN_MOBILE_DIGITS || national.p[0] != '1' || national.p[1] < '3') {
        return false;
    }
    for (size_t i = 0; i < national.n; i++) {
        if (national.p[i] < '0' || national.p[i] > '9') {
            return false;
        }
    }
    return true;
}

bool cn_mobile_is_assigned(struct str national)
{
    return cn_mobile_is_shaped(national) && cn_range_find(national) != NULL;
}

bool cn_mobile_is_virtual(struct str national)
{
    const struct cn_range *range = cn_range_find(national);
    return cn_mobile_is_shaped(national) && range && range->is_virtual;
}
