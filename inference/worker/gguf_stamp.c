/* Which files a model was read from, in 32 bytes. The time of a change of owner or mode is not among them: some who start
 * workers set both each time. */
#include <openssl/sha.h>
#include <sys/stat.h>

#include "inference/worker/gguf_impl.h"

_Static_assert(GGUF_STAMP_BYTES == SHA256_DIGEST_LENGTH, "a stamp is a SHA-256");

void gguf_stamp_file(struct gguf *g, const struct stat *st)
{
    uint64_t facts[] = {(uint64_t)st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
                        (uint64_t)st->st_mtim.tv_nsec};
    SHA256((const uint8_t *)facts, sizeof facts, g->stamp);
}

void gguf_stamp_part(struct gguf *g, const struct gguf *part)
{
    uint8_t both[2 * GGUF_STAMP_BYTES];
    memcpy(both, g->stamp, GGUF_STAMP_BYTES);
    memcpy(both + GGUF_STAMP_BYTES, part->stamp, GGUF_STAMP_BYTES);
    SHA256(both, sizeof both, g->stamp);
}

const uint8_t *gguf_stamp(const struct gguf *g)
{
    return g->map ? g->stamp : NULL;
}
