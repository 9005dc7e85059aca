/* Addresses, prefixes and endpoints (base/addr.h): one text form for one address. */
#include "base/addr.h"
#include "tests/fuzz/fuzz.h"

static void check_addr(struct str text)
{
    struct addr a, again;
    char written[ADDR_TEXT];
    if (addr_parse(text, &a)) {
        addr_format(&a, written);
        MUST(addr_parse(str_from(written), &again) && addr_eq(&a, &again));
        struct addr_prefix own = addr_mask(&a, 32, 128);
        MUST(addr_prefix_has(&own, &a));
        (void)addr_is_public(&a);
    }
}

static void check_prefix(struct str text)
{
    struct addr_prefix p, again;
    char written[ADDR_TEXT + 4];
    if (addr_prefix_parse(text, &p)) {
        MUST(p.bits <= 128 && addr_prefix_has(&p, &p.addr));
        addr_prefix_format(&p, written);
        MUST(addr_prefix_parse(str_from(written), &again));
        MUST(again.bits == p.bits && addr_eq(&again.addr, &p.addr));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct endpoint e;
    struct err err = {0};
    char *exact = fuzz_copy(data, n);
    struct str text = str_of(exact, n);
    check_addr(text);
    check_prefix(text);
    if (endpoint_parse(text, &e, &err) == 0) {
        MUST(e.sa_len > 0 && e.sa_len <= sizeof(e.sa) && strlen(e.text) < sizeof(e.text));
    } else {
        MUST(err.msg[0]);
    }
    free(exact);
    return 0;
}
