#include "ratelimit/bans.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/id.h"
#include "ratelimit/prefix_table.h"

struct bans {
    atomic_uint refs;
    uint32_t n;
    struct ban *rows;               /* by rising id */
    atomic_uint *hits;              /* of each row */
    struct arena texts;             /* of the rows */
    uint32_t of_kind[2][BAN_KINDS]; /* how many rows: of bans, of allowances */
    struct prefix_rows {
        struct prefix_table *table;
        uint32_t *rows; /* prefix of the table -> row */
    } prefixes[2];      /* of bans, of allowances */
    uint32_t *slots;    /* hash table of the other rows: row + 1, 0 free */
    uint32_t slot_mask;
};

/* --- making ------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const struct ban *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void add_row(struct bans *b, const struct ban *row, uint64_t now_ms)
{
    if (row->is_gone || (row->until_ms != BANS_FOREVER && row->until_ms <= now_ms)) {
        return;
    }
    struct ban *to = &b->rows[b->n++];
    *to = *row;
    to->text = row->text ? arena_cstr(&b->texts, str_from(row->text)) : NULL;
    b->of_kind[row->is_allow][row->kind]++;
}

static void merge(struct bans *b, const struct bans *old, const struct ban *changes, uint32_t n,
                  uint64_t now_ms)
{
    uint32_t i = 0;
    uint32_t old_n = old ? old->n : 0;
    for (uint32_t k = 0; k < old_n || i < n;) {
        bool take_new = k == old_n || (i < n && changes[i].id <= old->rows[k].id);
        if (!take_new) {
            add_row(b, &old->rows[k++], now_ms);
            continue;
        }
        k += k < old_n && old->rows[k].id == changes[i].id;
        add_row(b, &changes[i++], now_ms);
    }
}

static uint32_t slot_of(const struct bans *b, struct str text)
{
    return (uint32_t)id_siphash(text.p, text.n) & b->slot_mask;
}

static void index_texts(struct bans *b)
{
    uint32_t texts = b->n - b->of_kind[0][BAN_ADDRESS] - b->of_kind[1][BAN_ADDRESS];
    uint32_t room = 16;
    while (room < 2 * texts) {
        room *= 2;
    }
    b->slot_mask = room - 1;
    b->slots = calloc(room, sizeof *b->slots);
    BUG_ON(!b->slots);
    for (uint32_t i = 0; i < b->n; i++) {
        if (!b->rows[i].text) {
            continue;
        }
        uint32_t slot = slot_of(b, str_from(b->rows[i].text));
        while (b->slots[slot] != 0) {
            slot = (slot + 1) & b->slot_mask;
        }
        b->slots[slot] = i + 1;
    }
}

static void index_prefixes(struct bans *b, bool is_allow)
{
    struct prefix_rows *p = &b->prefixes[is_allow];
    size_t room = (size_t)b->of_kind[is_allow][BAN_ADDRESS] + 1;
    struct addr_prefix *prefixes = malloc(room * sizeof *prefixes);
    p->rows = malloc(room * sizeof *p->rows);
    BUG_ON(!prefixes || !p->rows);
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->rows[i].kind == BAN_ADDRESS && b->rows[i].is_allow == is_allow) {
            prefixes[n] = b->rows[i].prefix;
            p->rows[n++] = i;
        }
    }
    p->table = prefix_table_new(prefixes, n);
    free(prefixes);
}

struct bans *bans_with(const struct bans *old, struct ban *changes, uint32_t n, uint64_t now_ms)
{
    struct bans *b = calloc(1, sizeof *b);
    size_t room = (size_t)(old ? old->n : 0) + n + 1;
    BUG_ON(!b);
    atomic_init(&b->refs, 1);
    arena_init(&b->texts);
    b->rows = malloc(room * sizeof *b->rows);
    b->hits = calloc(room, sizeof *b->hits);
    BUG_ON(!b->rows || !b->hits);
    if (n > 1) {
        qsort(changes, n, sizeof *changes, by_id);
    }
    merge(b, old, changes, n, now_ms);
    index_texts(b);
    index_prefixes(b, false);
    index_prefixes(b, true);
    return b;
}

struct bans *bans_ref(struct bans *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void bans_unref(struct bans *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        for (int i = 0; i < 2; i++) {
            prefix_table_free(b->prefixes[i].table);
            free(b->prefixes[i].rows);
        }
        arena_clear(&b->texts);
        free(b->rows);
        free(b->hits);
        free(b->slots);
        free(b);
    }
}

/* --- asking ------------------------------------------------------------------------------------------ */

