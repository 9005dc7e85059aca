/* The paged cache and attention over it against their references: odd lengths, windows, groups, latents. */
#include "tests/kernels/matrices.h"

#include "kernels/attend.h"

enum { SEQUENCES = 3, TABLE_WIDTH = 40, BLOCKS = SEQUENCES * TABLE_WIDTH };

struct shape {
    uint32_t heads;
    uint32_t key_heads;
    uint32_t key_dim;
    uint32_t value_dim; /* 0: the key's beginning */
    uint32_t out_dim;
    uint32_t window;
    uint32_t length; /* positions of the longest sequence */
};

struct cached {
    struct attend_params host;
    struct attend_params device;
    size_t key_values;
    size_t value_values;
    size_t out_values;
};

/* Each sequence's blocks stand in a drawn order. */
static uint32_t *random_tables(void)
{
    uint32_t *tables = host_bytes(BLOCKS * sizeof *tables);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        tables[i] = i;
    }
    for (uint32_t i = BLOCKS; i > 1; i--) {
        uint32_t other = (uint32_t)(test_random() % i);
        uint32_t v = tables[i - 1];
        tables[i - 1] = tables[other];
        tables[other] = v;
    }
    return tables;
}

/* Three sequences with a token each, and one of them with two more: lengths `length`, 1 and about half. */
static void make_tokens(struct attend_params *p, uint32_t length)
{
    enum { COUNT = 5 };
    uint32_t *positions = host_bytes(COUNT * sizeof *positions);
    uint32_t *sequences = host_bytes(COUNT * sizeof *sequences);
    for (uint32_t i = 0; i < COUNT; i++) {
        positions[i] = i == 0 ? length - 1 : i == 1 ? 0 : length / 2 + i - 2;
        sequences[i] = i < 3 ? i : 2;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        positions[i] = positions[i] < length ? positions[i] : length - 1;
    }
    p->tokens = (struct kv_cache_tokens){positions, sequences, random_tables(), TABLE_WIDTH, COUNT};
}

static struct cached make_cached(const struct shape *s)
{
    struct cached c = {0};
    c.key_values = (size_t)BLOCKS * s->key_heads * KV_CACHE_BLOCK * s->key_dim;
    c.value_values = (size_t)BLOCKS * s->key_heads * KV_CACHE_BLOCK * s->value_dim;
    c.host = (struct attend_params){
        .layer = {random_halves(c.key_values, 1.0F), NULL, s->key_heads, s->key_dim, s->value_dim},
        .heads = s->heads,
        .out_dim = s->out_dim,
        .window = s->window,
        .positions = s->length,
        .scale = 0.3F};
    c.host.layer.values = random_halves(c.value_values + 1, 1.0F);
    make_tokens(&c.host, s->length);
    uint32_t n = c.host.tokens.count;
    c.host.query = random_floats((size_t)n * s->heads * s->key_dim, 1.0F);
    c.out_values = (size_t)n * s->heads * s->out_dim;
    c.host.out = host_bytes(c.out_values * sizeof(float));
    c.device = c.host;
    c.device.layer.keys = device_copy(c.host.layer.keys, c.key_values * 2);
    c.device.layer.values = s->value_dim ? device_copy(c.host.layer.values, c.value_values * 2) : NULL;
    c.device.tokens.positions = device_copy(c.host.tokens.positions, n * sizeof(uint32_t));
    c.device.tokens.sequences = device_copy(c.host.tokens.sequences, n * sizeof(uint32_t));
    c.device.tokens.tables = device_copy(c.host.tokens.tables, BLOCKS * sizeof(uint32_t));
    c.device.query = device_copy(c.host.query, (size_t)n * s->heads * s->key_dim * sizeof(float));
    c.device.out = device_bytes(c.out_values * sizeof(float));
    c.device.scratch =
        device_bytes(attend_scratch_values(n, s->heads, s->out_dim, s->length) * sizeof(float));
    return c;
}

static void cached_free(struct cached *c)
{
    free(c->host.layer.keys);
    free(c->host.layer.values);
    free((void *)c->host.tokens.positions);
    free((void *)c->host.tokens.sequences);
    free((void *)c->host.tokens.tables);
    free((void *)c->host.query);
    free(c->host.out);
}

static void compare(const struct shape *s)
{
    struct cached c = make_cached(s);
    float *is = host_bytes(c.out_values * sizeof *is);
    char what[96];
    attend_ref(&c.host);
    assert_int_equal(attend_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    snprintf(what, sizeof what, "%u heads over %u, keys of %u, %u positions, window %u", s->heads,
             s->key_heads, s->key_dim, s->length, s->window);
    expect_close(what, is, c.host.out, c.out_values, 1e-5, 1e-5);
    free(is);
    cached_free(&c);
}

static void test_lengths(void **state)
{
    static const uint32_t lengths[] = {1, 2, 15, 16, 17, 255, 256, 257, 513, 640};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct shape s = {3, 1, 16, 16, 16, 0, lengths[i]};
        compare(&s);
    }
}

