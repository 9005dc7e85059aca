/* Attention of prompts on tensor cores against its reference: odd lengths, groups, windows, several sequences in a tile. */
#include "tests/kernels/caches.h"

#include "kernels/attend_prompt.h"

static void compare(const struct shape *s)
{
    struct cached c = make_cached(s);
    float *is = host_bytes(c.out_values * sizeof *is);
    char what[96];
    attend_ref(&c.host);
    assert_int_equal(attend_prompt_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    snprintf(what, sizeof what, "%u heads over %u, %u and %u, %u positions, window %u, %u tokens", s->heads,
             s->key_heads, s->key_dim, s->out_dim, s->length, s->window, c.host.tokens.count);
    expect_close(what, is, c.host.out, c.out_values, 1e-5, 1e-5);
    free(is);
    cached_free(&c);
}

static const struct shape shapes[] = {
    {.heads = 1, .key_heads = 1, .key_dim = 16, .value_dim = 8, .out_dim = 8, .length = 1, .prompt = 1},
    {.heads = 1, .key_heads = 1, .key_dim = 16, .value_dim = 16, .out_dim = 16, .length = 32, .prompt = 32},
    {.heads = 3, .key_heads = 1, .key_dim = 16, .value_dim = 16, .out_dim = 16, .length = 33, .prompt = 30},
    {.heads = 2, .key_heads = 2, .key_dim = 24, .value_dim = 24, .out_dim = 16, .length = 100, .prompt = 65},
    {.heads = 9, .key_heads = 3, .key_dim = 64, .value_dim = 64, .out_dim = 64, .length = 70, .prompt = 20},
    {.heads = 4, .key_heads = 1, .key_dim = 128, .value_dim = 128, .out_dim = 128, .length = 40, .prompt = 9},
    {.heads = 1,
     .key_heads = 1,
     .key_dim = 256,
     .value_dim = 256,
     .out_dim = 256,
     .length = 40,
     .prompt = 17},
    {.heads = 2, .key_heads = 1, .key_dim = 32, .value_dim = 72, .out_dim = 72, .length = 300, .prompt = 12},
    {.heads = 2,
     .key_heads = 1,
     .key_dim = 32,
     .value_dim = 16,
     .out_dim = 16,
     .length = 50,
     .prompt = 12,
     .is_far = true},
};

static void test_shapes(void **state)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        compare(&shapes[i]);
    }
}

/* Windows shorter and longer than a tile, and one at the end of the tables; what lies before a window is no number. */
static void test_windows(void **state)
{
    struct shape last = {.heads = 1,
                         .key_heads = 1,
                         .key_dim = 24,
                         .value_dim = 16,
                         .out_dim = 16,
                         .window = 20,
                         .length = TABLE_WIDTH * KV_CACHE_BLOCK - 5,
                         .prompt = 9};
    compare(&last);
    static const uint32_t windows[] = {1, 5, 32, 50};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct shape s = {.heads = 2,
                          .key_heads = 1,
                          .key_dim = 16,
                          .value_dim = 16,
                          .out_dim = 16,
                          .window = windows[i],
                          .length = 130,
                          .prompt = 40};
        compare(&s);
    }
}

/* The last token of a prompt, alone and as the last of a batch: the same bits. */
static void test_results_do_not_depend_on_the_batch(void **state)
{
    struct shape s = {.heads = 6,
                      .key_heads = 2,
                      .key_dim = 32,
                      .value_dim = 32,
                      .out_dim = 32,
                      .length = 90,
                      .prompt = 30};
    struct cached c = make_cached(&s);
    float *is = host_bytes(c.out_values * sizeof *is);
    float alone[6 * 32];
    assert_int_equal(attend_prompt_launch(&c.device, device_stream), cudaSuccess);
    host_copy(is, c.device.out, c.out_values * sizeof *is);
    uint32_t before = c.host.tokens.count - 1;
    struct attend_params last = c.device;
    last.tokens.count = 1;
    last.tokens.positions += before;
    last.tokens.sequences += before;
    last.query += (size_t)before * 6 * 32;
    assert_int_equal(attend_prompt_launch(&last, device_stream), cudaSuccess);
    host_copy(alone, last.out, sizeof alone);
    assert_memory_equal(alone, is + (size_t)before * 6 * 32, sizeof alone);
    free(is);
    cached_free(&c);
}

static void expect_refused(struct attend_params p)
{
    assert_false(attend_prompt_takes(&p, 1));
    assert_int_equal(attend_prompt_launch(&p, device_stream), cudaErrorInvalidValue);
}

static void test_bounds(void **state)
{
    const struct attend_params good = {
        .layer = {NULL, NULL, 2, 64, 64}, .heads = 4, .out_dim = 64, .positions = 8};
    struct attend_params p = good;
    assert_int_equal(attend_prompt_launch(&p, device_stream), cudaSuccess); /* no tokens: nothing to do */
    p.tokens.count = 2 * ATTEND_PROMPT_LEAST;
    assert_true(attend_prompt_takes(&p, 2));
    assert_false(attend_prompt_takes(&p, 3));
    p.heads = 3;
    expect_refused(p);
    p = good;
    p.layer.value_dim = 0; /* latents */
    expect_refused(p);
    p = good;
    p.out_dim = 65;
    expect_refused(p);
    p.out_dim = 72;
    expect_refused(p);
    p = good;
    p.layer.key_dim = 60;
    expect_refused(p);
    p.layer.key_dim = ATTEND_PROMPT_MOST_DIM + 8;
    expect_refused(p);
    p = good;
    p.layer.value_dim = 68;
    expect_refused(p);
}

static struct emu_traffic traffic_of_positions(uint32_t length)
{
    struct shape s = {.heads = 4,
                      .key_heads = 1,
                      .key_dim = 128,
                      .value_dim = 128,
                      .out_dim = 128,
                      .length = length,
                      .prompt = 16};
    struct cached c = make_cached(&s);
    c.device.tokens.count = 16; /* one sequence, a tile of rows */
    emu_traffic_start();
    assert_int_equal(attend_prompt_launch(&c.device, device_stream), cudaSuccess);
    device_wait();
    cached_free(&c);
    return emu_traffic_stop();
}

/* A prompt's tile reads the cache once for all of its rows, and goes through no more tiles of 32 positions than there are. */
static void test_traffic(void **state)
{
    struct emu_traffic t = traffic_of_positions(128);
    size_t least = (size_t)128 * (128 + 128) * 2 + (size_t)16 * 4 * 128 * 4;
    print_message(
        "prompt: %zu bytes read, at least %zu; %zu sectors, at least %zu; %zu bank conflicts of %zu\n",
        (size_t)t.read_bytes, least, (size_t)t.sectors, (size_t)t.least_sectors, (size_t)t.bank_conflicts,
        (size_t)t.shared_requests);
    assert_true((double)t.read_bytes <= 1.05 * (double)least);
    assert_int_equal(t.sectors, t.least_sectors);
    assert_int_equal(t.bank_conflicts, 0);
    assert_int_equal(t.shared_bytes, 52224);
    assert_int_equal(t.shared_requests, traffic_of_positions(97).shared_requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shapes, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_windows, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_results_do_not_depend_on_the_batch, device_setup,
                                        device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("attend_prompt", tests, NULL, NULL);
}
