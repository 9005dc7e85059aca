#include "status/board.h"

#include <stdio.h>
#include <string.h>

void board_init(struct board *b, const char *name, const char *url, uint64_t stale_after_ms, int64_t now_ms)
{
    memset(b, 0, sizeof *b);
    snprintf(b->page.name, sizeof b->page.name, "%s", name);
    snprintf(b->page.url, sizeof b->page.url, "%s", url);
    size_t n = strlen(b->page.url);
    if (n && b->page.url[n - 1] == '/') {
        b->page.url[n - 1] = 0;
    }
    short_code_of(str_from(b->page.url), b->page.code);
    short_code_of(STR("group:models"), b->page.group);
    b->page.stale_after_ms = stale_after_ms;
    b->created_ms = b->updated_ms = now_ms;
    b->is_stale = true;
    b->state = LADDER_STALE;
}

void board_clear(struct board *b)
{
    incident_book_clear(&b->book);
    b->component_count = 0;
}

struct component *board_component(struct board *b, enum component_kind kind, struct str label, int64_t now_ms)
{
    for (unsigned i = 0; i < b->component_count; i++) {
        struct component *c = &b->components[i];
        if (c->kind == kind && str_is(label, c->label)) {
            return c;
        }
    }
    if (b->component_count == STATUS_COMPONENTS_MAX || label.n >= COMPONENT_LABEL_MAX) {
        return NULL;
    }
    struct component *c = &b->components[b->component_count++];
    component_init(c, kind, label, now_ms);
    return c;
}

struct component *board_find_component(const struct board *b, struct str code)
{
    for (unsigned i = 0; i < b->component_count; i++) {
        if (str_is(code, b->components[i].code)) {
            return (struct component *)&b->components[i];
        }
    }
    return NULL;
}

void board_drop_component(struct board *b, struct component *c)
{
    size_t at = (size_t)(c - b->components);
    memmove(c, c + 1, (b->component_count - at - 1) * sizeof *c);
    b->component_count--;
}

enum component_status board_chat_of_models(const struct board *b)
{
    unsigned models = 0, down = 0, bad = 0;
    for (unsigned i = 0; i < b->component_count; i++) {
        const struct component *c = &b->components[i];
        if (c->kind == COMPONENT_MODEL) {
            models++;
            down += c->measured == COMPONENT_MAJOR_OUTAGE;
            bad += c->measured >= COMPONENT_DEGRADED;
        }
    }
    if (models && down == models) {
        return COMPONENT_MAJOR_OUTAGE;
    }
    return down ? COMPONENT_PARTIAL_OUTAGE : bad ? COMPONENT_DEGRADED : COMPONENT_OPERATIONAL;
}

enum component_status board_models_status(const struct board *b)
{
    enum component_status worst = COMPONENT_OPERATIONAL;
    for (unsigned i = 0; i < b->component_count; i++) {
        if (b->components[i].kind == COMPONENT_MODEL) {
            worst = component_status_worse(worst, b->components[i].shown);
        }
    }
    return worst;
}

/* What the ladder counts. A component that only looks degraded because nothing fresh is known is left out: it is
 * no trouble, but no comfort either when all others are down. */
static void count_known(const struct component *c, unsigned counts[COMPONENT_STATUS_COUNT])
{
    enum component_status known = component_status_worse(component_fault(c), c->policy);
    if (!c->is_stale || known >= COMPONENT_DEGRADED) {
        counts[known]++;
    }
}

static enum incident_impact worst_open_impact(const struct incident_book *book)
{
    enum incident_impact worst = IMPACT_NONE;
    for (unsigned i = 0; i < book->count; i++) {
        if (incident_is_open(book->items[i]) && book->items[i]->impact > worst) {
            worst = book->items[i]->impact;
        }
    }
    return worst;
}

static void derive_chat(struct board *b)
{
    for (unsigned i = 0; i < b->component_count; i++) {
        if (b->components[i].kind == COMPONENT_CHAT) {
            b->components[i].derived = board_chat_of_models(b);
        }
    }
}

bool board_refresh(struct board *b, int64_t now_ms, uint64_t mono_ms)
{
    bool changed = false, stale = b->component_count == 0;
    unsigned counts[COMPONENT_STATUS_COUNT] = {0};
    int64_t oldest = 0;
    derive_chat(b);
    for (unsigned i = 0; i < b->component_count; i++) {
        struct component *c = &b->components[i];
        changed |= component_refresh(c, b->page.stale_after_ms, now_ms, mono_ms);
        stale |= c->is_stale;
        count_known(c, counts);
        if (c->seen_ms && (oldest == 0 || c->seen_ms < oldest)) {
            oldest = c->seen_ms;
        }
    }
    enum ladder_state state = ladder_of_components(counts);
    state = ladder_raise(state, worst_open_impact(&b->book), stale || b->is_store_stale);
    changed |= state != b->state || stale != b->is_stale;
    b->state = state;
    b->is_stale = stale;
    b->as_of_ms = oldest;
    if (changed) {
        b->updated_ms = now_ms;
    }
    return changed;
}

void board_count_uptime(struct board *b, int64_t now_ms)
{
    int64_t longest = (int64_t)b->page.stale_after_ms;
    bool counts = b->counted_ms != 0 && now_ms > b->counted_ms && now_ms - b->counted_ms <= longest;
    for (unsigned i = 0; counts && i < b->component_count; i++) {
        struct component *c = &b->components[i];
        if (!c->is_stale) {
            uptime_add(&c->uptime, component_fault(c), b->counted_ms, now_ms);
        }
    }
    b->counted_ms = now_ms;
}

enum incident_impact board_impact_of(const struct board *b, const struct incident *i)
{
    unsigned counts[COMPONENT_STATUS_COUNT] = {0};
    for (unsigned k = 0; k < i->component_count; k++) {
        const struct component *c = board_find_component(b, str_from(i->components[k]));
        if (c) {
            counts[component_fault(c)]++;
        }
    }
    unsigned touched = 0;
    for (int s = 0; s < COMPONENT_STATUS_COUNT; s++) {
        touched += counts[s];
    }
    counts[COMPONENT_OPERATIONAL] += b->component_count - touched;
    return ladder_impact(ladder_of_components(counts));
}
