/* Headers of the PROXY protocol (base/http/proxy_protocol.h): whatever follows a whole one changes nothing, and what
 * is less than one is neither whole nor wrong. */
#include "base/http/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

static int parse(const uint8_t *p, size_t n, struct proxy_header *out)
{
    char *exact = fuzz_copy(p, n);
    memset(out, 0, sizeof(*out));
    int rc = proxy_header_parse(str_of(exact, n), out);
    free(exact);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_header whole, cut;
    int rc = parse(data, n, &whole);
    MUST(rc >= 0 || rc == ERR_PROTOCOL);
    MUST(rc <= PROXY_HEADER_V2_MAX && rc <= (int)n);
    MUST(rc != 0 || n < PROXY_HEADER_V2_MAX);
    for (size_t k = 0; k < n && k <= PROXY_HEADER_V2_MAX; k++) {
        int less = parse(data, k, &cut);
        if (rc > 0 && k < (size_t)rc) {
            MUST(less == 0);
        } else if (rc > 0) {
            MUST(less == rc && memcmp(&whole, &cut, sizeof(cut)) == 0);
        } else {
            MUST(less == 0 || less == rc);
        }
    }
    return 0;
}
