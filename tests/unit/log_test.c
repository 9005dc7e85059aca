#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static char folder[] = "/tmp/tide-log-XXXXXX";
static char path[64], moved[64];

static int make_folder(void **state)
{
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(moved, sizeof(moved), "%s/log.1", folder);
    return 0;
}

static int remove_folder(void **state)
{
    unlink(path);
    unlink(moved);
    return rmdir(folder);
}

static char *text_of(const char *file)
{
    static char text[2 << 20];
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) {
        n++;
    }
    return n;
}

static void program_log(void **state)
{
    struct err err;
    assert_int_equal(log_open("/nonexistent/x", LOG_LEVEL_INFO, &err), ERR_IO);
    assert_int_equal(log_open(path, LOG_LEVEL_INFO, &err), 0);
    log_info("one name=%s", "a\nb");
    log_debug("hidden");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("shown");
    log_close();
    char *text = text_of(path);
    assert_non_null(strstr(text, " level=info thread="));
    assert_non_null(strstr(text, " one name=a b\n"));
    assert_non_null(strstr(text, " shown\n"));
    assert_null(strstr(text, "hidden"));
    unlink(path);
}

static void chatter(int lines)
{
    for (int i = 0; i < lines; i++) {
        log_warn("noise i=%d", i);
    }
}

static void repeated_lines_are_held_back(void **state)
{
    assert_int_equal(log_open(path, LOG_LEVEL_INFO, NULL), 0);
    chatter(100);
    log_info("another site");
    clock_test_advance_ms(2000);
    chatter(1);
    log_close();
    char *text = text_of(path);
    assert_in_range(count(text, "noise"), 21, 42); /* 42: when a second passed in between */
    assert_int_equal(count(text, "another site"), 1);
    assert_non_null(strstr(text, " held_back="));
    unlink(path);
}

enum { THREADS = 4, LINES = 1000 };

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++) {
        log_file_line(arg, STR("a line of the access log, about as long as one is"));
    }
    return NULL;
}

static void no_line_is_lost_or_cut(void **state)
{
    pthread_t threads[THREADS];
    uint64_t dropped = log_dropped_lines();
    struct log_file *f = log_file_open(path, NULL);
    assert_non_null(f);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, write_lines, f);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    log_file_close(f);
    log_close();
    assert_int_equal(count(text_of(path), "as one is\n") + log_dropped_lines() - dropped, THREADS * LINES);
    unlink(path);
}

static void reopens_by_name(void **state)
{
    struct log_file *f = log_file_open(path, NULL);
    log_file_line(f, STR("before"));
    rename(path, moved);
    log_reopen();
    for (int i = 0; i < 200 && access(path, F_OK) != 0; i++) {
        usleep(10000);
    }
    log_file_line(f, STR("after"));
    log_file_close(f);
    log_close();
    assert_string_equal(text_of(moved), "before\n");
    assert_string_equal(text_of(path), "after\n");
}

/* Nobody has opened the other end, or is ever going to: neither opening nor the end of the program waits. */
static void a_pipe_without_a_reader(void **state)
{
    char fifo[64];
    snprintf(fifo, sizeof(fifo), "%s/nobody", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    uint64_t dropped = log_dropped_lines();
    uint64_t began = clock_mono_ms();
    struct log_file *f = log_file_open(fifo, NULL);
    assert_non_null(f);
    for (int i = 0; i < THREADS * LINES; i++) {
        log_file_line(f, STR("a line of the access log, about as long as one is"));
    }
    log_file_close(f);
    log_close();
    assert_true(clock_mono_ms() - began < 20000);
    assert_true(log_dropped_lines() - dropped > 0);
    unlink(fifo);
}

static void a_full_disk_drops_and_counts(void **state)
{
    uint64_t dropped = log_dropped_lines();
    struct log_file *f = log_file_open("/dev/full", NULL);
    assert_non_null(f);
    for (int i = 0; i < 10; i++) {
        log_file_line(f, STR("a line"));
    }
    log_file_close(f);
    log_close();
    assert_int_equal(log_dropped_lines() - dropped, 10);
}

/* A reader that never reads: the pipe fills, then the buffers, and nobody waits. */
static void slow_disk_drops_and_counts(void **state)
{
    static char line[1000];
    char fifo[64];
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    uint64_t dropped = log_dropped_lines();
    struct log_file *f = log_file_open(fifo, NULL);
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 2000; i++) {
        log_file_line(f, str_of(line, sizeof(line)));
    }
    assert_true(log_dropped_lines() > dropped);
    close(reader); /* the writer gets EPIPE instead of waiting for ever */
    log_file_close(f);
    log_close();
    unlink(fifo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_log),
        cmocka_unit_test(repeated_lines_are_held_back),
        cmocka_unit_test(no_line_is_lost_or_cut),
        cmocka_unit_test(reopens_by_name),
        cmocka_unit_test(a_pipe_without_a_reader),
        cmocka_unit_test(a_full_disk_drops_and_counts),
        cmocka_unit_test(slow_disk_drops_and_counts),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
