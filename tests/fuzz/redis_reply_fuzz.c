/* Answers of Redis (base/redis_reply.h): the same ones however the bytes are cut. */
#include "base/buf.h"
#include "base/redis_reply.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    struct buf text; /* all answers, written out */
    int rc;
};

static void write_reply(struct buf *out, const struct redis_reply *r, unsigned depth)
{
    MUST(depth < 16);
    buf_addf(out, "(%d %lld %zu:", (int)r->type, (long long)r->integer, r->text.n);
    buf_add_str(out, r->text);
    uint32_t count = 0;
    for (const struct redis_reply *item = r->items; item; item = item->next) {
        write_reply(out, item, depth + 1);
        count++;
    }
    MUST(r->type != REDIS_TYPE_ARRAY || count == r->count);
    buf_add_char(out, ')');
}

static struct seen run(const uint8_t *data, size_t n, size_t first, size_t step)
{
    struct redis_reader *reader = redis_reader_new();
    struct seen s = {0};
    buf_init(&s.text, 1 << 26);
    for (size_t at = 0, take = first; at < n && s.rc == 0; at += take, take = step) {
        take = take < n - at ? take : n - at;
        char *exact = fuzz_copy(data + at, take);
        s.rc = redis_reader_feed(reader, exact, take);
        free(exact);
        const struct redis_reply *reply = NULL;
        while (s.rc == 0 && (s.rc = redis_reader_next(reader, &reply)) == 1) {
            write_reply(&s.text, reply, 0);
            s.rc = 0;
        }
    }
    MUST(s.rc == 0 || (s.rc == ERR_PROTOCOL && redis_reader_trouble(reader)[0]));
    redis_reader_free(reader);
    return s;
}

static void check_same(const struct seen *a, struct seen b)
{
    MUST(a->rc == b.rc && str_eq(buf_str(&a->text), buf_str(&b.text)));
    buf_clear(&b.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen whole = run(data, n, n, n);
    check_same(&whole, run(data, n, fuzz_cut(data, n), n));
    if (n < 256) {
        check_same(&whole, run(data, n, 1, 1));
    }
    buf_clear(&whole.text);
    return 0;
}
