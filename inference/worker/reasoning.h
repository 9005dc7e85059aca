/* Which part of an answer is reasoning: what stands between <think> and </think>, shown apart from the rest.
 *
 *     waits -- <think> --> inside -- </think> --> after        a template may begin inside
 *       \---------------- any other text ----------/
 *
 * Where a tag is one token of the vocabulary its id decides, and text that looks like it stays text; else the
 * text does, and what may yet become a tag is held back. Line ends next to a tag are left out.
 * Ownership: reasoning_clear frees.
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_WORKER_REASONING_H
#define TIDE_WORKER_REASONING_H

#include "base/buf.h"
#include "inference/worker/vocab.h"

enum reasoning_state {
    REASONING_WAITS = 0,
    REASONING_INSIDE = 1,
    REASONING_AFTER = 2, /* or never: all that comes is content */
};

struct reasoning {
    enum reasoning_state state;
    token_id open_tag; /* TOKEN_NONE: told by its text */
    token_id close_tag;
    bool after_tag;  /* line ends that come next are left out */
    struct buf held; /* text that may be part of a tag, or line ends before one */
    uint32_t tokens; /* that came while inside */
};

/* New text of both kinds, appended to. */
struct reasoning_out {
    struct buf *thought;
    struct buf *content;
};

void reasoning_init(struct reasoning *r, enum reasoning_state state, token_id open_tag, token_id close_tag);
void reasoning_clear(struct reasoning *r);
/* Is this token the tag that the state waits for? Then reasoning_turn shall be called and the token not shown. */
bool reasoning_is_tag(const struct reasoning *r, token_id id);
void reasoning_turn(struct reasoning *r, struct reasoning_out out);
void reasoning_push(struct reasoning *r, struct str text, struct reasoning_out out);
void reasoning_finish(struct reasoning *r, struct reasoning_out out); /* what was held back */

#endif
