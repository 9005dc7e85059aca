/* Counts what the memory system would be asked for. The lanes of a warp run one after another here, so their accesses
 * are put together again by instruction: the same place in the code, for each lane the same time round. */
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kernels/emu/emu.h"
#include "kernels/emu/machine.h"

enum { SECTOR = 32, BANKS = 32 };

struct request { /* one instruction of one warp */
    uintptr_t address[WARP];
    uint32_t lanes; /* that take part */
    uint32_t bytes; /* a lane */
};

struct warp_requests {
    std::unordered_map<uint64_t, uint32_t> times[WARP]; /* by place: how often the lane was there */
    std::unordered_map<uint64_t, size_t> index;         /* by place and time: of all */
    std::vector<struct request> all;
};

bool traffic_counts;
static struct emu_traffic totals;
static struct warp_requests warps[WARPS_MAX];
static std::unordered_set<uintptr_t> sectors_read;
static std::unordered_set<uintptr_t> sectors_written;

void emu_traffic_start(void)
{
    totals = {};
    traffic_counts = true;
}

struct emu_traffic emu_traffic_stop(void)
{
    traffic_counts = false;
    return totals;
}

void traffic_begin_launch(void)
{
    sectors_read.clear();
    sectors_written.clear();
}

void traffic_end_launch(void)
{
    totals.launches++;
    totals.read_bytes += sectors_read.size() * SECTOR;
    totals.written_bytes += sectors_written.size() * SECTOR;
    if (shared_bytes_used() > totals.shared_bytes) {
        totals.shared_bytes = shared_bytes_used();
    }
}

void traffic_touch(uintptr_t address, size_t bytes, bool is_write, const void *pc)
{
    const struct thread *t = emu_block.running;
    struct warp_requests *w = &warps[t->warp];
    uint64_t place = reinterpret_cast<uintptr_t>(pc);
    uint32_t time = w->times[t->lane][place]++;
    uint64_t key = place * 0x9E3779B97F4A7C15ULL + time;
    auto found = w->index.emplace(key, w->all.size());
    if (found.second) {
        w->all.push_back({});
    }
    struct request *r = &w->all[found.first->second];
    r->address[t->lane] = address;
    r->lanes |= 1U << t->lane;
    r->bytes = (uint32_t)bytes;
    if (!shared_has(address)) {
        for (uintptr_t s = address / SECTOR; s <= (address + bytes - 1) / SECTOR; s++) {
            (is_write ? sectors_written : sectors_read).insert(s);
        }
    }
}

static void count_global(const struct request *r)
{
    std::unordered_set<uintptr_t> sectors;
    std::unordered_set<uintptr_t> touched;
    for (uint32_t lane = 0; lane < WARP; lane++) {
        for (uint32_t i = 0; i < r->bytes && r->lanes & 1U << lane; i++) {
            touched.insert(r->address[lane] + i);
            sectors.insert((r->address[lane] + i) / SECTOR);
        }
    }
    totals.requests++;
    totals.sectors += sectors.size();
    totals.least_sectors += (touched.size() + SECTOR - 1) / SECTOR;
}

/* Accesses of 4 bytes and less: one pass for all lanes; of 8: two, of 16: four, for the lanes in order. */
static void count_shared(const struct request *r)
{
    uint32_t at_once = r->bytes <= 4 ? 32 : r->bytes == 8 ? 16 : 8;
    totals.shared_requests++;
    for (uint32_t first = 0; first < WARP; first += at_once) {
        std::unordered_set<uintptr_t> words[BANKS];
        size_t most = 1;
        for (uint32_t lane = first; lane < first + at_once; lane++) {
            for (uint32_t i = 0; i < r->bytes && r->lanes & 1U << lane; i += 4) {
                uintptr_t word = (r->address[lane] + i) / 4;
                words[word % BANKS].insert(word);
            }
        }
        for (uint32_t b = 0; b < BANKS; b++) {
            most = words[b].size() > most ? words[b].size() : most;
        }
        totals.bank_conflicts += most - 1;
    }
}

void traffic_end_block(void)
{
    for (uint32_t w = 0; w < WARPS_MAX; w++) {
        for (const struct request &r : warps[w].all) {
            uintptr_t any = r.address[__builtin_ctz(r.lanes)];
            if (shared_has(any)) {
                count_shared(&r);
            } else {
                count_global(&r);
            }
        }
        warps[w].all.clear();
        warps[w].index.clear();
        for (auto &times : warps[w].times) {
            times.clear();
        }
    }
}
