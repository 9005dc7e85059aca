#include "inference/worker/json_mask.h"

#include <stdlib.h>

enum { OPENINGS_OF_A_TOKEN = 32 }; /* containers that one token may open */

/* What is known of a place: the tokens that fit, and those that depend on containers further out. */
struct known {
    uint64_t *fit;
    token_id *deeper;
    uint32_t deeper_n;
};

struct json_mask {
    const struct tokenizer *tokenizer;
    uint32_t words;    /* of 64 bits in a mask */
    uint64_t *allowed; /* the last result */
    struct known known[JSON_AT_PLACES][2][3]
                      [2]; /* place, in a key, container (none, object, array), after space */
};

enum fit { FIT_NO, FIT_YES, FIT_DEEPER };

struct json_mask *json_mask_new(const struct tokenizer *tokenizer)
{
    struct json_mask *m = calloc(1, sizeof *m);
    if (!m) {
        return NULL;
    }
    m->tokenizer = tokenizer;
    m->words = (tokenizer_size(tokenizer) + 63) / 64;
    m->allowed = calloc(m->words, sizeof *m->allowed);
    if (!m->allowed) {
        free(m);
        return NULL;
    }
    return m;
}

void json_mask_free(struct json_mask *m)
{
    if (!m) {
        return;
    }
    struct known *all = &m->known[0][0][0][0];
    for (size_t i = 0; i < sizeof m->known / sizeof *all; i++) {
        free(all[i].fit);
        free(all[i].deeper);
    }
    free(m->allowed);
    free(m);
}

static bool is_between(const struct json_state *s) /* white space means nothing here */
{
    return s->place <= JSON_AT_DONE;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The token's bytes after the state. `floor`: below this depth the containers are not known. */
static enum fit try_token(struct json_state s, bool after_space, struct str bytes, uint8_t floor)
{
    unsigned spaces = 0;
    if (bytes.n == 0 || (after_space && is_space(bytes.p[0]) && is_between(&s))) {
        return FIT_NO;
    }
    for (size_t i = 0; i < bytes.n; i++) {
        if (s.depth < floor) {
            return FIT_DEEPER;
        }
        spaces += is_between(&s) && is_space(bytes.p[i]);
        if (s.place == JSON_AT_DONE || spaces > JSON_MASK_SPACES ||
            !json_state_push(&s, (uint8_t)bytes.p[i])) {
            return FIT_NO;
        }
    }
    return FIT_YES;
}

static void allow(uint64_t *mask, token_id id)
{
    mask[id / 64] |= 1ULL << (id % 64);
}

/* Tries every token with only the innermost container known, as if it stood at a depth of two. */
static void learn(const struct json_mask *m, const struct json_answer *a, struct known *k)
{
    struct json_state s = a->state;
    uint8_t floor = 0;
    if (s.depth > 0) {
        s.array = (s.array >> (s.depth - 1) & 1) << 1;
        s.depth = 2;
        floor = 2;
    }
    uint32_t vocab = tokenizer_size(m->tokenizer);
    k->fit = calloc(m->words, sizeof *k->fit);
    k->deeper = malloc(vocab * sizeof *k->deeper);
    BUG_ON(!k->fit || !k->deeper);
    for (uint32_t i = 0; i < vocab; i++) {
        token_id id = (token_id)i;
        enum fit fit = try_token(s, a->after_space, tokenizer_bytes(m->tokenizer, id), floor);
        if (fit == FIT_YES) {
            allow(k->fit, id);
        } else if (fit == FIT_DEEPER) {
            k->deeper[k->deeper_n++] = id;
        }
    }
    token_id *fewer = realloc(k->deeper, (k->deeper_n + 1UL) * sizeof *fewer);
    k->deeper = fewer ? fewer : k->deeper;
}

static void try_all(struct json_mask *m, const struct json_answer *a)
{
    uint32_t vocab = tokenizer_size(m->tokenizer);
    memset(m->allowed, 0, m->words * sizeof *m->allowed);
    for (uint32_t i = 0; i < vocab; i++) {
        struct str bytes = tokenizer_bytes(m->tokenizer, (token_id)i);
        if (try_token(a->state, a->after_space, bytes, 0) == FIT_YES) {
            allow(m->allowed, (token_id)i);
        }
    }
}

static void use_known(struct json_mask *m, const struct json_answer *a)
{
    const struct json_state *s = &a->state;
    unsigned container = s->depth == 0 ? 0 : 1 + (unsigned)(s->array >> (s->depth - 1) & 1);
    struct known *k = &m->known[s->place][s->in_key][container][a->after_space];
    if (!k->fit) {
        learn(m, a, k);
    }
    memcpy(m->allowed, k->fit, m->words * sizeof *m->allowed);
    for (uint32_t i = 0; i < k->deeper_n; i++) {
        struct str bytes = tokenizer_bytes(m->tokenizer, k->deeper[i]);
        if (try_token(*s, a->after_space, bytes, 0) == FIT_YES) {
            allow(m->allowed, k->deeper[i]);
        }
    }
}

const uint64_t *json_mask_allowed(struct json_mask *m, const struct json_answer *a)
{
    if (a->state.depth + OPENINGS_OF_A_TOKEN > JSON_STATE_DEPTH) {
        try_all(m, a); /* what opens a container may not fit any more */
    } else {
        use_known(m, a);
    }
    uint64_t any = 0;
    for (uint32_t i = 0; i < m->words; i++) {
        any |= m->allowed[i];
    }
    return any ? m->allowed : NULL;
}

bool json_mask_accept(const struct json_mask *m, struct json_answer *a, token_id id)
{
    struct str bytes = tokenizer_bytes(m->tokenizer, id);
    for (size_t i = 0; i < bytes.n; i++) {
        BUG_ON(!json_state_push(&a->state, (uint8_t)bytes.p[i]));
    }
    a->after_space = bytes.n > 0 && is_between(&a->state) && is_space(bytes.p[bytes.n - 1]);
    return a->state.place == JSON_AT_DONE;
}
