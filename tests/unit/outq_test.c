#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/http/outq.h"

static void bytes_come_out_as_they_went_in(void **state)
{
    struct outq_pool pool = {0};
    struct outq q = {0};
    char in[1000];
    char out[1777];
    uint8_t next_in = 0;
    uint8_t next_out = 0;
    size_t put = 0;
    size_t got = 0;
    for (int round = 0; round < 500; round++) {
        size_t n = (size_t)(round * 37 % 1000);
        for (size_t i = 0; i < n; i++) {
            in[i] = (char)next_in++;
        }
        outq_add(&q, &pool, in, n);
        put += n;
        size_t m = outq_read(&q, &pool, out, (size_t)(round * 53 % 1777));
        for (size_t i = 0; i < m; i++) {
            assert_int_equal((uint8_t)out[i], next_out++);
        }
        got += m;
        assert_int_equal(q.n, put - got);
    }
    outq_clear(&q, &pool);
    assert_int_equal(q.n, 0);
    assert_null(q.head);
    outq_pool_clear(&pool);
}

static void reserved_room_is_contiguous(void **state)
{
    struct outq_pool pool = {0};
    struct outq q = {0};
    outq_add(&q, &pool, "abc", 3);
    memset(outq_reserve(&q, &pool, OUTQ_BLOCK_BYTES), 'x', OUTQ_BLOCK_BYTES);
    outq_commit(&q, OUTQ_BLOCK_BYTES);
    assert_int_equal(q.n, OUTQ_BLOCK_BYTES + 3);
    assert_true(str_is(outq_front(&q), "abc"));
    outq_consume(&q, &pool, 4);
    assert_int_equal(outq_front(&q).n, OUTQ_BLOCK_BYTES - 1);
    outq_consume(&q, &pool, OUTQ_BLOCK_BYTES - 1);
    assert_int_equal(outq_front(&q).n, 0);
    outq_pool_clear(&pool);
}

static void a_small_start_grows_in_one_piece(void **state)
{
    struct outq_pool pool = {0};
    struct outq q = {0};
    static char text[OUTQ_SMALL_BYTES];
    memset(text, 'y', sizeof text);
    outq_add(&q, &pool, text, 300);
    assert_int_equal(q.head->size, OUTQ_SMALL_BYTES);
    outq_consume(&q, &pool, 100);
    outq_add(&q, &pool, text, sizeof text); /* does not fit behind them */
    assert_int_equal(q.head->size, OUTQ_BLOCK_BYTES);
    assert_int_equal(outq_front(&q).n, 200 + sizeof text);
    assert_int_equal(q.n, 200 + sizeof text);
    assert_int_equal(pool.small_count, 1);
    outq_clear(&q, &pool);
    outq_add(&q, &pool, text, sizeof text);
    assert_int_equal(pool.small_count, 0); /* the one that was kept */
    assert_int_equal(q.head->size, OUTQ_SMALL_BYTES);
    outq_clear(&q, &pool);
    outq_pool_clear(&pool);
}

static void pool_is_bounded(void **state)
{
    struct outq_pool pool = {0};
    struct outq q = {0};
    char *big = calloc(OUTQ_POOL_BLOCKS + 10, OUTQ_BLOCK_BYTES);
    outq_add(&q, &pool, big, (size_t)(OUTQ_POOL_BLOCKS + 10) * OUTQ_BLOCK_BYTES);
    outq_clear(&q, &pool);
    assert_int_equal(pool.large_count, OUTQ_POOL_BLOCKS);
    outq_pool_clear(&pool);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(reserved_room_is_contiguous),
        cmocka_unit_test(a_small_start_grows_in_one_piece),
        cmocka_unit_test(pool_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
