/* Configuration files (base/conf.h) with the tables of the gateway: a refusal names a place, and what was accepted is
 * accepted again as --print-config writes it, and then written the same. */
#include "base/conf.h"
#include "gateway/config.h"
#include "tests/fuzz/fuzz.h"

static const char masked[] = "\"***\"";

static void check_again(struct conf *c)
{
    struct conf *again = NULL;
    struct err err = {0};
    struct buf first, second;
    char path[256];
    buf_init(&first, 1 << 22);
    buf_init(&second, 1 << 22);
    conf_write(c, &first);
    if (!strstr(first.p, masked)) {
        MUST(conf_parse(buf_str(&first), "again", &gateway_conf_section, &again, &err) == 0);
        conf_write(again, &second);
        MUST(str_eq(buf_str(&first), buf_str(&second)));
        MUST(!conf_needs_restart(c, again, path, sizeof(path)));
        conf_unref(again);
    }
    buf_clear(&first);
    buf_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct conf *c = NULL;
    struct err err = {0};
    char *exact = fuzz_copy(data, n);
    int rc = conf_parse(str_of(exact, n), "fuzz", &gateway_conf_section, &c, &err);
    free(exact);
    if (rc == 0) {
        check_again(c);
        conf_unref(c);
    } else {
        MUST(!c && strncmp(err.msg, "fuzz", 4) == 0);
    }
    return 0;
}
