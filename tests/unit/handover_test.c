#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http/handover.h"
#include "base/http/server.h"
#include "base/http/server_impl.h"

static struct http_listener *open_at(const char *address, unsigned shards, struct http_handover *h,
                                     struct err *err)
{
    struct http_listener_conf conf = {.shards = shards, .name = "test", .handover = h, .waits = h != NULL};
    assert_int_equal(endpoint_parse(str_from(address), &conf.endpoint, NULL), 0);
    return http_listener_open(&conf, 1, err);
}

static void count_fd(void *arg, int fd)
{
    (*(unsigned *)arg)++;
    assert_true(fd >= 0);
}

/* In one process the new owner takes duplicates: what exec does to descriptors. */
static struct http_handover *handed_over(const struct http_listener *l)
{
    struct http_handover *old = http_handover_new();
    struct buf text;
    struct buf copies;
    struct str rest;
    struct str word;
    struct err err = {0};
    unsigned n = 0;
    http_handover_add(old, l);
    buf_init(&text, HTTP_HANDOVER_TEXT_MAX);
    buf_init(&copies, HTTP_HANDOVER_TEXT_MAX);
    http_handover_write(old, &text);
    http_handover_each(old, count_fd, &n);
    assert_int_equal(n, 1 + http_listener_shards(l));
    http_handover_free(old);
    rest = str_of(text.p, text.n - 1);
    assert_true(str_cut(&rest, ' ', &word));
    buf_add_str(&copies, word);
    while (str_cut(&rest, ' ', &word)) {
        uint64_t fd;
        assert_true(str_u64(word, &fd));
        buf_addf(&copies, " %d", dup((int)fd));
    }
    buf_add_char(&copies, '\n');
    struct http_handover *h = http_handover_read(buf_str(&copies), &err);
    assert_non_null(h);
    buf_clear(&text);
    buf_clear(&copies);
    return h;
}

static int connect_to(const struct http_listener *l)
{
    const struct endpoint *e = http_listener_endpoint(l);
    int fd = socket(e->sa.ss_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&e->sa, e->sa_len), 0);
    return fd;
}

/* Who was in the queue before is accepted afterwards, by whichever shard has him. */
static void a_queued_connection_moves_along(void **state)
{
    struct err err = {0};
    struct http_listener *old = open_at("127.0.0.1:0", 2, NULL, &err);
    int client = connect_to(old);
    assert_int_equal(write(client, "x", 1), 1);
    struct http_handover *h = handed_over(old);
    struct http_listener *new = open_at("127.0.0.1:0", 3, h, &err); /* one more than it was */
    assert_non_null(new);
    assert_int_equal(http_listener_shards(new), 3);
    assert_string_equal(http_listener_endpoint(new)->text, http_listener_endpoint(old)->text);
    assert_null(open_at(http_listener_endpoint(old)->text, 1, NULL, &err)); /* still locked */
    assert_int_equal(http_listener_begin(new, &err), 0);
    http_listener_leave(old);
    http_listener_close(old);
    int fd = -1;
    for (unsigned i = 0; i < 3 && fd < 0; i++) {
        fd = accept4(new->fds[i], NULL, NULL, SOCK_NONBLOCK);
    }
    char byte = 0;
    assert_true(fd >= 0);
    assert_int_equal(read(fd, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_null(open_at(http_listener_endpoint(new)->text, 1, NULL, &err));
    http_handover_free(h);
    http_listener_close(new);
    close(fd);
    close(client);
}

/* The file of a unix socket stays while one of both serves it, and goes with the last, or when it is not wanted. */
static void the_file_of_a_unix_socket(void **state)
{
    struct err err = {0};
    char address[64];
    char folder[] = "/tmp/tide-handover-XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    const char *path = address + 5;
    struct http_listener *old = open_at(address, 1, NULL, &err);
    struct http_handover *h = handed_over(old);
    struct http_listener *new = open_at(address, 1, h, &err);
    http_listener_close(new); /* it could not begin: the old one goes on */
    assert_int_equal(access(path, F_OK), 0);
    http_handover_free(h);
    h = handed_over(old);
    new = open_at(address, 1, h, &err);
    assert_int_equal(http_listener_begin(new, &err), 0);
    http_listener_leave(old);
    http_listener_close(old);
    assert_int_equal(access(path, F_OK), 0);
    http_handover_free(h);
    h = handed_over(new);
    http_listener_leave(new);
    http_listener_close(new);
    http_handover_end(h); /* the next one does not listen there */
    assert_int_not_equal(access(path, F_OK), 0);
    http_handover_free(h);
    assert_int_equal(rmdir(folder), 0);
}

/* Somebody removed the file of a socket: who takes it over serves on what it has, and its other listeners. */
static void a_unix_socket_whose_file_is_gone(void **state)
{
    struct err err = {0};
    char address[64];
    char folder[] = "/tmp/tide-handover-XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    struct http_listener *old = open_at(address, 1, NULL, &err);
    assert_int_equal(unlink(address + 5), 0);
    struct http_handover *h = handed_over(old);
    struct http_listener *new = open_at(address, 1, h, &err);
    assert_int_equal(http_listener_begin(new, &err), 0);
    http_listener_leave(old);
    http_listener_close(old);
    http_handover_free(h);
    http_listener_close(new);
    assert_int_equal(rmdir(folder), 0);
}

static void what_is_not_a_handover(void **state)
{
    static const char *const bad[] = {"\n",
                                      "127.0.0.1:80\n",
                                      "127.0.0.1:80 0\n",
                                      "127.0.0.1:80 x 1\n",
                                      "127.0.0.1:80 0 1\n", /* no sockets */
                                      "127.0.0.1:80 99999 99998\n",
                                      "127.0.0.1:80 99999999999999999999 1\n",
                                      "127.0.0.1:80 -1 1\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = {0};
        assert_null(http_handover_read(str_from(bad[i]), &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queued_connection_moves_along),
        cmocka_unit_test(the_file_of_a_unix_socket),
        cmocka_unit_test(a_unix_socket_whose_file_is_gone),
        cmocka_unit_test(what_is_not_a_handover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
