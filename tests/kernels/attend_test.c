/* The paged cache and attention over it against their references: odd lengths, windows, groups, latents. */
#include "tests/kernels/caches.h"

static void compare(const struct shape *s, float scale, double tolerance)
{
    struct cached c = make_cached(s);
    c.host.scale *= scale;
    c.device.scale *= scale;
    float *is = host_bytes(c.out_values * sizeof *is);
    char what[96];
    attend_ref(&c.host);
    assert_int_equal(attend_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    snprintf(what, sizeof what, "%u heads over %u, keys of %u, %u positions, window %u", s->heads,
             s->key_heads, s->key_dim, s->length, s->window);
    expect_close(what, is, c.host.out, c.out_values, tolerance, tolerance);
    free(is);
    cached_free(&c);
}

static void test_lengths(void **state)
{
    static const uint32_t lengths[] = {1, 2, 15, 16, 17, 255, 256, 257, 513, 640};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct shape s = {3, 1, 16, 16, 16, 0, lengths[i], 0, false};
        compare(&s, 1.0F, 1e-5);
    }
}

static void test_heads_windows_and_latents(void **state)
{
    static const struct shape shapes[] = {
        {9, 3, 64, 64, 64, 0, 100, 0, false},   /* SmolLM2 */
        {14, 2, 40, 24, 24, 0, 70, 0, false},   /* seven to a key head, values of another width */
        {4, 4, 33, 33, 33, 0, 20, 0, false},    /* a key head each, odd dimension */
        {4, 1, 32, 32, 32, 7, 300, 0, false},   /* a window within one split */
        {2, 1, 32, 32, 32, 260, 600, 0, false}, /* a window over two splits */
        {6, 1, 576, 0, 512, 0, 40, 0, false},   /* latents: the key's beginning serves as value */
        {5, 1, 24, 0, 16, 0, 300, 0, false},    {2, 2, 32, 16, 16, 0, 40, 0, true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        compare(&shapes[i], 1.0F, 1e-5);
    }
}

/* Scores so far apart that only the largest of all, wherever it is, keeps the others' exponentials finite. */
static void test_scores_far_apart(void **state)
{
    struct shape s = {9, 3, 64, 64, 64, 0, 300, 0, false};
    compare(&s, 300.0F, 1e-3);
}

static void test_results_do_not_depend_on_the_batch(void **state)
{
    struct shape s = {6, 2, 32, 32, 32, 0, 600, 0, false};
    struct cached c = make_cached(&s);
    float *is = host_bytes(c.out_values * sizeof *is);
    float alone[6 * 32];
    assert_int_equal(attend_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    struct attend_params last = c.device;
    assert_int_equal(c.host.tokens.count, 5);
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
    struct shape s = {4, 1, 128, 128, 128, 0, 512, 0, false};
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
    static const struct shape shapes[] = {{2, 2, 20, 12, 12, 0, 70, 0, false},
                                          {1, 1, 33, 0, 0, 0, 17, 0, false},
                                          {3, 3, 64, 64, 64, 0, 1, 0, false},
                                          {2, 2, 32, 16, 16, 0, 9, 0, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        struct cached c = make_cached(s);
        uint32_t n = c.host.tokens.count;
        float *keys = random_floats((size_t)n * s->key_heads * s->key_dim, 4.0F);
        float *values = random_floats((size_t)n * s->key_heads * s->value_dim + 1, 4.0F);
        uint16_t *is = host_bytes(c.key_values * 2);
        struct kv_store_params p = {c.host.layer, c.host.tokens, keys, values};
        struct kv_store_params q = {c.device.layer, c.device.tokens, NULL, NULL};
        q.keys = device_copy(keys, (size_t)n * s->key_heads * s->key_dim * sizeof *keys);
        q.values = device_copy(values, ((size_t)n * s->key_heads * s->value_dim + 1) * sizeof *values);
        kv_store_ref(&p);
        assert_int_equal(kv_store_launch(&q, device_stream), cudaSuccess);
        host_copy(is, c.device_keys, c.key_values * 2);
        assert_memory_equal(is, p.layer.keys, c.key_values * 2);
        if (s->value_dim) {
            host_copy(is, c.device_values, c.value_values * 2);
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
        cmocka_unit_test_setup_teardown(test_scores_far_apart, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_results_do_not_depend_on_the_batch, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_store, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
