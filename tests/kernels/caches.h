/* A paged cache of random keys and values with three sequences, on both sides, for the kernels of attention. */
#ifndef TIDE_TESTS_CACHES_H
#define TIDE_TESTS_CACHES_H

#include "tests/kernels/matrices.h"

#include "kernels/attend.h"

enum { SEQUENCES = 3, TABLE_WIDTH = 41, BLOCKS = SEQUENCES * TABLE_WIDTH };

struct shape {
    uint32_t heads;
    uint32_t key_heads;
    uint32_t key_dim;
    uint32_t value_dim; /* 0: the key's beginning */
    uint32_t out_dim;
    uint32_t window;
    uint32_t length; /* positions of the longest sequence */
    uint32_t prompt; /* tokens of the first sequence, half as many of the third; 0: few */
    bool is_far;     /* the device's blocks have numbers past 2^32 values; those before them are not there */
};

struct cached {
    struct attend_params host;
    struct attend_params device;
    uint16_t *device_keys; /* of its first block */
    uint16_t *device_values;
    size_t key_values;
    size_t value_values;
    size_t out_values;
};

/* Each sequence's blocks stand in a drawn order. */
__attribute__((unused)) static uint32_t *random_tables(void)
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

/* The last `n` positions below `end`, as far as there are. */
__attribute__((unused)) static void add_tokens(struct kv_cache_tokens *t, uint32_t sequence, uint32_t end,
                                               uint32_t n)
{
    for (uint32_t at = end > n ? end - n : 0; at < end; at++) {
        ((uint32_t *)t->positions)[t->count] = at;
        ((uint32_t *)t->sequences)[t->count++] = sequence;
    }
}

/* Three sequences: the end of the longest, one token, and some about the middle. */
__attribute__((unused)) static void make_tokens(struct attend_params *p, uint32_t length, uint32_t prompt)
{
    uint32_t most = 2 * prompt + 5;
    struct kv_cache_tokens t = {host_bytes(most * sizeof(uint32_t)), host_bytes(most * sizeof(uint32_t)),
                                random_tables(), TABLE_WIDTH, 0};
    uint32_t middle = length / 2 + 3 < length ? length / 2 + 3 : length;
    add_tokens(&t, SEQUENCES - 1, length, prompt ? prompt : 1); /* whose table is the last */
    add_tokens(&t, 1, 1, 1);
    add_tokens(&t, 0, middle, prompt ? prompt / 2 : 3);
    p->tokens = t;
}

__attribute__((unused)) static void forget_row(uint16_t *cache, uint32_t heads, uint32_t dim, uint32_t place)
{
    enum { NO_NUMBER = 0x7E00 };
    for (uint32_t i = 0; i < heads * dim; i++) {
        size_t row =
            (size_t)(place / KV_CACHE_BLOCK * heads + i / dim) * KV_CACHE_BLOCK + place % KV_CACHE_BLOCK;
        cache[row * dim + i % dim] = NO_NUMBER;
    }
}

/* What no token sees becomes no number, so that it shows when it is read. */
__attribute__((unused)) static void forget_unseen(const struct attend_params *p)
{
    bool seen[BLOCKS * KV_CACHE_BLOCK] = {false};
    for (uint32_t i = 0; i < p->tokens.count; i++) {
        const uint32_t *table = p->tokens.tables + p->tokens.sequences[i] * TABLE_WIDTH;
        uint32_t to = p->tokens.positions[i] + 1;
        for (uint32_t at = p->window && to > p->window ? to - p->window : 0; at < to; at++) {
            seen[table[at / KV_CACHE_BLOCK] * KV_CACHE_BLOCK + at % KV_CACHE_BLOCK] = true;
        }
    }
    for (uint32_t place = 0; place < BLOCKS * KV_CACHE_BLOCK; place++) {
        if (!seen[place]) {
            forget_row(p->layer.keys, p->layer.heads, p->layer.key_dim, place);
            forget_row(p->layer.values, p->layer.heads, p->layer.value_dim, place);
        }
    }
}

__attribute__((unused)) static void move_far(struct cached *c)
{
    enum { FAR = 1 << 24 };
    uint32_t tables[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        tables[i] = c->host.tokens.tables[i] + FAR;
    }
    c->device.tokens.tables = device_copy(tables, sizeof tables);
    c->device.layer.keys -= c->key_values / BLOCKS * FAR;
    c->device.layer.values -= c->value_values / BLOCKS * FAR;
}

__attribute__((unused)) static struct cached make_cached(const struct shape *s)
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
    make_tokens(&c.host, s->length, s->prompt);
    forget_unseen(&c.host);
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
    c.device_keys = c.device.layer.keys;
    c.device_values = c.device.layer.values;
    if (s->is_far) {
        move_far(&c);
    }
    return c;
}

__attribute__((unused)) static void cached_free(struct cached *c)
{
    free(c->host.layer.keys);
    free(c->host.layer.values);
    free((void *)c->host.tokens.positions);
    free((void *)c->host.tokens.sequences);
    free((void *)c->host.tokens.tables);
    free((void *)c->host.query);
    free(c->host.out);
}

#endif
