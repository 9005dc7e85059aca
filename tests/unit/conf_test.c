#include "tests/unit/temp.h"

#include "base/conf.h"

/* --- a configuration with one of each ------------------------------------------------------------ */

enum mode { MODE_FAST = 0, MODE_SAFE = 1 };

struct inner {
    uint32_t count;
    uint64_t idle_ms;
};
struct route {
    const char *path;
    uint32_t max_bytes;
};
struct root {
    bool on;
    uint32_t small;
    uint64_t large;
    uint32_t bits;
    double share;
    const char *text;
    const char *absent;
    const char *password;
    enum mode mode;
    struct endpoint listen;
    struct conf_strings names;
    struct conf_prefixes trusted;
    struct inner inner;
    struct inner *option;
    struct conf_list routes;
    const char *file;
    const char *key_file;
};

static int check_inner(void *section, const char **field, struct err *err)
{
    const struct inner *in = section;
    if (in->count == 13) {
        *field = "count";
        return err_set(err, ERR_INVALID, "is unlucky");
    }
    return 0;
}

static const struct conf_entry inner_entries[] = {
    {.name = "count", .type = CONF_INT, CONF_FIELD(struct inner, count), .preset = "3", .min = 1, .max = 100},
    {.name = "idle",
     .type = CONF_DURATION,
     CONF_FIELD(struct inner, idle_ms),
     .preset = "60s",
     .min = 1000,
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "Keep-alive | idle."},
};
static const struct conf_section inner_section = {.entries = inner_entries,
                                                  .count = CONF_COUNT(inner_entries),
                                                  .size = sizeof(struct inner),
                                                  .check = check_inner};

static const struct conf_entry route_entries[] = {
    {.name = "path", .type = CONF_STRING, CONF_FIELD(struct route, path), .flags = CONF_REQUIRED},
    {.name = "max_body", .type = CONF_SIZE, CONF_FIELD(struct route, max_bytes), .preset = "64KiB"},
};
static const struct conf_section route_section = {.entries = route_entries,
                                                  .count = CONF_COUNT(route_entries),
                                                  .size = sizeof(struct route),
                                                  .help = "A route."};

static const char *const modes[] = {"fast", "safe", NULL};
static const struct conf_entry entries[] = {
    {.name = "on",
     .type = CONF_BOOL,
     CONF_FIELD(struct root, on),
     .preset = "true",
     .flags = CONF_RELOADABLE},
    {.name = "small", .type = CONF_INT, CONF_FIELD(struct root, small), .preset = "5"},
    {.name = "large", .type = CONF_SIZE, CONF_FIELD(struct root, large), .preset = "1MiB", .max = 1 << 30},
    {.name = "bits", .type = CONF_OCTAL, CONF_FIELD(struct root, bits), .preset = "0600"},
    {.name = "share", .type = CONF_F64, CONF_FIELD(struct root, share), .preset = "0.5", .max = 1},
    {.name = "text", .type = CONF_STRING, CONF_FIELD(struct root, text), .preset = "hello", .max = 20},
    {.name = "absent", .type = CONF_STRING, CONF_FIELD(struct root, absent)},
    {.name = "password", .type = CONF_STRING, CONF_FIELD(struct root, password), .flags = CONF_SECRET},
    {.name = "mode", .type = CONF_ENUM, CONF_FIELD(struct root, mode), .preset = "safe", .names = modes},
    {.name = "listen", .type = CONF_ENDPOINT, CONF_FIELD(struct root, listen), .preset = "127.0.0.1:80"},
    {.name = "names", .type = CONF_STRINGS, CONF_FIELD(struct root, names), .preset = "a, b", .max = 3},
    {.name = "trusted", .type = CONF_PREFIXES, CONF_FIELD(struct root, trusted)},
    {.name = "inner", .type = CONF_SECTION, CONF_FIELD(struct root, inner), .section = &inner_section},
    {.name = "option", .type = CONF_OPTION, CONF_FIELD(struct root, option), .section = &inner_section},
    {.name = "routes",
     .type = CONF_LIST,
     CONF_FIELD(struct root, routes),
     .section = &route_section,
     .max = 4},
    {.name = "file", .type = CONF_STRING, CONF_FIELD(struct root, file), .flags = CONF_FILE},
    {.name = "key_file", .type = CONF_STRING, CONF_FIELD(struct root, key_file), .flags = CONF_SECRET_FILE},
};
static const struct conf_section root_section = {
    .entries = entries, .count = CONF_COUNT(entries), .size = sizeof(struct root)};

