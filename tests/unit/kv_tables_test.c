/* Tables of blocks in a long random life of requests: whatever a query sees stands where its tables say, for layers
 * that see everything and for those that see a window, and no block is ever lost or taken twice. The cache is
 * played by arrays that hold, for each position of each block, what was computed there last. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "inference/worker/scheduler.h"

enum { CONTEXT = 160, SLOTS = 5, STEP_TOKENS = 40, BLOCKS = 34, LIFE = 6000, ANSWER_MAX = 60 };

struct played {
    struct scheduler *scheduler;
    struct scheduler_conf conf;
    uint64_t all[BLOCKS * KV_BLOCK];
    uint64_t window[BLOCKS * KV_BLOCK];
    uint32_t ends[BLOCKS * 100]; /* by id: how many tokens a sequence ends with */
    uint32_t most_in_window;
    uint64_t found;
    uint64_t next_id;
};

static struct played *play(uint32_t window, uint32_t window_blocks)
{
    struct played *p = calloc(1, sizeof *p);
    struct err err;
    assert_non_null(p);
    p->conf = (struct scheduler_conf){.kv = {.slots = SLOTS,
                                             .context = CONTEXT,
                                             .blocks = BLOCKS,
                                             .window_blocks = window_blocks,
                                             .window = window},
                                      .step_tokens = STEP_TOKENS};
    assert_int_equal(scheduler_new(&p->conf, &p->scheduler, &err), 0);
    return p;
}

/* What a position's keys depend on: the tenant and all tokens up to it. */
static uint64_t mark_of(const struct sequence *s, uint32_t position)
{
    uint64_t mark = 14695981039346656037U + s->job.tenant;
    for (uint32_t i = 0; i <= position; i++) {
        mark = (mark ^ (uint64_t)s->tokens.p[i]) * 1099511628211U;
    }
    return mark;
}

/* A few beginnings that many prompts share, then letters of their own. */
static void add_request(struct played *p)
{
    struct sequence *s = calloc(1, sizeof *s);
    uint32_t shared = (uint32_t)rand() % 90;
    uint32_t n = 1 + shared + (uint32_t)rand() % 10;
    uint32_t family = (uint32_t)rand() % 3;
    assert_non_null(s);
    s->id = ++p->next_id;
    s->job.tenant = (uint64_t)rand() % 2;
    s->job.prompt_n = n;
    for (uint32_t i = 0; i < n; i++) {
        token_list_add(&s->tokens, i < shared ? (int32_t)(family * 1000 + i) : rand() % 50);
    }
    p->ends[s->id % (BLOCKS * 100)] = n + 1 + (uint32_t)rand() % ANSWER_MAX;
    scheduler_add(p->scheduler, s);
}

static void write_position(struct played *p, const struct batch *b, const struct batch_token *t,
                           uint64_t mark)
{
    uint32_t place = t->position % KV_BLOCK;
    uint32_t block = t->position / KV_BLOCK;
    p->all[batch_table(b, t->sequence)[block] * KV_BLOCK + place] = mark;
    if (b->window_tables) {
        p->window[batch_window_table(b, t->sequence, 1)[block] * KV_BLOCK + place] = mark;
    }
}

static void check_seen(const struct played *p, const struct batch *b, const struct batch_token *t)
{
    const struct sequence *s = scheduler_sequence(p->scheduler, t->sequence);
    const uint32_t *all = batch_table(b, t->sequence);
    const uint32_t *window = batch_window_table(b, t->sequence, p->conf.kv.window);
    for (uint32_t at = 0; at <= t->position; at++) {
        uint64_t mark = mark_of(s, at);
        assert_true(all[at / KV_BLOCK] < p->conf.kv.blocks);
        assert_true(p->all[all[at / KV_BLOCK] * KV_BLOCK + at % KV_BLOCK] == mark);
        if (b->window_tables && at + p->conf.kv.window > t->position) {
            assert_true(window[at / KV_BLOCK] < p->conf.kv.window_blocks);
            assert_true(p->window[window[at / KV_BLOCK] * KV_BLOCK + at % KV_BLOCK] == mark);
        }
    }
}

/* What engine.c does with a batch: all of it is computed, then each token is told and answers grow. */
static void run_step(struct played *p)
{
    struct batch b = scheduler_plan(p->scheduler);
    for (uint32_t i = 0; i < b.n; i++) {
        const struct batch_token *t = &b.tokens[i];
        write_position(p, &b, t, mark_of(scheduler_sequence(p->scheduler, t->sequence), t->position));
    }
    for (uint32_t i = 0; i < b.n; i++) {
        check_seen(p, &b, &b.tokens[i]);
    }
    uint32_t used = scheduler_load(p->scheduler).kv.window_used;
    p->most_in_window = used > p->most_in_window ? used : p->most_in_window;
    for (uint32_t i = 0; i < b.n; i++) {
        struct sequence *s = scheduler_sequence(p->scheduler, b.tokens[i].sequence);
        p->found += s->cached;
        s->cached = 0;
        scheduler_computed(p->scheduler, s);
        if (!b.tokens[i].wants_logits) {
            continue;
        }
        if (s->tokens.n >= p->ends[s->id % (BLOCKS * 100)]) {
            sequence_free(scheduler_take(p->scheduler, s->id));
        } else {
            token_list_add(&s->tokens, rand() % 50);
        }
    }
}

