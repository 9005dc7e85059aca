#include "inference/worker/bpe.h"

#include <stdlib.h>

#include "base/err.h"

struct bpe_symbol {
    token_id id;    /* TOKEN_NONE: a byte or character without token */
    uint32_t start; /* in the piece */
    uint32_t n;     /* bytes; 0: merged into its left neighbour */
    int32_t prev;   /* index, -1 at the start */
    int32_t next;   /* index, -1 at the end */
};

struct bpe_candidate {
    uint32_t rank;
    int32_t left;    /* symbol index */
    uint32_t left_n; /* as they were when the candidate was made: else it is stale */
    uint32_t right_n;
    token_id whole;
};

static void *grown(void *p, size_t *cap, size_t wanted, size_t each)
{
    if (wanted <= *cap) {
        return p;
    }
    size_t size = *cap ? *cap : 64;
    while (size < wanted) {
        size *= 2;
    }
    p = realloc(p, size * each);
    BUG_ON(!p);
    *cap = size;
    return p;
}

void token_list_add(struct token_list *l, token_id id)
{
    l->p = grown(l->p, &l->cap, l->n + 1, sizeof *l->p);
    l->p[l->n++] = id;
}

void token_list_clear(struct token_list *l)
{
    free(l->p);
    *l = (struct token_list){0};
}

void bpe_init(struct bpe *b, const struct vocab *vocab, bool takes_whole)
{
    *b = (struct bpe){.vocab = vocab, .takes_whole = takes_whole};
}

void bpe_clear(struct bpe *b)
{
    free(b->symbols);
    free(b->heap);
    bpe_init(b, b->vocab, b->takes_whole);
}

static bool is_before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void heap_push(struct bpe *b, struct bpe_candidate c)
{
    b->heap = grown(b->heap, &b->heap_cap, b->heap_n + 1, sizeof *b->heap);
    size_t at = b->heap_n++;
    while (at > 0 && is_before(&c, &b->heap[(at - 1) / 2])) {
        b->heap[at] = b->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    b->heap[at] = c;
}

static struct bpe_candidate heap_pop(struct bpe *b)
{
    struct bpe_candidate top = b->heap[0];
    struct bpe_candidate moved = b->heap[--b->heap_n];
    size_t at = 0;
    for (size_t child = 1; child < b->heap_n; child = 2 * at + 1) {
        if (child + 1 < b->heap_n && is_before(&b->heap[child + 1], &b->heap[child])) {
            child++;
        }
        if (!is_before(&b->heap[child], &moved)) {
            break;
        }
        b->heap[at] = b->heap[child];
        at = child;
    }
    b->heap[at] = moved;
    return top;
}

static void consider(struct bpe *b, struct str piece, int32_t at)
{
    if (at < 0 || b->symbols[at].next < 0) {
        return;
    }
    const struct bpe_symbol *left = &b->symbols[at];
    const struct bpe_symbol *right = &b->symbols[left->next];
    struct vocab_merge merge;
    bool merges = vocab_family_of(b->vocab) == VOCAB_SPM
                      ? vocab_find_joined(b->vocab, str_of(piece.p + left->start, left->n + right->n), &merge)
                      : vocab_find_merge(b->vocab, left->id, right->id, &merge);
    if (merges) {
        heap_push(b, (struct bpe_candidate){merge.rank, at, left->n, right->n, merge.whole});
    }
}

static void merge(struct bpe *b, struct str piece, const struct bpe_candidate *c)
{
    struct bpe_symbol *left = &b->symbols[c->left];
    if (left->n != c->left_n || left->next < 0) {
        return;
    }
    struct bpe_symbol *right = &b->symbols[left->next];
    if (right->n != c->right_n) {
        return;
    }
    left->id = c->whole;
    left->n += right->n;
    left->next = right->next;
    right->n = 0;
    if (left->next >= 0) {
        b->symbols[left->next].prev = c->left;
    }
    consider(b, piece, left->prev);
    consider(b, piece, c->left);
}

/* Bytes of the UTF-8 character that text starts with. */
static uint32_t character_n(struct str text)
{
    uint8_t first = (uint8_t)*text.p;
    uint32_t n = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    return n < text.n ? n : (uint32_t)text.n;
}

/* One symbol for each byte, or in the SPM family for each character; how many. */
static int32_t cut_symbols(struct bpe *b, struct str piece)
{
    bool is_spm = vocab_family_of(b->vocab) == VOCAB_SPM;
    int32_t count = 0;
    b->symbols = grown(b->symbols, &b->symbol_cap, piece.n, sizeof *b->symbols);
    for (uint32_t at = 0; at < piece.n; count++) {
        uint32_t n = is_spm ? character_n(str_skip(piece, at)) : 1;
        token_id id = is_spm ? vocab_find(b->vocab, str_of(piece.p + at, n))
                             : vocab_byte(b->vocab, (uint8_t)piece.p[at]);
        b->symbols[count] = (struct bpe_symbol){id, at, n, count - 1, count + 1};
        at += n;
    }
    if (count) {
        b->symbols[count - 1].next = -1;
    }
    return count;
}

/* A symbol's token; where it has none, those of its bytes. */
static void add_symbol(struct bpe *b, struct str piece, const struct bpe_symbol *s, struct token_list *out)
{
    if (s->id != TOKEN_NONE) {
        token_list_add(out, s->id);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        token_id id = vocab_byte(b->vocab, (uint8_t)piece.p[s->start + i]);
        if (id != TOKEN_NONE) {
            token_list_add(out, id);
        }
    }
}

void bpe_encode(struct bpe *b, struct str piece, struct token_list *out)
{
    token_id whole = piece.n == 1 || b->takes_whole ? vocab_find(b->vocab, piece) : TOKEN_NONE;
    if (whole != TOKEN_NONE) {
        token_list_add(out, whole);
        return;
    }
    BUG_ON(piece.n > INT32_MAX);
    int32_t n = cut_symbols(b, piece);
    b->heap_n = 0;
    for (int32_t i = 0; i + 1 < n; i++) {
        consider(b, piece, i);
    }
    while (b->heap_n) {
        struct bpe_candidate c = heap_pop(b);
        merge(b, piece, &c);
    }
    for (int32_t i = 0; i >= 0 && n > 0; i = b->symbols[i].next) {
        add_symbol(b, piece, &b->symbols[i], out);
    }
}
