#include "base/http/peers.h"

#include <pthread.h>

#include "base/http/server_impl.h"
#include "base/id.h"

enum { SLOTS = 65536, LOCKS = 64, PROBES = 16 };

struct peer_slot {
    uint8_t key[8 + 1]; /* the first 8 bytes of an IPv6 address, or the 4 of an IPv4; then which */
    bool used;
    uint32_t connections;
    uint32_t tokens_milli; /* thousandths of a connection */
    uint64_t refilled_ms;
};

static struct peer_slot slots[SLOTS];
static pthread_mutex_t locks[LOCKS] = {[0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};

/* A neighbourhood of PROBES slots never crosses a lock's share. */
static pthread_mutex_t *lock_of(size_t first)
{
    return &locks[first / (SLOTS / LOCKS)];
}

static void key_of(const struct addr *peer, uint8_t key[9])
{
    memset(key, 0, 9);
    key[8] = addr_is_v4(peer);
    memcpy(key, key[8] ? peer->b + 12 : peer->b, key[8] ? 4 : 8);
}

/* now_ms is the time at which the caller's turn of its loop began: another loop may have been here with a later one. */
static void refill(struct peer_slot *s, uint32_t per_s, uint64_t now_ms)
{
    if (now_ms <= s->refilled_ms) {
        return;
    }
    uint64_t full = (uint64_t)per_s * 2000;
    uint64_t tokens = s->tokens_milli + (now_ms - s->refilled_ms) * per_s;
    s->tokens_milli = (uint32_t)(tokens < full ? tokens : full);
    s->refilled_ms = now_ms;
}

/* A bucket is full again two seconds after its last use, whatever the rate. */
static bool is_free(const struct peer_slot *s, uint64_t now_ms)
{
    return !s->used || (s->connections == 0 && now_ms >= s->refilled_ms + 2000);
}

static struct peer_slot *find(const uint8_t key[9], size_t first, uint32_t per_s, uint64_t now_ms)
{
    struct peer_slot *free_slot = NULL;
    for (size_t i = 0; i < PROBES; i++) {
        struct peer_slot *s = &slots[first + i];
        if (s->used && memcmp(s->key, key, 9) == 0) {
            return s;
        }
        if (!free_slot && is_free(s, now_ms)) {
            free_slot = s;
        }
    }
    if (free_slot) {
        *free_slot = (struct peer_slot){.used = true, .tokens_milli = per_s * 2000, .refilled_ms = now_ms};
        memcpy(free_slot->key, key, 9);
    }
    return free_slot;
}

enum peer_verdict peer_admit(const struct addr *peer, uint32_t max_connections, uint32_t per_s,
                             uint64_t now_ms, struct peer_slot **slot)
{
    enum peer_verdict verdict = PEER_OK;
    uint8_t key[9];
    key_of(peer, key);
    size_t first = id_siphash(key, sizeof(key)) % SLOTS / PROBES * PROBES;
    pthread_mutex_t *lock = lock_of(first);
    pthread_mutex_lock(lock);
    struct peer_slot *s = find(key, first, per_s, now_ms);
    *slot = s;
    if (!s) {
        http_count_refused("peer_table_full_let_in");
    } else {
        refill(s, per_s, now_ms);
        if (s->connections >= max_connections) {
            verdict = PEER_TOO_MANY;
        } else if (s->tokens_milli < 1000) {
            verdict = PEER_TOO_FAST;
        } else {
            s->tokens_milli -= 1000;
            s->connections++;
        }
    }
    pthread_mutex_unlock(lock);
    return verdict;
}

void peer_release(struct peer_slot *slot)
{
    if (slot) {
        pthread_mutex_t *lock = lock_of((size_t)(slot - slots));
        pthread_mutex_lock(lock);
        slot->connections--;
        pthread_mutex_unlock(lock);
    }
}