static void live(struct played *p)
{
    srand(11);
    for (unsigned step = 0; step < LIFE; step++) {
        if (scheduler_load(p->scheduler).waiting < 4) {
            add_request(p);
        }
        if (rand() % 30 == 0) { /* some are cancelled, wherever they are */
            struct sequence *s = scheduler_take(p->scheduler, p->next_id - (uint64_t)rand() % 6);
            if (s) {
                sequence_free(s);
            }
        }
        run_step(p);
    }
    for (struct sequence *s; (s = scheduler_take_first(p->scheduler)) != NULL;) {
        sequence_free(s);
    }
    assert_int_equal(scheduler_load(p->scheduler).kv.used, 0);
    assert_int_equal(scheduler_load(p->scheduler).kv.window_used, 0);
    assert_true(p->found > LIFE); /* prefixes were found */
    scheduler_free(p->scheduler);
}

static void all_positions_of_all_layers(void **state)
{
    struct played *p = play(0, 0);
    live(p);
    free(p);
}

/* The smallest room: no block is kept for prefixes, so every count has to be right. */
static void windows_in_as_little_room_as_they_need(void **state)
{
    static const uint32_t windows[] = {1, 2, 15, 16, 17, 18, 40};
    for (unsigned i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct kv_tables_conf plenty = {.slots = SLOTS, .window = windows[i]};
        kv_tables_plan(&plenty, 100000, STEP_TOKENS);
        uint32_t blocks = plenty.window_blocks / 2;
        assert_true(blocks > 0 && blocks <= SLOTS * (windows[i] / KV_BLOCK + 3) + STEP_TOKENS / KV_BLOCK + 1);
        struct played *p = play(windows[i], blocks < BLOCKS ? blocks : BLOCKS);
        live(p);
        assert_true(p->most_in_window > 0 && p->most_in_window <= blocks);
        free(p);
    }
}

/* What a long answer holds does not grow with its length. */
static void a_window_gives_back_what_nobody_sees(void **state)
{
    enum { WINDOW = 20, LONG = 4096 };
    struct kv_tables_conf conf = {
        .slots = 1, .context = LONG, .blocks = LONG / KV_BLOCK, .window_blocks = 8, .window = WINDOW};
    struct kv_tables *kt;
    struct err err;
    static int32_t tokens[LONG];
    uint32_t found;
    assert_int_equal(kv_tables_new(&conf, &kt, &err), 0);
    assert_true(kv_tables_begin(kt, 0, 0, tokens, 1, 0, &found));
    for (uint32_t i = 0; i < LONG; i++) {
        tokens[i] = (int32_t)i;
        assert_true(kv_tables_extend(kt, 0, i));
        kv_tables_step(kt, 0, i, 1);
        kv_tables_computed(kt, 0, tokens, i + 1);
        assert_int_equal(kv_tables_load(kt).used, i / KV_BLOCK + 1);
        assert_true(kv_tables_load(kt).window_used <= WINDOW / KV_BLOCK + 2);
    }
    kv_tables_end(kt, 0);
    /* Its end can be gone on from, its middle cannot: the window before that is long taken for others. */
    assert_true(kv_tables_begin(kt, 0, 0, tokens, LONG, 0, &found));
    assert_int_equal(found, LONG - KV_BLOCK);
    assert_true(kv_tables_load(kt).window_used <= WINDOW / KV_BLOCK + 1);
    kv_tables_end(kt, 0);
    assert_true(kv_tables_begin(kt, 0, 0, tokens, LONG / 2, 0, &found));
    assert_int_equal(found, 0);
    kv_tables_end(kt, 0);
    kv_tables_free(kt);
}

static void windows_as_large_as_the_context_have_no_blocks_of_their_own(void **state)
{
    struct kv_tables_conf conf = {.slots = 8, .context = 4096, .window = 512};
    kv_tables_plan(&conf, 0, 512);
    assert_int_equal(conf.blocks, 2048);
    assert_int_equal(conf.window_blocks, 2 * (8 * 35 + 32));
    conf.window = 4096;
    kv_tables_plan(&conf, 0, 512);
    assert_int_equal(conf.window_blocks, 0);
    conf.window = 0;
    kv_tables_plan(&conf, 1000, 512);
    assert_int_equal(conf.blocks, 63);
    assert_int_equal(conf.window_blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_positions_of_all_layers),
        cmocka_unit_test(windows_in_as_little_room_as_they_need),
        cmocka_unit_test(a_window_gives_back_what_nobody_sees),
        cmocka_unit_test(windows_as_large_as_the_context_have_no_blocks_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
