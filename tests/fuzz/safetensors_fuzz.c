/* safetensors files (inference/worker/safetensors/shard.h): the values of every tensor lie inside the file, one behind
 * the other, and have the bytes of its type and shape. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inference/worker/safetensors/shard.h"
#include "tests/fuzz/fuzz.h"

static void check_tensors(const struct shard *s, size_t n)
{
    static const size_t bytes[] = {[SHARD_F32] = 4, [SHARD_F16] = 2, [SHARD_BF16] = 2, [SHARD_F8_E4M3] = 1};
    size_t count;
    const struct shard_tensor *t = shard_tensors(s, &count);
    size_t end = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        MUST(t[i].offset == end && t[i].n_dims <= SHARD_MAX_DIMS && t[i].name.n > 0 &&
             str_is_utf8(t[i].name));
        MUST(t[i].values == t[i].dims[0] * t[i].dims[1] * t[i].dims[2] * t[i].dims[3] && t[i].values > 0);
        MUST(t[i].n_bytes <= n && t[i].n_bytes >= t[i].values);
        MUST(t[i].type == SHARD_OTHER || t[i].n_bytes == t[i].values * bytes[t[i].type]);
        sum += t[i].data[0] + (unsigned)t[i].data[t[i].n_bytes - 1];
        end += t[i].n_bytes;
    }
    MUST(end <= n && sum <= UINT64_MAX / 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[32];
    struct shard *s = NULL;
    struct err err = {0};
    int fd = memfd_create("safetensors", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (shard_open(path, &s, &err) == 0) {
        check_tensors(s, n);
        shard_close(s);
    } else {
        MUST(!s && err.msg[0]);
    }
    close(fd);
    return 0;
}
