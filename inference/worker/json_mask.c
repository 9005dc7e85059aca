#include "inference/worker/json_mask.h"

#include <stdlib.h>

/* What is known of a place: the tokens that fit, and those that depend on what stands around the container. */
struct known {
    uint64_t *fit;
    token_id *depends;
    uint32_t depends_n;
};

struct json_mask {
    const struct tokenizer *tokenizer;
    uint32_t words;    /* of 64 bits in a mask */
    uint64_t *allowed; /* the last result */
    struct known known[JSON_AT_PLACES][2][3]
                      [2]; /* place, in a key, container (none, object, array), after space */
};

enum fit { FIT_NO, FIT_YES, FIT_DEPENDS };

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
        free(all[i].depends);
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

/* The token's bytes after the state. FIT_DEPENDS: on the containers below the depth of `floor`, or on whether as many
 * more may be opened. */
static enum fit try_token(struct json_state s, bool after_space, struct str bytes, uint8_t floor)
{
    unsigned spaces = 0;
    bool opens = false;
    if (bytes.n == 0 || (after_space && is_space(bytes.p[0]) && is_between(&s))) {
        return FIT_NO;
    }
    for (size_t i = 0; i < bytes.n; i++) {
        if (s.depth < floor) {
            return FIT_DEPENDS;
        }
        spaces += is_between(&s) && is_space(bytes.p[i]);
        if (s.place == JSON_AT_DONE || spaces > JSON_MASK_SPACES ||
            !json_state_push(&s, (uint8_t)bytes.p[i])) {
            return FIT_NO;
        }
        opens |= s.depth > floor;
    }
    return opens ? FIT_DEPENDS : FIT_YES;
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
    k->depends = malloc(vocab * sizeof *k->depends);
    BUG_ON(!k->fit || !k->depends);
    for (uint32_t i = 0; i < vocab; i++) {
        token_id id = (token_id)i;
        enum fit fit = try_token(s, a->after_space, tokenizer_bytes(m->tokenizer, id), floor);
        if (fit == FIT_YES) {
            allow(k->fit, id);
        } else if (fit == FIT_DEPENDS) {
            k->depends[k->depends_n++] = id;
        }
    }
    token_id *fewer = realloc(k->depends, (k->depends_n + 1UL) * sizeof *fewer);
    k->depends = fewer ? fewer : k->depends;
}

const uint64_t *json_mask_allowed(struct json_mask *m, const struct json_answer *a)
{
    const struct json_state *s = &a->state;
    unsigned container = s->depth == 0 ? 0 : 1 + (unsigned)(s->array >> (s->depth - 1) & 1);
    struct known *k = &m->known[s->place][s->in_key][container][a->after_space];
    uint64_t any = 0;
    if (!k->fit) {
        learn(m, a, k);
    }
    memcpy(m->allowed, k->fit, m->words * sizeof *m->allowed);
    for (uint32_t i = 0; i < k->depends_n; i++) {
        struct str bytes = tokenizer_bytes(m->tokenizer, k->depends[i]);
        if (try_token(*s, a->after_space, bytes, 0) != FIT_NO) {
            allow(m->allowed, k->depends[i]);
        }
    }
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
