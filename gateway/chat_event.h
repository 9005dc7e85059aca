/* What one piece of a worker's answer says: an event of a stream, or a whole completion. Looks, and changes one thing:
 * upstreams that say `reasoning` are made to say `reasoning_content`.
 *
 * Most events of a stream are plain text on its way: chat_event_is_plain finds that out by a few searches, without
 * reading the JSON. (A search cannot be fooled into missing something: inside a JSON string a quote is escaped, so the
 * searched texts, which begin and end with one, stand for members. At worst a plain event is read.)
 * Ownership: texts are borrowed from the event; text, when it was changed, from the given buf.
 * Thread rule: pure. */
#ifndef TIDE_GATEWAY_CHAT_EVENT_H
#define TIDE_GATEWAY_CHAT_EVENT_H

#include "base/buf.h"

struct chat_event {
    bool is_comment;  /* no data */
    bool is_done;     /* [DONE] */
    bool is_error;    /* an error object, or no JSON at all */
    bool is_late;     /* the error: the answer asked for more time than the worker gives one */
    bool has_content; /* text, reasoning, a tool call, a refusal: what a reader sees */
    bool has_finish;  /* a finish_reason */
    bool has_usage;
    bool is_usage_only;    /* usage and no choices */
    int64_t prompt_tokens; /* with has_usage */
    int64_t completion_tokens;
    struct str text; /* to be passed on: the event as received, or with its splices */
};

bool chat_event_is_plain(struct str event);
/* event as received; scratch and out_text are cleared first. */
void chat_event_read(struct str event, struct buf *scratch, struct buf *out_text, struct chat_event *out);
/* The same for the JSON of a whole completion; out->text is JSON. */
void chat_answer_read(struct str json, struct buf *out_text, struct chat_event *out);

#endif