struct search {
    const struct bans *bans;
    uint64_t now_ms;
    bool is_allow; /* what is looked for */
};

static const struct ban *if_wanted(const struct search *s, const struct ban *row)
{
    bool is_over = row->until_ms != BANS_FOREVER && row->until_ms <= s->now_ms;
    return row->is_allow == s->is_allow && !is_over ? row : NULL;
}

/* From the longest prefix outwards, past those that have ended. */
static const struct ban *of_address(const struct search *s, const struct addr *a)
{
    const struct prefix_rows *p = &s->bans->prefixes[s->is_allow];
    const struct ban *found = NULL;
    if (!a || s->bans->of_kind[s->is_allow][BAN_ADDRESS] == 0) {
        return NULL;
    }
    uint32_t at = prefix_table_find(p->table, a);
    for (; at != PREFIX_NONE && !found; at = prefix_table_outer(p->table, at)) {
        found = if_wanted(s, &s->bans->rows[p->rows[at]]);
    }
    return found;
}

/* A ban and an allowance may have the same text. */
static const struct ban *of_text(const struct search *s, struct str text)
{
    const struct bans *b = s->bans;
    const struct ban *found = NULL;
    for (uint32_t slot = slot_of(b, text); b->slots[slot] != 0 && !found; slot = (slot + 1) & b->slot_mask) {
        const struct ban *row = &b->rows[b->slots[slot] - 1];
        found = str_is(text, row->text) ? if_wanted(s, row) : NULL;
    }
    return found;
}

static const struct ban *of_value(const struct search *s, enum ban_kind kind, const char *before,
                                  struct str value)
{
    char text[BAN_TEXT_MAX + 1];
    if (value.n == 0 || s->bans->of_kind[s->is_allow][kind] == 0) {
        return NULL;
    }
    int n = snprintf(text, sizeof text, "%s" STR_FMT, before, STR_ARG(value));
    return of_text(s, str_of(text, n < BAN_TEXT_MAX ? (size_t)n : BAN_TEXT_MAX));
}

static const struct ban *of_asn(const struct search *s, uint32_t asn)
{
    char digits[12];
    if (asn == 0 || s->bans->of_kind[s->is_allow][BAN_ASN] == 0) {
        return NULL;
    }
    return of_value(s, BAN_ASN, "AS", str_of(digits, (size_t)snprintf(digits, sizeof digits, "%u", asn)));
}

static const struct ban *of_phone(const struct search *s, struct str phone)
{
    const struct ban *found = NULL;
    size_t longest = phone.n < BAN_PHONE_DIGITS_MAX + 1 ? phone.n : BAN_PHONE_DIGITS_MAX + 1;
    for (size_t n = longest; n > 1 && !found && s->bans->of_kind[s->is_allow][BAN_PHONE] > 0; n--) {
        found = of_text(s, str_of(phone.p, n));
    }
    return found;
}

static const struct ban *look(const struct search *s, const struct ban_subject *who)
{
    const struct ban *found = of_address(s, who->address);
    found = found ? found : of_asn(s, who->asn);
    found = found ? found : of_value(s, BAN_JA4, "ja4:", who->ja4);
    found = found ? found : of_value(s, BAN_DEVICE, "device:", who->device);
    return found ? found : of_phone(s, who->phone);
}

const struct ban *bans_find(const struct bans *b, const struct ban_subject *who, uint64_t now_ms)
{
    struct search bans = {.bans = b, .now_ms = now_ms, .is_allow = false};
    struct search allowances = {.bans = b, .now_ms = now_ms, .is_allow = true};
    const struct ban *ban = look(&bans, who);
    return ban && !look(&allowances, who) ? ban : NULL;
}

void bans_count_hit(struct bans *b, const struct ban *hit)
{
    atomic_fetch_add_explicit(&b->hits[hit - b->rows], 1, memory_order_relaxed);
}

uint32_t bans_count(const struct bans *b)
{
    return b->n;
}

const struct ban *bans_at(const struct bans *b, uint32_t i)
{
    return &b->rows[i];
}

void bans_take_hits(struct bans *b, bool (*fn)(void *arg, const struct ban *ban, uint32_t n), void *arg)
{
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t n = atomic_load_explicit(&b->hits[i], memory_order_relaxed);
        if (n > 0 && fn(arg, &b->rows[i], n)) {
            atomic_fetch_sub_explicit(&b->hits[i], n, memory_order_relaxed);
        }
    }
}