static void test_heads_windows_and_latents(void **state)
{
    static const struct shape shapes[] = {
        {9, 3, 64, 64, 64, 0, 100},   /* SmolLM2 */
        {14, 2, 40, 24, 24, 0, 70},   /* seven to a key head, values of another width */
        {4, 4, 33, 33, 33, 0, 20},    /* a key head each, odd dimension */
        {4, 1, 32, 32, 32, 7, 300},   /* a window within one split */
        {2, 1, 32, 32, 32, 260, 600}, /* a window over two splits */
        {6, 1, 576, 0, 512, 0, 40},   /* latents: the key's beginning serves as value */
        {5, 1, 24, 0, 16, 0, 300},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        compare(&shapes[i]);
    }
}

static void test_results_do_not_depend_on_the_batch(void **state)
{
    struct shape s = {6, 2, 32, 32, 32, 0, 600};
    struct cached c = make_cached(&s);
    float *is = host_bytes(c.out_values * sizeof *is);
    float alone[6 * 32];
    assert_int_equal(attend_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    struct attend_params last = c.device;
    last.tokens.count = 1;
    last.tokens.positions += 4;
    last.tokens.sequences += 4;
    last.query += (size_t)4 * 6 * 32;
    last.positions = c.host.tokens.positions[4] + 1;
    assert_int_equal(attend_launch(&last, device_stream), cudaSuccess);
    host_copy(alone, last.out, sizeof alone);
    assert_memory_equal(alone, is + (size_t)4 * 6 * 32, sizeof alone);
    free(is);
    cached_free(&c);
}

static void test_bounds(void **state)
{
    struct attend_params p = {.layer = {NULL, NULL, 2, 64, 64}, .heads = 4, .out_dim = 64, .positions = 8};
    assert_int_equal(attend_launch(&p, device_stream), cudaSuccess); /* no tokens: nothing to do */
    p.heads = 3;
    assert_int_equal(attend_launch(&p, device_stream), cudaErrorInvalidValue);
    p.heads = 4;
    p.out_dim = 65;
    assert_int_equal(attend_launch(&p, device_stream), cudaErrorInvalidValue);
    p.out_dim = 64;
    p.layer.key_dim = ATTEND_MOST_DIM + 1;
    assert_int_equal(attend_launch(&p, device_stream), cudaErrorInvalidValue);
}

/* Keys and values are read once a head tile, without a byte beside them, and without bank conflicts. */
static void test_traffic(void **state)
{
    struct shape s = {4, 1, 128, 128, 128, 0, 512};
    struct cached c = make_cached(&s);
    c.device.tokens.count = 1; /* the sequence of 512 */
    emu_traffic_start();
    assert_int_equal(attend_launch(&c.device, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic t = emu_traffic_stop();
    size_t least = (size_t)512 * (128 + 128) * 2;
    print_message("attention: %zu bytes read, at least %zu; %zu bank conflicts; %u bytes shared\n",
                  (size_t)t.read_bytes, least, (size_t)t.bank_conflicts, t.shared_bytes);
    assert_true((double)t.read_bytes <= 1.05 * (double)least);
    assert_int_equal(t.bank_conflicts, 0);
    assert_int_equal(t.shared_bytes, 4 * (ATTEND_MOST_DIM + ATTEND_SPLIT) * sizeof(float));
    cached_free(&c);
}

/* --- the cache --------------------------------------------------------------------------------------------- */

static void test_store(void **state)
{
    static const struct shape shapes[] = {
        {2, 2, 20, 12, 12, 0, 70}, {1, 1, 33, 0, 0, 0, 17}, {3, 3, 64, 64, 64, 0, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        struct cached c = make_cached(s);
        uint32_t n = s->length == 1 ? 3 : 5; /* a position of a sequence has one token */
        float *keys = random_floats((size_t)n * s->key_heads * s->key_dim, 4.0F);
        float *values = random_floats((size_t)n * s->key_heads * s->value_dim + 1, 4.0F);
        uint16_t *is = host_bytes(c.key_values * 2);
        struct kv_store_params p = {c.host.layer, c.host.tokens, keys, values};
        struct kv_store_params q = {c.device.layer, c.device.tokens, NULL, NULL};
        p.tokens.count = q.tokens.count = n;
        q.keys = device_copy(keys, (size_t)n * s->key_heads * s->key_dim * sizeof *keys);
        q.values = device_copy(values, ((size_t)n * s->key_heads * s->value_dim + 1) * sizeof *values);
        kv_store_ref(&p);
        assert_int_equal(kv_store_launch(&q, device_stream), cudaSuccess);
        host_copy(is, q.layer.keys, c.key_values * 2);
        assert_memory_equal(is, p.layer.keys, c.key_values * 2);
        if (s->value_dim) {
            host_copy(is, q.layer.values, c.value_values * 2);
            assert_memory_equal(is, p.layer.values, c.value_values * 2);
        }
        free(keys);
        free(values);
        free(is);
        cached_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lengths, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_heads_windows_and_latents, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_results_do_not_depend_on_the_batch, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_store, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
