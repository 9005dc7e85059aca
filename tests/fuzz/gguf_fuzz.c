/* Model files (inference/worker/gguf.h, model.h, tokenizer.h): all that an open file tells lies inside of it. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inference/worker/model.h"
#include "inference/worker/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static void check_tensors(const struct gguf *g, size_t n)
{
    size_t count;
    const struct gguf_tensor *t = gguf_tensors(g, &count);
    uint64_t sum = 0;
    MUST(gguf_file_bytes(g) == n);
    for (size_t i = 0; i < count; i++) {
        MUST(t[i].n_dims >= 1 && t[i].n_dims <= GGUF_MAX_DIMS && t[i].n_bytes == t[i].rows * t[i].row_bytes);
        MUST(t[i].n_bytes > 0 && t[i].n_bytes <= n && t[i].name.n <= GGUF_MAX_NAME);
        sum += t[i].data[0] + (unsigned)t[i].data[t[i].n_bytes - 1];
    }
    MUST(sum <= UINT64_MAX / 2);
}

static void check_pairs(const struct gguf *g)
{
    struct gguf_array a;
    struct str text;
    struct err err;
    uint64_t number;
    if (gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &a, &err) == 0) {
        while (a.count > 0) {
            text = gguf_array_next(&a);
            MUST(text.n == 0 || text.p[text.n - 1] <= 127 || text.p[0] >= -128);
        }
    }
    if (gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &a, &err) == 0 && a.count > 0) {
        (void)gguf_array_i32(&a, a.count - 1);
    }
    if (gguf_get_str(g, "general.name", &text, &err) == 0) {
        MUST(text.n == 0 || memchr(text.p, text.p[text.n - 1], text.n));
    }
    int rc = gguf_get_u64(g, "llama.block_count", &number, &err);
    MUST(rc == 0 || rc == ERR_NOT_FOUND || rc == ERR_INVALID);
}

static void check_tokenizer(const struct gguf *g)
{
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    struct err err = {0};
    if (tokenizer_new(g, &t, &err)) {
        MUST(!t && err.msg[0]);
        return;
    }
    MUST(tokenizer_encode(t, STR("Hello,  world 123\n\xE4\xBD\xA0 <think>"), &ids, &err) == 0);
    for (size_t i = 0; i < ids.n; i++) {
        MUST(ids.p[i] >= 0 && (uint32_t)ids.p[i] < tokenizer_size(t));
        MUST(tokenizer_bytes(t, ids.p[i]).n <= tokenizer_text(t, ids.p[i]).n);
    }
    token_list_clear(&ids);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[32];
    struct gguf *g = NULL;
    struct model *m = NULL;
    struct err err = {0};
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (gguf_open(path, &g, &err) == 0) {
        check_tensors(g, n);
        check_pairs(g);
        check_tokenizer(g);
        gguf_close(g);
        if (model_open(path, &m, &err) == 0) {
            model_close(m);
        } else {
            MUST(err.msg[0]);
        }
    } else {
        MUST(!g && err.msg[0]);
    }
    close(fd);
    return 0;
}
