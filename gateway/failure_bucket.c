#include "gateway/failure_bucket.h"

#include "base/id.h"

static uint64_t tag_of(const struct addr *client)
{
    struct addr_prefix p = addr_mask(client, 32, 64);
    uint64_t tag = id_siphash(p.addr.b, sizeof p.addr.b);
    return tag != 0 ? tag : 1;
}

bool failure_bucket_has(const struct failure_bucket *b, const struct addr *client, uint32_t burst,
                        uint64_t period_ms, uint64_t now_ms)
{
    uint64_t tag = tag_of(client);
    const struct failure_row *row = &b->rows[tag % FAILURE_BUCKET_ROWS];
    return row->tag != tag || row->full_ms <= now_ms + (burst - 1) * period_ms;
}

void failure_bucket_charge(struct failure_bucket *b, const struct addr *client, uint64_t period_ms,
                           uint64_t now_ms)
{
    uint64_t tag = tag_of(client);
    struct failure_row *row = &b->rows[tag % FAILURE_BUCKET_ROWS];
    uint64_t from = row->tag == tag && row->full_ms > now_ms ? row->full_ms : now_ms;
    *row = (struct failure_row){.tag = tag, .full_ms = from + period_ms};
}

bool failure_bucket_take_spare(struct failure_bucket *b, uint32_t per_s, uint64_t now_ms)
{
    if (b->spare_s != now_ms / 1000) {
        b->spare_s = now_ms / 1000;
        b->spare_taken = 0;
    }
    if (b->spare_taken >= per_s) {
        return false;
    }
    b->spare_taken++;
    return true;
}
