/* Files of places (base/geo.h): one that is accepted can be asked about every address. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/geo.h"
#include "tests/fuzz/fuzz.h"

/* libmaxminddb 1.7 forgets a little when the metadata of a file is broken. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libmaxminddb";
}

static void ask(const struct geo *g)
{
    struct geo_place place;
    for (unsigned i = 0; i < 256; i++) {
        struct addr v4 = {.b = {[10] = 0xff, [11] = 0xff, (uint8_t)i, 2, 3, 4}};
        struct addr v6 = {.b = {0x20, (uint8_t)i, 0x0d, 0xb8}};
        MUST(geo_find(g, &v4, &place) && (place.country[0] == 0 || place.country[2] == 0));
        MUST(geo_find(g, &v6, &place) && (place.country[0] == 0 || place.country[2] == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    struct geo *g = NULL;
    struct err err = {0};
    int fd = memfd_create("geo_fuzz", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = geo_open((const char *const[]){path, NULL}, &g, &err);
    close(fd);
    if (rc == 0) {
        ask(g);
        geo_unref(g);
    } else {
        MUST(err.msg[0]);
    }
    return 0;
}
