#include "inference/worker/reasoning.h"

enum { HELD_MAX = 1 << 20 };
#define OPEN_TAG STR("<think>")
#define CLOSE_TAG STR("</think>")

void reasoning_init(struct reasoning *r, enum reasoning_state state, token_id open_tag, token_id close_tag)
{
    *r = (struct reasoning){
        .state = state, .open_tag = open_tag, .close_tag = close_tag, .after_tag = state == REASONING_INSIDE};
    buf_init(&r->held, HELD_MAX);
}

void reasoning_clear(struct reasoning *r)
{
    buf_clear(&r->held);
}

bool reasoning_is_tag(const struct reasoning *r, token_id id)
{
    return (r->state == REASONING_WAITS && id == r->open_tag) ||
           (r->state == REASONING_INSIDE && id == r->close_tag);
}

static struct buf *side(const struct reasoning *r, struct reasoning_out out)
{
    return r->state == REASONING_INSIDE ? out.thought : out.content;
}

/* The text that ends the state; empty when a token does. */
static struct str awaited(const struct reasoning *r)
{
    if (r->state == REASONING_WAITS) {
        return r->open_tag == TOKEN_NONE ? OPEN_TAG : STR("");
    }
    return r->state == REASONING_INSIDE && r->close_tag == TOKEN_NONE ? CLOSE_TAG : STR("");
}

static size_t line_ends_before(const struct buf *held, size_t end)
{
    size_t n = 0;
    while (n < end && held->p[end - 1 - n] == '\n') {
        n++;
    }
    return n;
}

/* Bytes at the end of the held text that could grow into the tag. */
static size_t undecided(const struct buf *held, struct str tag)
{
    size_t n = tag.n ? tag.n - 1 : 0;
    n = n < held->n ? n : held->n;
    while (n > 0 && memcmp(held->p + held->n - n, tag.p, n) != 0) {
        n--;
    }
    return n;
}

static void show(struct reasoning *r, size_t n, struct reasoning_out out)
{
    buf_add(side(r, out), r->held.p, n);
    buf_consume(&r->held, n);
}

void reasoning_turn(struct reasoning *r, struct reasoning_out out)
{
    if (r->state == REASONING_INSIDE) {
        show(r, r->held.n - line_ends_before(&r->held, r->held.n), out);
    }
    buf_truncate(&r->held); /* before <think> there are only line ends */
    r->state = r->state == REASONING_WAITS ? REASONING_INSIDE : REASONING_AFTER;
    r->after_tag = true;
}

static void drop_line_ends(struct reasoning *r)
{
    size_t n = 0;
    while (r->after_tag && n < r->held.n && r->held.p[n] == '\n') {
        n++;
    }
    buf_consume(&r->held, n);
    r->after_tag = r->after_tag && r->held.n == 0;
}

/* Only line ends may stand before <think>; anything else and the answer has no reasoning. False: not yet clear. */
static bool decide_waiting(struct reasoning *r)
{
    size_t lines = 0;
    while (lines < r->held.n && r->held.p[lines] == '\n') {
        lines++;
    }
    struct str rest = str_skip(buf_str(&r->held), lines);
    struct str tag = awaited(r);
    bool may_come = rest.n == 0 || (rest.n < tag.n && memcmp(rest.p, tag.p, rest.n) == 0);
    if (may_come || (tag.n && str_starts(rest, tag))) {
        return !may_come;
    }
    r->state = REASONING_AFTER;
    return true;
}

static bool take_tag(struct reasoning *r, struct reasoning_out out)
{
    struct str tag = awaited(r);
    const char *at = tag.n && r->held.n ? memmem(r->held.p, r->held.n, tag.p, tag.n) : NULL;
    if (!at) {
        return false;
    }
    size_t before = (size_t)(at - r->held.p);
    size_t lines = line_ends_before(&r->held, before);
    if (r->state == REASONING_INSIDE) {
        buf_add(out.thought, r->held.p, before - lines);
    }
    buf_consume(&r->held, before + tag.n);
    r->state = r->state == REASONING_WAITS ? REASONING_INSIDE : REASONING_AFTER;
    r->after_tag = true;
    return true;
}

void reasoning_push(struct reasoning *r, struct str text, struct reasoning_out out)
{
    buf_add_str(&r->held, text);
    do {
        drop_line_ends(r);
        if (r->state == REASONING_WAITS && !decide_waiting(r)) {
            return;
        }
    } while (take_tag(r, out));
    size_t kept = undecided(&r->held, awaited(r));
    if (r->state == REASONING_INSIDE) {
        kept += line_ends_before(&r->held, r->held.n - kept);
    }
    show(r, r->held.n - kept, out);
}

void reasoning_finish(struct reasoning *r, struct reasoning_out out)
{
    show(r, r->held.n, out);
}
