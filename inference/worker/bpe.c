#include "inference/worker/bpe.h"

#include <stdlib.h>

#include "base/err.h"

struct bpe_symbol {
    token_id id;  /* TOKEN_NONE: merged into its left neighbour, or a byte without token */
    int32_t prev; /* index, -1 at the start */
    int32_t next; /* index, -1 at the end */
    bool gone;    /* merged away */
};

struct bpe_candidate {
    uint32_t rank;
    int32_t left;     /* symbol index */
    token_id left_id; /* as they were when the candidate was made: else it is stale */
    token_id right_id;
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

void bpe_init(struct bpe *b, const struct vocab *vocab)
{
    *b = (struct bpe){.vocab = vocab};
}

void bpe_clear(struct bpe *b)
{
    free(b->symbols);
    free(b->heap);
    bpe_init(b, b->vocab);
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

static void consider(struct bpe *b, int32_t left)
{
    if (left < 0 || b->symbols[left].next < 0) {
        return;
    }
    token_id left_id = b->symbols[left].id;
    token_id right_id = b->symbols[b->symbols[left].next].id;
    struct vocab_merge merge;
    if (vocab_find_merge(b->vocab, left_id, right_id, &merge)) {
        heap_push(b, (struct bpe_candidate){merge.rank, left, left_id, right_id, merge.whole});
    }
}

static void merge(struct bpe *b, const struct bpe_candidate *c)
{
    struct bpe_symbol *left = &b->symbols[c->left];
    if (left->gone || left->id != c->left_id || left->next < 0) {
        return;
    }
    struct bpe_symbol *right = &b->symbols[left->next];
    if (right->id != c->right_id) {
        return;
    }
    left->id = c->whole;
    left->next = right->next;
    right->gone = true;
    if (left->next >= 0) {
        b->symbols[left->next].prev = c->left;
    }
    consider(b, left->prev);
    consider(b, c->left);
}

void bpe_encode(struct bpe *b, struct str piece, struct token_list *out)
{
    token_id whole = vocab_find(b->vocab, piece);
    if (piece.n == 1 && whole != TOKEN_NONE) {
        token_list_add(out, whole);
        return;
    }
    BUG_ON(piece.n > INT32_MAX);
    int32_t n = (int32_t)piece.n;
    b->symbols = grown(b->symbols, &b->symbol_cap, piece.n, sizeof *b->symbols);
    for (int32_t i = 0; i < n; i++) {
        b->symbols[i] = (struct bpe_symbol){
            .id = vocab_byte(b->vocab, (uint8_t)piece.p[i]), .prev = i - 1, .next = i + 1 < n ? i + 1 : -1};
    }
    b->heap_n = 0;
    for (int32_t i = 0; i + 1 < n; i++) {
        consider(b, i);
    }
    while (b->heap_n) {
        struct bpe_candidate c = heap_pop(b);
        merge(b, &c);
    }
    for (int32_t i = 0; i >= 0 && n > 0; i = b->symbols[i].next) {
        if (b->symbols[i].id != TOKEN_NONE) {
            token_list_add(out, b->symbols[i].id);
        }
    }
}