static struct conf *parse(const char *text)
{
    struct conf *c;
    struct err err = {.msg = ""};
    if (conf_parse(str_from(text), "t.yaml", &root_section, &c, &err) != 0) {
        print_message("%s\n", err.msg);
        fail();
    }
    return c;
}

static void refused(const char *text, const char *message)
{
    struct conf *c;
    struct err err = {.msg = ""};
    assert_int_equal(conf_parse(str_from(text), "t.yaml", &root_section, &c, &err), ERR_INVALID);
    assert_null(c);
    assert_string_equal(err.msg, message);
}

/* --- tests ----------------------------------------------------------------------------------------- */

static void presets_fill_what_is_not_written(void **state)
{
    struct conf *c = parse("");
    const struct root *r = conf_root(c);
    assert_true(r->on && r->small == 5 && r->large == 1 << 20 && r->bits == 0600 && r->share == 0.5);
    assert_string_equal(r->text, "hello");
    assert_null(r->absent);
    assert_int_equal(r->mode, MODE_SAFE);
    assert_string_equal(r->listen.text, "127.0.0.1:80");
    assert_int_equal(r->names.n, 2);
    assert_string_equal(r->names.items[1], "b");
    assert_int_equal(r->trusted.n, 0);
    assert_true(r->inner.count == 3 && r->inner.idle_ms == 60000);
    assert_null(r->option);
    assert_int_equal(r->routes.n, 0);
    conf_unref(c);
}

static const char everything[] = "# all of it\n"
                                 "on: false\n"
                                 "small: 4294967295\n"
                                 "large: 2GiB\n"
                                 "text: \"q: \\\"x\\\"\"\n"
                                 "password: pw\n"
                                 "mode: fast\n"
                                 "bits: 0644\n"
                                 "share: 1.0\n"
                                 "listen: unix:/run/x.sock\n"
                                 "names: []\n"
                                 "trusted:\n  - 10.0.0.0/8\n  - ::1\n"
                                 "inner:\n  count: 7\n"
                                 "option:\n"
                                 "routes:\n"
                                 "  - path: /v1\n    max_body: 1KiB\n"
                                 "  - {path: /x}\n";

static void check_everything(const struct root *r)
{
    assert_false(r->on);
    assert_int_equal(r->small, UINT32_MAX);
    assert_string_equal(r->text, "q: \"x\"");
    assert_int_equal(r->mode, MODE_FAST);
    assert_true(r->bits == 0644 && r->share == 1.0);
    assert_string_equal(r->listen.text, "unix:/run/x.sock");
    assert_int_equal(r->names.n, 0);
    assert_int_equal(r->trusted.n, 2);
    assert_true(r->inner.count == 7 && r->inner.idle_ms == 60000);
    assert_non_null(r->option);
    assert_int_equal(r->option->count, 3);
    assert_int_equal(r->routes.n, 2);
    const struct route *routes = r->routes.items;
    assert_string_equal(routes[0].path, "/v1");
    assert_int_equal(routes[0].max_bytes, 1024);
    assert_string_equal(routes[1].path, "/x");
    assert_int_equal(routes[1].max_bytes, 65536);
}

static void what_is_written_is_taken(void **state)
{
    char text[sizeof(everything)];
    memcpy(text, everything, sizeof(text));
    char *large = strstr(text, "2GiB");
    memcpy(large, "1GiB", 4);
    struct conf *c = parse(text);
    check_everything(conf_root(c));
    conf_unref(conf_ref(c));
    conf_unref(c);
    refused(everything, "t.yaml:4:1: large: it must be 0 to 1GiB");
}

