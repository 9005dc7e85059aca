/* The `chat` section of the configuration: workers, models, limits and times of chat requests.
 * Ownership: part of the configuration snapshot.
 * Thread rule: const. */
#ifndef TIDE_GATEWAY_CHAT_CONF_H
#define TIDE_GATEWAY_CHAT_CONF_H

#include "base/conf.h"

struct chat_alias_conf {
    const char *name;  /* what clients say */
    const char *model; /* what workers serve */
};

struct chat_conf {
    struct conf_list workers; /* struct worker_conf (inference/router/worker_conf.h) */
    struct conf_list aliases; /* struct chat_alias_conf */
    uint64_t body_bytes;      /* largest request body */
    uint64_t answer_bytes;    /* largest answer that is not streamed */
    uint64_t event_bytes;     /* largest event of a stream */
    uint32_t max_tokens;      /* cap of max_tokens; 0: the worker's own */
    uint32_t max_choices;     /* cap of n */
    uint32_t expected_tokens; /* assumed answer length when the request names none: for load only */
    uint64_t queue_ms;        /* longest wait for a free slot */
    uint32_t queue_length;    /* waiters of one model */
    uint32_t queue_per_user;  /* of them, of one user */
    uint64_t keep_alive_ms;   /* a comment this often while a stream has no first byte */
    uint64_t connect_ms;      /* to a worker */
    uint64_t first_byte_ms;   /* from the request to the head of the worker's answer */
    uint64_t idle_ms;         /* between bytes of the worker's answer */
    uint32_t retry_percent;   /* of requests may be sent to a second worker */
    uint64_t probe_ms;        /* between health probes of a worker */
};
extern const struct conf_section chat_conf_section;

#endif
