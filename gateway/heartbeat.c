#include "gateway/heartbeat.h"

#include <stddef.h>

static void answer(struct loop_msg *m, bool canceled)
{
    struct heartbeat *h = (struct heartbeat *)(void *)((char *)m - offsetof(struct heartbeat, msg));
    atomic_store(&h->asked_ms, 0);
}

uint64_t heartbeat_ask(struct heartbeat *h, struct loop *loop, uint64_t now_ms)
{
    uint64_t asked_ms = atomic_load(&h->asked_ms);
    if (asked_ms != 0) {
        return now_ms - asked_ms;
    }
    atomic_store(&h->asked_ms, now_ms);
    h->msg.fn = answer;
    loop_post(loop, &h->msg);
    return 0;
}
