/* TLS 1.3 records under known keys (base/http/tls_records.h).
 *
 * Even first byte: the rest is what a client sends, whole and cut. Odd: the rest are steps (type, change, length,
 * content): our own client seals the content, `change` other than 0 flips a bit of the record, and the server must
 * open what was sealed, or find out. */
#include "base/buf.h"
#include "base/http/tls_records.h"
#include "tests/fuzz/fuzz.h"

#define RANDOM "cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 "

static struct tls_ciphers *ciphers;
static char plain[TLS_RECORD_PLAIN_MAX + 1];

/* The keys of RFC 8448 section 3; a client has them the other way round. */
static struct tls_records *records_new(bool is_client)
{
    struct tls_secrets s = {0};
    if (!ciphers) {
        ciphers = tls_ciphers_new();
    }
    tls_secrets_take(&s, is_client ? "SERVER_TRAFFIC_SECRET_0 " RANDOM
                                     "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
                                   : "CLIENT_TRAFFIC_SECRET_0 " RANDOM
                                     "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    tls_secrets_take(&s, is_client ? "CLIENT_TRAFFIC_SECRET_0 " RANDOM
                                     "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
                                   : "SERVER_TRAFFIC_SECRET_0 " RANDOM
                                     "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    struct tls_records *r = tls_records_new(ciphers, 0x1301, &s, 0);
    MUST(r);
    return r;
}

struct outcome {
    struct buf data;
    enum tls_opened last; /* CLOSED and FAILED end it */
    enum tls_alert alert;
};

static void open_all(struct tls_records *r, struct outcome *o, const uint8_t *p, size_t n)
{
    char *exact = fuzz_copy(p, n);
    struct str in = str_of(exact, n);
    while (in.n > 0 && o->last < TLS_OPENED_CLOSED) {
        size_t got = 0, before = in.n;
        o->last = tls_records_open(r, &in, plain, &got);
        MUST(in.n < before || o->last == TLS_OPENED_FAILED);
        if (o->last == TLS_OPENED_DATA) {
            MUST(got <= TLS_RECORD_PLAIN_MAX);
            buf_add(&o->data, plain, got);
        }
    }
    free(exact);
}

static struct outcome run_raw(const uint8_t *data, size_t n, size_t first, size_t step)
{
    struct tls_records *r = records_new(false);
    struct outcome o = {.last = TLS_OPENED_MORE};
    buf_init(&o.data, 1 << 24);
    for (size_t at = 0, take = first; at < n && o.last < TLS_OPENED_CLOSED; at += take, take = step) {
        take = take < n - at ? take : n - at;
        open_all(r, &o, data + at, take);
    }
    o.alert = o.last == TLS_OPENED_FAILED ? tls_records_alert(r) : TLS_ALERT_CLOSE_NOTIFY;
    tls_records_free(r);
    return o;
}

static void raw(const uint8_t *data, size_t n)
{
    struct outcome whole = run_raw(data, n, n, n);
    for (int i = 0; i < 2; i++) {
        struct outcome cut = i ? run_raw(data, n, 1, 1) : run_raw(data, n, fuzz_cut(data, n), n);
        MUST(whole.alert == cut.alert && str_eq(buf_str(&whole.data), buf_str(&cut.data)));
        MUST((whole.last >= TLS_OPENED_CLOSED) == (cut.last >= TLS_OPENED_CLOSED));
        buf_clear(&cut.data);
    }
    buf_clear(&whole.data);
}

/* What the server made of one record; false when it takes no more. */
static bool step(struct tls_records *client, struct tls_records *server, const uint8_t head[3],
                 const uint8_t *content)
{
    char sealed[256 + TLS_RECORD_MORE];
    size_t n = tls_records_seal(client, (enum tls_content)head[0], content, head[2], sealed), got = 0;
    size_t at = head[1] % n;
    bool is_changed = head[1] != 0 && at != 3 && at != 4; /* the length: then it may only wait */
    if (is_changed) {
        sealed[at] ^= (char)(1 << head[1] % 8);
    }
    struct str in = str_of(sealed, n);
    enum tls_opened opened = tls_records_open(server, &in, plain, &got);
    MUST(!is_changed || opened == TLS_OPENED_FAILED);
    if (opened == TLS_OPENED_DATA && head[0] == TLS_CONTENT_DATA) {
        MUST(got == head[2] && memcmp(plain, content, got) == 0);
    }
    MUST(head[0] != TLS_CONTENT_DATA || opened == TLS_OPENED_DATA || opened == TLS_OPENED_FAILED);
    MUST(opened != TLS_OPENED_MORE && (in.n == 0 || opened == TLS_OPENED_FAILED));
    return opened == TLS_OPENED_DATA; /* after a KeyUpdate of its own making the client would need new keys */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        raw(data + 1, n - 1);
        return 0;
    }
    struct tls_records *client = records_new(true), *server = records_new(false);
    for (size_t at = 1; at + 3 <= n && data[at + 2] <= n - at - 3; at += 3 + (size_t)data[at + 2]) {
        if (!step(client, server, data + at, data + at + 3)) {
            break;
        }
    }
    tls_records_free(client);
    tls_records_free(server);
    return 0;
}
