/* The chunked coding of requests (base/http/h1_parse.h): the same bodies and the same ends however it is cut. */
#include "base/buf.h"
#include "base/http/h1_parse.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    struct buf data;
    size_t used;
    enum h1_chunk_result result;
};

static void feed(struct h1_chunked *d, struct outcome *o, const uint8_t *p, size_t n)
{
    char *exact = fuzz_copy(p, n);
    struct str in = str_of(exact, n);
    struct str data;
    while (o->result == H1_CHUNK_MORE && (o->result = h1_chunked_next(d, &in, &data)) == H1_CHUNK_HAS_DATA) {
        MUST(data.n > 0);
        buf_add_str(&o->data, data);
        o->result = H1_CHUNK_MORE;
    }
    o->used += n - in.n;
    free(exact);
}

/* Pieces of `step` bytes, the first of `first`. */
static struct outcome run(const uint8_t *data, size_t n, size_t first, size_t step)
{
    struct h1_chunked d = {0};
    struct outcome o = {.result = H1_CHUNK_MORE};
    buf_init(&o.data, 1 << 24);
    for (size_t at = 0, take = first; at < n && o.result == H1_CHUNK_MORE; at += take, take = step) {
        take = take < n - at ? take : n - at;
        feed(&d, &o, data + at, take);
    }
    return o;
}

static void check_same(struct outcome *a, struct outcome b)
{
    MUST(a->result == b.result && str_eq(buf_str(&a->data), buf_str(&b.data)));
    MUST(a->used == b.used || a->result == H1_CHUNK_BAD);
    buf_clear(&b.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct outcome whole = run(data, n, n, n);
    MUST(whole.data.n <= n && whole.used <= n);
    check_same(&whole, run(data, n, fuzz_cut(data, n), n));
    check_same(&whole, run(data, n, 1, 1));
    buf_clear(&whole.data);
    return 0;
}
