/* The file of packed weights: what is mapped is what would be packed, bit for bit, and whatever is wrong with a file that
 * is there, it is replaced and never used. */
#include "tests/unit/gguf_builder.h"

#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "inference/worker/cpu/packed_file.h"

enum { MATRICES = 10, HEADER = 64 };

static char model_path[128];
static char file_path[128];
static char new_path[128];

static void write_model(uint64_t random)
{
    static const enum tensor_type types[MATRICES] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
                                                     TENSOR_F16,  TENSOR_Q8_0, TENSOR_Q2_K, TENSOR_Q3_K,
                                                     TENSOR_Q5_K, TENSOR_Q6_K};
    struct builder b;
    builder_init(&b);
    b.random += random;
    pair_text(&b, "general.architecture", "none");
    for (unsigned i = 0; i < MATRICES; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        add_tensor(&b, name, types[i], 256, 16 * i + 5); /* the last strip is padded */
    }
    struct buf file = built_file(&b);
    snprintf(model_path, sizeof model_path, "%s", write_bytes("m.gguf", file.p, file.n));
    buf_clear(&file);
    builder_clear(&b);
}

static int setup(void **state)
{
    snprintf(file_path, sizeof file_path, "%s/m.gguf.tide-packed", temp_folder);
    snprintf(new_path, sizeof new_path, "%s/m.gguf.tide-packed.new", temp_folder);
    unlink(file_path);
    unlink(new_path);
    write_model(0);
    return 0;
}

/* One worker's view. */
struct view {
    struct gguf *model;
    struct packed matrices[MATRICES];
    struct packed_file file;
    int rc;
    struct err err;
};

static void open_view(struct view *v, const char *path)
{
    *v = (struct view){0};
    assert_int_equal(gguf_open(model_path, &v->model, &v->err), 0);
    for (unsigned i = 0; i < MATRICES; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        assert_int_equal(packed_shape(&v->matrices[i], gguf_tensor_find(v->model, name), &v->err), 0);
    }
    v->rc = packed_file_open(&v->file, path, v->model, v->matrices, MATRICES, &v->err);
}

static void close_view(struct view *v)
{
    for (unsigned i = 0; i < MATRICES; i++) {
        packed_clear(&v->matrices[i]);
    }
    packed_file_close(&v->file);
    gguf_close(v->model);
}

static void check_weights(const struct view *v)
{
    assert_int_equal(v->rc, 0);
    for (unsigned i = 0; i < MATRICES; i++) {
        const struct packed *p = &v->matrices[i];
        struct packed own;
        assert_int_equal(packed_init(&own, p->tensor, NULL), 0);
        assert_int_equal(p->kind, own.kind);
        assert_memory_equal(p->data, own.data, p->strip_bytes * p->strips);
        bool is_mapped = p->data >= v->file.map && p->data < v->file.map + v->file.bytes;
        assert_int_equal(is_mapped, p->kind != PACKED_F16);
        assert_true(!is_mapped || (uintptr_t)p->data % 64 == 0);
        packed_clear(&own);
    }
}

