#include "inference/worker/bpe.h"

#include <stdlib.h>

#include "base/err.h"

struct bpe_symbol {
    token_id id;              /* TOKEN_NONE: a byte or character without token */
    uint32_t start;           /* in the piece */
    uint32_t n;               /* bytes */
    int32_t prev;             /* index, -1 at the start */
    int32_t next;             /* index, -1 at the end */
    struct vocab_merge merge; /* with the next one; whole is TOKEN_NONE: they do not merge */
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

static void heap_push(struct bpe *b, uint64_t c)
{
    b->heap = grown(b->heap, &b->heap_cap, b->heap_n + 1, sizeof *b->heap);
    size_t at = b->heap_n++;
    while (at > 0 && c < b->heap[(at - 1) / 2]) {
        b->heap[at] = b->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    b->heap[at] = c;
}

static uint64_t heap_pop(struct bpe *b)
{
    uint64_t top = b->heap[0];
    uint64_t moved = b->heap[--b->heap_n];
    size_t at = 0;
    for (size_t child = 1; child < b->heap_n; child = 2 * at + 1) {
        child += child + 1 < b->heap_n && b->heap[child + 1] < b->heap[child];
        if (b->heap[child] >= moved) {
            break;
        }
        b->heap[at] = b->heap[child];
        at = child;
    }
    b->heap[at] = moved;
    return top;
}

/* Looks at the pair that begins with a symbol, which is another one than before. */
static void consider(struct bpe *b, struct str piece, int32_t at)
{
    if (at < 0) {
        return;
    }
    struct bpe_symbol *left = &b->symbols[at];
    left->merge.whole = TOKEN_NONE;
    if (left->next < 0) {
        return;
    }
    const struct bpe_symbol *right = &b->symbols[left->next];
    struct vocab_merge merge;
    bool merges = vocab_family_of(b->vocab) == VOCAB_SPM
                      ? vocab_find_joined(b->vocab, str_of(piece.p + left->start, left->n + right->n), &merge)
                      : vocab_find_merge(b->vocab, left->id, right->id, &merge);
    if (merges) {
        left->merge = merge;
        heap_push(b, (uint64_t)merge.rank << 32 | (uint32_t)at);
    }
}

static void merge(struct bpe *b, struct str piece, uint64_t candidate)
{
    int32_t at = (int32_t)(uint32_t)candidate;
    struct bpe_symbol *left = &b->symbols[at];
    if (left->merge.whole == TOKEN_NONE || left->merge.rank != candidate >> 32) {
        return; /* one of both has merged with another meanwhile */
    }
    struct bpe_symbol *right = &b->symbols[left->next];
    left->id = left->merge.whole;
    left->n += right->n;
    left->next = right->next;
    right->merge.whole = TOKEN_NONE;
    if (left->next >= 0) {
        b->symbols[left->next].prev = at;
    }
    consider(b, piece, left->prev);
    consider(b, piece, at);
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
        b->symbols[count] = (struct bpe_symbol){id, at, n, count - 1, count + 1, {0, TOKEN_NONE}};
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
    for (int32_t i = 0; i < n; i++) {
        consider(b, piece, i);
    }
    while (b->heap_n) {
        merge(b, piece, heap_pop(b));
    }
    for (int32_t i = 0; i >= 0 && n > 0; i = b->symbols[i].next) {
        add_symbol(b, piece, &b->symbols[i], out);
    }
}
