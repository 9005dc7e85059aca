/* Files of packed weights (inference/worker/cpu/packed_file.h): whatever stands in the place of one, a start has the right
 * weights, from the file itself only where that is the right one to the byte, and leaves the right one behind.
 *
 * An input changes the right file: two bytes say its length (0xFFFF: as it is), three each a byte of it, at a place of
 * two bytes, that is XORed with the third. The header has a key, a length and a sum, so other bytes say little. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "inference/worker/cpu/packed_file.h"
#include "tests/fuzz/fuzz.h"

enum { MATRICES = 2, FILE_MAX = 4096 };

static char folder[64];
static char model_path[96];
static char file_path[96];
static struct gguf *model;
static struct packed own[MATRICES]; /* as they must be */
static uint8_t right[FILE_MAX];     /* the right file */
static size_t right_bytes;

static void add_u32(struct buf *out, uint32_t v)
{
    buf_add(out, &v, sizeof v);
}

static void add_u64(struct buf *out, uint64_t v)
{
    buf_add(out, &v, sizeof v);
}

static void add_text(struct buf *out, const char *text)
{
    add_u64(out, strlen(text));
    buf_add(out, text, strlen(text));
}

static void add_matrix(struct buf *out, const char *name, enum tensor_type type, uint64_t columns,
                       uint64_t rows, uint64_t offset)
{
    add_text(out, name);
    add_u32(out, 2);
    add_u64(out, columns);
    add_u64(out, rows);
    add_u32(out, type);
    add_u64(out, offset);
}

static void write_file(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, p, n) == (ssize_t)n && close(fd) == 0);
}

static void write_model(void)
{
    struct buf out;
    buf_init(&out, FILE_MAX);
    add_u32(&out, 0x46554747); /* "GGUF" */
    add_u32(&out, 3);
    add_u64(&out, MATRICES);
    add_u64(&out, 1);
    add_text(&out, "general.architecture");
    add_u32(&out, GGUF_STRING);
    add_text(&out, "none");
    add_matrix(&out, "a", TENSOR_Q5_0, 64, 17, 0);
    add_matrix(&out, "b", TENSOR_Q4_1, 32, 5, 768);
    while (out.n % 32) {
        buf_add(&out, "", 1);
    }
    for (unsigned i = 0; i < 868; i++) {
        uint8_t byte = (uint8_t)(i * 167 % 251);
        buf_add(&out, &byte, 1);
    }
    write_file(model_path, out.p, out.n);
    buf_clear(&out);
}

static void remove_all(void)
{
    unlink(model_path);
    unlink(file_path);
    rmdir(folder);
}

static void shape_both(struct packed matrices[MATRICES])
{
    MUST(packed_shape(&matrices[0], gguf_tensor_find(model, "a"), NULL) == 0);
    MUST(packed_shape(&matrices[1], gguf_tensor_find(model, "b"), NULL) == 0);
}

/* Reads the file into at most FILE_MAX bytes; its number too. */
static size_t read_file(uint8_t *out, ino_t *number)
{
    struct stat st;
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0 && fstat(fd, &st) == 0);
    ssize_t n = read(fd, out, FILE_MAX);
    MUST(n == st.st_size);
    close(fd);
    *number = st.st_ino;
    return (size_t)n;
}

/* A start: the weights are right, and so is the file after it. Returns its number. */
static ino_t start(void)
{
    static uint8_t now[FILE_MAX];
    struct packed matrices[MATRICES];
    struct packed_file file;
    struct err err;
    ino_t number;
    shape_both(matrices);
    MUST(packed_file_open(&file, file_path, model, matrices, MATRICES, &err) == 0);
    for (unsigned i = 0; i < MATRICES; i++) {
        MUST(memcmp(matrices[i].data, own[i].data, packed_bytes(&own[i])) == 0);
    }
    size_t n = read_file(now, &number);
    MUST(right_bytes == 0 || (n == right_bytes && memcmp(now, right, n) == 0));
    packed_file_close(&file);
    return number;
}

static void prepare(void)
{
    ino_t number;
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/tide-packed-XXXXXX", memory);
    MUST(mkdtemp(folder));
    snprintf(model_path, sizeof model_path, "%s/m.gguf", folder);
    snprintf(file_path, sizeof file_path, "%s/m.gguf.tide-packed", folder);
    atexit(remove_all);
    log_set_level(LOG_LEVEL_ERROR);
    write_model();
    MUST(gguf_open(model_path, &model, NULL) == 0);
    shape_both(own);
    MUST(packed_fill(&own[0], NULL) == 0 && packed_fill(&own[1], NULL) == 0);
    start();
    right_bytes = read_file(right, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t changed[FILE_MAX];
    ino_t before;
    if (!model) {
        prepare();
    }
    memset(changed, 0, sizeof changed);
    memcpy(changed, right, right_bytes);
    unsigned length = n < 2 ? 0xFFFF : data[0] | data[1] << 8;
    size_t bytes = length == 0xFFFF ? right_bytes : length % FILE_MAX;
    for (size_t i = 2; i + 3 <= n; i += 3) {
        changed[(data[i] | data[i + 1] << 8) % FILE_MAX] ^= data[i + 2];
    }
    write_file(file_path, changed, bytes);
    (void)read_file(changed, &before);
    bool is_right = bytes == right_bytes && memcmp(changed, right, bytes) == 0;
    MUST((start() == before) == is_right);
    return 0;
}