static void errors_say_where_and_what(void **state)
{
    static const char *const bad[][2] = {
        {"smal: 1\n", "t.yaml:1:1: unknown setting 'smal', did you mean 'small'?"},
        {"inner:\n  zzzzzz: 1\n", "t.yaml:2:3: inner: unknown setting 'zzzzzz'"},
        {"small: 1\nsmall: 2\n", "t.yaml:2:1: this key is there twice"},
        {"small: x1\n", "t.yaml:1:1: small: 'x1' is not a whole number"},
        {"small: 4294967296\n", "t.yaml:1:1: small: '4294967296' is too large"},
        {"small: -1\n", "t.yaml:1:1: small: '-1' is not a whole number"},
        {"small:\n", "t.yaml:1:1: small: needs a single value"},
        {"small: [1]\n", "t.yaml:1:1: small: needs a single value"},
        {"on: yes\n", "t.yaml:1:1: on: 'yes' is neither true nor false"},
        {"bits: 600\n", "t.yaml:1:1: bits: '600' is not permission bits like 0600"},
        {"share: 1.5\n", "t.yaml:1:1: share: it must be 0 to 1"},
        {"share: nan\n", "t.yaml:1:1: share: 'nan' is not a number"},
        {"text: 123456789012345678901\n", "t.yaml:1:1: text: its length must be 0 to 20"},
        {"mode: slow\n", "t.yaml:1:1: mode: 'slow' is not one of fast, safe"},
        {"listen: localhost:80\n", "t.yaml:1:1: listen: 'localhost' is not an IPv4 or IPv6 address"},
        {"names: [a, b, c, d]\n", "t.yaml:1:1: names: the number of items must be 0 to 3"},
        {"names: a\n", "t.yaml:1:1: names: needs a list, like [a, b]"},
        {"trusted: [10.0.0.0/40]\n",
         "t.yaml:1:1: trusted: '10.0.0.0/40' is not an address or prefix like 10.0.0.0/8"},
        {"inner: 5\n", "t.yaml:1:1: inner: needs settings, one 'name: value' a line"},
        {"inner:\n  idle: 5ms\n", "t.yaml:2:3: inner.idle: it must be 1s to 1h"},
        {"inner:\n  idle: 3\n",
         "t.yaml:2:3: inner.idle: '3' is not a duration like 250ms, 10s, 5m, 2h or 30d"},
        {"option:\n  idle: 2s\n  count: 13\n", "t.yaml:3:3: option.count: is unlucky"},
        {"routes:\n  - path: /a\n  - max_body: 1\n", "t.yaml:3:5: routes[1].path: is required"},
        {"routes:\n  path: /a\n", "t.yaml:1:1: routes: needs a list"},
        {"routes: [1]\n", "t.yaml:1:10: routes[0]: needs settings, one 'name: value' a line"},
        {"- a\n", "t.yaml:1:1: needs settings, one 'name: value' a line"},
        {"text: &x a\n", "t.yaml:1:7: anchors, aliases and tags are not allowed"},
        {"text: *x\n", "t.yaml:1:7: anchors, aliases and tags are not allowed"},
        {"text: !!str a\n", "t.yaml:1:7: anchors, aliases and tags are not allowed"},
        {"text: a\n---\ntext: b\n", "t.yaml:2:1: only one document is allowed"},
        {"text: \"a\\0b\"\n", "t.yaml:1:7: a NUL in a value"},
        {"[a]: 1\n", "t.yaml:1:1: a key must be plain text"},
        {"text: 'a\n", "t.yaml:2:1: found unexpected end of stream"},
        {"file: /nonexistent\n", "t.yaml:1:1: file: cannot read /nonexistent: No such file or directory"},
        {"file: /tmp\n", "t.yaml:1:1: file: /tmp is not a regular file"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(bad[i][0], bad[i][1]);
    }
    char deep[64];
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    refused(deep, "t.yaml:1:17: nested too deep");
}

static void secret_files_are_for_the_owner_only(void **state)
{
    char text[200], message[300];
    const char *path = temp_write("key", "x", 0644);
    snprintf(text, sizeof(text), "key_file: %s\n", path);
    snprintf(message, sizeof(message), "t.yaml:1:1: key_file: %s must be for its owner only (chmod 600)",
             path);
    refused(text, message);
    chmod(path, 0600);
    conf_unref(parse(text));
}

static void load_reads_files(void **state)
{
    struct conf *c;
    struct err err;
    assert_int_equal(conf_load(temp_path("absent"), &root_section, &c, &err), ERR_IO);
    assert_int_equal(conf_load(temp_folder, &root_section, &c, &err), ERR_IO);
    assert_int_equal(conf_load(temp_write("c.yaml", "small: 6\n", 0644), &root_section, &c, &err), 0);
    assert_int_equal(((const struct root *)conf_root(c))->small, 6);
    conf_unref(c);
    const char *bad = temp_write("c.yaml", "small: 6\nsmoll: 7\n", 0644);
    assert_int_equal(conf_load(bad, &root_section, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "c.yaml:2:1: unknown setting 'smoll'"));
}

static void print_config_reads_back(void **state)
{
    struct buf out;
    buf_init(&out, 65536);
    char text[sizeof(everything)];
    memcpy(text, everything, sizeof(text));
    memcpy(strstr(text, "2GiB"), "1GiB", 4);
    struct conf *c = parse(text);
    conf_write(c, &out);
    conf_unref(c);
    assert_null(strstr(out.p, "pw"));
    assert_non_null(strstr(out.p, "password: \"***\"\n"));
    assert_non_null(strstr(out.p, "# absent:\n"));
    assert_non_null(strstr(out.p, "  idle: 1m\n"));
    c = parse(out.p);
    check_everything(conf_root(c));
    conf_unref(c);
    buf_clear(&out);
}

static const char *restart(const char *from, const char *to)
{
    static char path[128];
    struct conf *a = parse(from), *b = parse(to);
    bool needed = conf_needs_restart(a, b, path, sizeof(path));
    conf_unref(a);
    conf_unref(b);
    return needed ? path : "no";
}

static void reload_knows_what_may_change(void **state)
{
    assert_string_equal(restart("", "on: false\ninner: {idle: 5s}"), "no");
    assert_string_equal(restart("", "inner: {count: 5}"), "inner.count");
    assert_string_equal(restart("", "option: {}"), "option");
    assert_string_equal(restart("password: a", "password: b"), "password");
    assert_string_equal(restart("text: a", "text: a"), "no");
    assert_string_equal(restart("routes: [{path: a}]", "routes: [{path: b}]"), "routes[0].path");
    assert_string_equal(restart("routes: [{path: a}]", "routes: [{path: a}, {path: b}]"), "routes");
}

static void the_manual_names_everything(void **state)
{
    struct buf out;
    buf_init(&out, 65536);
    conf_write_manual(&root_section, &out);
    assert_non_null(strstr(out.p, "## `routes[]`\n\nA route.\n"));
    assert_non_null(strstr(out.p, "| `idle` | duration | `60s` | 1s to 1h | yes | Keep-alive \\| idle. |\n"));
    assert_non_null(strstr(out.p, "| `mode` | word: `fast`, `safe` | `safe` |"));
    assert_non_null(strstr(out.p, "| `key_file` | file, mode 0600 |"));
    buf_clear(&out);
}

static void preset_of_one_section(void **state)
{
    struct inner in;
    conf_preset(&inner_section, &in);
    assert_true(in.count == 3 && in.idle_ms == 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_fill_what_is_not_written),
        cmocka_unit_test(what_is_written_is_taken),
        cmocka_unit_test(errors_say_where_and_what),
        cmocka_unit_test(secret_files_are_for_the_owner_only),
        cmocka_unit_test(load_reads_files),
        cmocka_unit_test(print_config_reads_back),
        cmocka_unit_test(reload_knows_what_may_change),
        cmocka_unit_test(the_manual_names_everything),
        cmocka_unit_test(preset_of_one_section),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