static ino_t inode(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* A start must give the right weights from the file; `replaced` says whether from another file than before. The old
 * one is kept open, so that its number is not given to the new. */
static void expect_start(bool replaced)
{
    struct view v;
    int old = open(file_path, O_RDONLY | O_CLOEXEC);
    assert_true(old >= 0);
    ino_t before = inode(file_path);
    open_view(&v, file_path);
    check_weights(&v);
    assert_int_equal(inode(file_path) != before, replaced);
    assert_false(exists(new_path));
    close_view(&v);
    close(old);
}

static void make_file(void)
{
    struct view v;
    open_view(&v, file_path);
    check_weights(&v);
    close_view(&v);
}

static void change_byte(size_t at)
{
    uint8_t byte;
    int fd = open(file_path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static size_t file_size(void)
{
    struct stat st;
    assert_int_equal(stat(file_path, &st), 0);
    return (size_t)st.st_size;
}

static void the_first_writes_and_others_map(void **state)
{
    struct view first;
    struct view second;
    struct stat st;
    open_view(&first, file_path);
    check_weights(&first);
    assert_false(exists(new_path));
    assert_int_equal(stat(file_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal((size_t)st.st_size, first.file.bytes);
    open_view(&second, file_path);
    check_weights(&second);
    assert_int_equal(inode(file_path), st.st_ino);
    close_view(&first);
    check_weights(&second);
    close_view(&second);
}

static void every_byte_of_the_header_counts(void **state)
{
    make_file();
    for (size_t at = 0; at < HEADER; at++) {
        change_byte(at);
        expect_start(true);
    }
    expect_start(false);
}

static void damage_to_the_weights_is_found(void **state)
{
    make_file();
    size_t size = file_size();
    for (size_t i = 0; i < 64; i++) {
        change_byte(HEADER + i * 4099 % (size - HEADER));
        expect_start(true);
    }
    change_byte(size - 1);
    expect_start(true);
    change_byte(HEADER); /* the same bit of two words of a lane */
    change_byte(HEADER + 64);
    expect_start(true);
}

static void every_length_but_its_own_is_wrong(void **state)
{
    make_file();
    size_t size = file_size();
    const size_t lengths[] = {0,    1,        8,         63,       64,       65,       4095,
                              4096, size / 2, size - 64, size - 1, size + 1, size + 64};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(truncate(file_path, (off_t)lengths[i]), 0);
        expect_start(true);
    }
}

static void a_model_that_changed_has_a_new_file(void **state)
{
    struct stat st;
    make_file();
    assert_int_equal(stat(model_path, &st), 0);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    usleep(30000);  /* a tick of the clock that files have */
    write_model(7); /* the same shapes and size, and soon the same time of writing */
    assert_int_equal(utimensat(AT_FDCWD, model_path, times, 0), 0);
    expect_start(true);
    expect_start(false);
}

static void a_part_of_the_matrices_is_another_file(void **state)
{
    struct view v;
    make_file();
    v = (struct view){0};
    assert_int_equal(gguf_open(model_path, &v.model, &v.err), 0);
    assert_int_equal(packed_shape(&v.matrices[0], gguf_tensor_find(v.model, "m1"), &v.err), 0);
    assert_int_equal(packed_file_open(&v.file, file_path, v.model, v.matrices, 1, &v.err), 0);
    assert_true(v.file.bytes < 10000);
    close_view(&v);
    expect_start(true);
}

static void what_a_dead_writer_left_is_taken_over(void **state)
{
    temp_write("m.gguf.tide-packed.new", "half of a file", 0600);
    make_file();
    assert_false(exists(new_path));
    expect_start(false);
}

static void *open_in_thread(void *arg)
{
    open_view(arg, file_path);
    return NULL;
}

static void a_second_waits_for_the_first(void **state)
{
    struct view v;
    pthread_t thread;
    make_file();
    assert_int_equal(rename(file_path, new_path), 0);
    int fd = open(new_path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0); /* as one that writes */
    ino_t number = inode(new_path);
    assert_int_equal(pthread_create(&thread, NULL, open_in_thread, &v), 0);
    usleep(100000); /* it waits by now, or will */
    assert_false(exists(file_path));
    assert_int_equal(rename(new_path, file_path), 0);
    close(fd);
    pthread_join(thread, NULL);
    check_weights(&v);
    assert_int_equal(inode(file_path), number);
    assert_false(exists(new_path));
    close_view(&v);
}

static void many_that_start_at_once_share_one_file(void **state)
{
    enum { WORKERS = 6 };
    static struct view views[WORKERS];
    pthread_t threads[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, open_in_thread, &views[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(exists(new_path));
    for (unsigned i = 0; i < WORKERS; i++) {
        check_weights(&views[i]);
        close_view(&views[i]);
    }
    expect_start(false);
}

static void expect_refusal(const char *path, int code, const char *text)
{
    struct view v;
    open_view(&v, path);
    assert_int_equal(v.rc, code);
    assert_null(v.file.map);
    if (!strstr(v.err.msg, text)) {
        fail_msg("\"%s\" does not say \"%s\"", v.err.msg, text);
    }
    for (unsigned i = 0; i < MATRICES; i++) { /* and the worker goes on without */
        assert_int_equal(v.matrices[i].data != NULL, v.matrices[i].kind == PACKED_F16);
        assert_int_equal(packed_fill(&v.matrices[i], NULL), 0);
    }
    close_view(&v);
}

static void a_folder_that_cannot_be_written(void **state)
{
    expect_refusal("/proc/none/m.tide-packed", ERR_IO, "cannot write /proc/none/m.tide-packed.new");
    expect_refusal("/dev/null/m.tide-packed", ERR_IO, "cannot open /dev/null/m.tide-packed");
    assert_int_equal(mkdir(file_path, 0700), 0);
    expect_refusal(file_path, ERR_DENIED, "not a regular file");
    assert_int_equal(rmdir(file_path), 0);
    assert_int_equal(symlink("/dev/null", new_path), 0); /* nothing is written through a link */
    expect_refusal(file_path, ERR_IO, "cannot write");
}

static void no_room_leaves_nothing_behind(void **state)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {20000, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_refusal(file_path, ERR_IO, "no room for");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(exists(file_path) || exists(new_path));
    make_file();
}

static void another_users_file_is_not_used(void **state)
{
    make_file();
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(chown(file_path, 65534, 65534), 0);
    ino_t number = inode(file_path);
    expect_refusal(file_path, ERR_DENIED, "another user's");
    assert_int_equal(inode(file_path), number);
}

static void where_it_stands(void **state)
{
    char out[PACKED_PATH_ROOM];
    char deep[PACKED_PATH_ROOM];
    struct err err;
    assert_int_equal(packed_file_path("/srv/a.gguf", NULL, out, &err), 0);
    assert_string_equal(out, "/srv/a.gguf.tide-packed");
    assert_int_equal(packed_file_path("/srv/a.gguf", "/var/cache", out, &err), 0);
    assert_string_equal(out, "/var/cache/srv.a.gguf.tide-packed");
    assert_int_equal(packed_file_path("/srv/models/a.gguf", "/var/cache", out, &err), 0);
    assert_string_equal(out, "/var/cache/models.a.gguf.tide-packed");
    assert_int_equal(packed_file_path("/a.gguf", "/var/cache", out, &err), 0);
    assert_string_equal(out, "/var/cache/a.gguf.tide-packed");
    assert_int_equal(packed_file_path("a.gguf", "cache", out, &err), 0);
    assert_string_equal(out, "cache/a.gguf.tide-packed");
    assert_int_equal(packed_file_path("a.gguf", "none", out, &err), 0);
    assert_string_equal(out, "");
    memset(deep, 'x', sizeof deep - 17);
    deep[sizeof deep - 17] = '\0';
    assert_int_equal(packed_file_path(deep, NULL, out, &err), 0);
    deep[sizeof deep - 17] = 'x';
    deep[sizeof deep - 16] = '\0';
    assert_int_equal(packed_file_path(deep, NULL, out, &err), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_writes_and_others_map, setup),
        cmocka_unit_test_setup(every_byte_of_the_header_counts, setup),
        cmocka_unit_test_setup(damage_to_the_weights_is_found, setup),
        cmocka_unit_test_setup(every_length_but_its_own_is_wrong, setup),
        cmocka_unit_test_setup(a_model_that_changed_has_a_new_file, setup),
        cmocka_unit_test_setup(a_part_of_the_matrices_is_another_file, setup),
        cmocka_unit_test_setup(what_a_dead_writer_left_is_taken_over, setup),
        cmocka_unit_test_setup(a_second_waits_for_the_first, setup),
        cmocka_unit_test_setup(many_that_start_at_once_share_one_file, setup),
        cmocka_unit_test_setup(a_folder_that_cannot_be_written, setup),
        cmocka_unit_test_setup(no_room_leaves_nothing_behind, setup),
        cmocka_unit_test_setup(another_users_file_is_not_used, setup),
        cmocka_unit_test_setup(where_it_stands, setup),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
