#include "tests/unit/temp.h"

#include <openssl/hmac.h>

#include "base/secret.h"

static struct secret_ring *ring;

static int make_ring(void **state)
{
    struct err err;
    if (temp_make(state) != 0 || secret_ring_generate(temp_path("ring"), &err) != 0) {
        return -1;
    }
    return secret_ring_load(temp_path("ring"), &ring, &err);
}

static int drop_ring(void **state)
{
    secret_ring_unref(ring);
    return temp_remove(state);
}

static void a_generated_ring_has_all_uses(void **state)
{
    struct stat st;
    struct err err;
    assert_int_equal(stat(temp_path("ring"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    for (unsigned use = 0; use < SECRET_USES; use++) {
        const struct secret_key *k = secret_active(ring, (enum secret_use)use);
        assert_string_equal(k->id, "1");
        assert_true(k->n >= 32);
        assert_ptr_equal(k, secret_find(ring, (enum secret_use)use, STR("1")));
        assert_null(secret_at(ring, (enum secret_use)use, 1));
    }
    assert_int_equal(secret_active(ring, SECRET_TICKET)->n, 80);
    assert_null(secret_find(ring, SECRET_LOOKUP, STR("2")));
    assert_int_equal(secret_ring_generate(temp_path("ring"), &err), ERR_CONFLICT);
}

/* Ticket keys of the ring in the file, as "id state" in the order in which they are tried. */
static void expect_tickets(const char *const *wanted, uint8_t secrets[][80])
{
    static const char *const states[] = {"retired", "active", "next"};
    struct secret_ring *r;
    struct err err;
    const struct secret_key *k;
    unsigned n = 0;
    assert_int_equal(secret_ring_load(temp_path("ring"), &r, &err), 0);
    for (; (k = secret_at(r, SECRET_TICKET, n)); n++) {
        char text[64];
        snprintf(text, sizeof(text), "%s %s", k->id, states[k->is_active ? 1 : k->is_next ? 2 : 0]);
        assert_non_null(wanted[n]);
        assert_string_equal(text, wanted[n]);
        memcpy(secrets[n], k->bytes, 80);
    }
    assert_null(wanted[n]);
    assert_memory_equal(secret_active(r, SECRET_LOOKUP)->bytes, secret_active(ring, SECRET_LOOKUP)->bytes,
                        32);
    secret_ring_unref(r);
}

static void ticket_keys_rotate(void **state)
{
    char active[SECRET_ID_MAX + 1];
    uint8_t first[3][80], second[3][80], third[3][80];
    struct stat st;
    struct err err;
    assert_int_equal(secret_ring_rotate_tickets(temp_path("ring"), active, &err), 0);
    assert_string_equal(active, "1");
    expect_tickets((const char *const[]){"1 active", "2 next", NULL}, first);
    assert_int_equal(secret_ring_rotate_tickets(temp_path("ring"), active, &err), 0);
    assert_string_equal(active, "2");
    expect_tickets((const char *const[]){"2 active", "1 retired", "3 next", NULL}, second);
    assert_int_equal(secret_ring_rotate_tickets(temp_path("ring"), active, &err), 0);
    expect_tickets((const char *const[]){"3 active", "2 retired", "4 next", NULL}, third);
    assert_memory_equal(first[0], second[1], 80);
    assert_memory_equal(first[1], second[0], 80);
    assert_memory_equal(second[2], third[0], 80);
    assert_int_equal(stat(temp_path("ring"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(temp_path("ring.new"), &st), -1);
    temp_write("ring.new", "left over", 0600);
    assert_int_equal(secret_ring_rotate_tickets(temp_path("ring"), active, &err), ERR_CONFLICT);
    expect_tickets((const char *const[]){"3 active", "2 retired", "4 next", NULL}, third);
}

static void a_ring_for_others_to_read_is_refused(void **state)
{
    struct secret_ring *r;
    struct err err;
    temp_write("open", "{\"keys\":[]}", 0640);
    assert_int_equal(secret_ring_load(temp_path("open"), &r, &err), ERR_DENIED);
    assert_non_null(strstr(err.msg, "chmod 600"));
    assert_int_equal(secret_ring_load(temp_folder, &r, &err), ERR_DENIED);
    assert_int_equal(secret_ring_load(temp_path("absent"), &r, &err), ERR_IO);
}

#define KEY32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define OF(use, id, state)                                                                                   \
    "{\"id\":\"" id "\",\"use\":\"" use "\",\"state\":\"" state "\",\"secret\":\"" KEY32 "\"}"

static void bad_rings_name_the_field(void **state)
{
    static const char *const bad[][2] = {
        {"{}", "keys"},
        {"[]", "keys"},
        {"{\"keys\":[1]}", "keys[0] is not an object"},
        {"{\"keys\":[{\"id\":\"1\"}]}", "keys[0] needs"},
        {"{\"keys\":[{\"id\":\"a b\"}]}", "keys[0].id is not"},
        {"{\"keys\":[{\"id\":7}]}", "keys[0].id is not a string"},
        {"{\"keys\":[{\"use\":\"x\"}]}", "keys[0].use"},
        {"{\"keys\":[{\"state\":\"x\"}]}", "keys[0].state"},
        {"{\"keys\":[{\"secret\":\"AAAA\"}]}", "keys[0].secret is not"},
        {"{\"keys\":[{\"other\":\"x\"}]}", "keys[0].other"},
        {"{\"keys\":[" OF("lookup", "1", "active") "," OF("lookup", "1", "retired") "]}", "id 1"},
        {"{\"keys\":[" OF("ticket", "1", "active") "]}", "wrong for ticket"},
        {"{\"keys\":[" OF("lookup", "1", "active") "," OF("lookup", "2", "active") "]}", "active keys"},
        {"{\"keys\":[{\"id\":\"1\",\"id\":\"2\"}]}", "twice"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct secret_ring *r;
        struct err err;
        assert_int_equal(secret_ring_load(temp_write("bad", bad[i][0], 0600), &r, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i][1]));
        assert_null(r);
    }
}

static void retired_keys_come_after_the_active_one(void **state)
{
    struct buf text;
    struct secret_ring *r;
    struct err err;
    buf_init(&text, 8192);
    buf_add_cstr(&text, "{\"keys\":[" OF("lookup", "old", "retired") "," OF("lookup", "new", "active"));
    static const char *const rest[] = {"code_pepper", "ramp", "encrypt", "token"};
    for (int i = 0; i < 4; i++) {
        buf_addf(&text, ",{\"id\":\"1\",\"use\":\"%s\",\"state\":\"active\",\"secret\":\"" KEY32 "\"}",
                 rest[i]);
    }
    buf_addf(&text, ",{\"id\":\"1\",\"use\":\"ticket\",\"state\":\"active\",\"secret\":\"%s\"}]}",
             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
             "AAAAAAAAAAAAAAAAAAAAAAA=");
    assert_int_equal(secret_ring_load(temp_write("two", text.p, 0600), &r, &err), 0);
    assert_string_equal(secret_active(r, SECRET_LOOKUP)->id, "new");
    assert_string_equal(secret_at(r, SECRET_LOOKUP, 1)->id, "old");
    assert_null(secret_at(r, SECRET_LOOKUP, 2));
    secret_ring_unref(secret_ring_ref(r));
    secret_ring_unref(r);
    buf_clear(&text);
}

/* RFC 4231, test case 2, needs a short key: the struct is filled by hand. */
static void hmac_is_rfc_4231(void **state)
{
    struct secret_key k = {.n = 4, .bytes = "Jefe"};
    uint8_t out[SECRET_HMAC_BYTES];
    char hex[65];
    secret_hmac(&k, STR("what do ya want for nothing?"), out);
    str_hex_encode(out, 32, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t ab_c[32], a_bc[32];
    secret_hmac_of(&k, (struct str[]){STR("ab"), STR("c")}, 2, ab_c);
    secret_hmac_of(&k, (struct str[]){STR("a"), STR("bc")}, 2, a_bc);
    assert_false(secret_eq(ab_c, a_bc, 32));
}

static void hmac_is_openssls_for_keys_of_any_length(void **state)
{
    struct secret_key k = {.n = 0};
    uint8_t ours[SECRET_HMAC_BYTES], theirs[SECRET_HMAC_BYTES];
    char text[300];
    memset(text, 'x', sizeof text);
    while (k.n < SECRET_KEY_MAX) {
        k.bytes[k.n] = (uint8_t)(k.n * 37);
        k.n++;
        struct str data = str_of(text, k.n * 3);
        secret_hmac(&k, data, ours);
        HMAC(EVP_sha256(), k.bytes, (int)k.n, (const uint8_t *)data.p, data.n, theirs, NULL);
        assert_memory_equal(ours, theirs, sizeof ours);
    }
}

static void seals_open_only_where_they_belong(void **state)
{
    struct buf sealed, again, plain;
    struct err err;
    buf_init(&sealed, 256);
    buf_init(&again, 256);
    buf_init(&plain, 256);
    assert_int_equal(secret_seal(ring, STR("phone"), STR("+8613800138000"), &sealed, &err), 0);
    assert_int_equal(secret_seal(ring, STR("phone"), STR("+8613800138000"), &again, &err), 0);
    assert_int_equal(sealed.n, 2 + 1 + 12 + 14 + 16);
    assert_false(str_eq(buf_str(&sealed), buf_str(&again)));
    assert_int_equal(secret_open(ring, STR("phone"), buf_str(&sealed), &plain, &err), 0);
    assert_string_equal(plain.p, "+8613800138000");
    assert_int_equal(secret_open(ring, STR("email"), buf_str(&sealed), &plain, &err), ERR_DENIED);
    for (size_t i = 0; i < sealed.n; i++) {
        sealed.p[i] ^= 1;
        assert_true(secret_open(ring, STR("phone"), buf_str(&sealed), &plain, &err) < 0);
        sealed.p[i] ^= 1;
    }
    for (size_t n = 0; n < sealed.n; n++) {
        assert_true(secret_open(ring, STR("phone"), str_of(sealed.p, n), &plain, &err) < 0);
    }
    assert_string_equal(plain.p, "+8613800138000");
    assert_int_equal(secret_seal(ring, STR(""), STR(""), &plain, &err), 0);
    buf_clear(&sealed);
    buf_clear(&again);
    buf_clear(&plain);
}

static void comparing(void **state)
{
    assert_true(secret_str_eq(STR("abc"), STR("abc")));
    assert_false(secret_str_eq(STR("abc"), STR("abd")));
    assert_false(secret_str_eq(STR("abc"), STR("ab")));
    assert_true(secret_str_eq(STR(""), STR("")));
}

static void files_lose_one_newline(void **state)
{
    struct buf b;
    struct err err;
    buf_init(&b, 8);
    assert_int_equal(secret_file_read(temp_write("s", "key\n\n", 0600), &b, &err), 0);
    assert_string_equal(b.p, "key\n");
    assert_int_equal(secret_file_read(temp_write("s", "123456789", 0400), &b, &err), ERR_LIMIT);
    assert_int_equal(secret_file_check(temp_write("s", "x", 0604), &err), ERR_DENIED);
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_generated_ring_has_all_uses),
        cmocka_unit_test(ticket_keys_rotate),
        cmocka_unit_test(a_ring_for_others_to_read_is_refused),
        cmocka_unit_test(bad_rings_name_the_field),
        cmocka_unit_test(retired_keys_come_after_the_active_one),
        cmocka_unit_test(hmac_is_rfc_4231),
        cmocka_unit_test(hmac_is_openssls_for_keys_of_any_length),
        cmocka_unit_test(seals_open_only_where_they_belong),
        cmocka_unit_test(comparing),
        cmocka_unit_test(files_lose_one_newline),
    };
    return cmocka_run_group_tests(tests, make_ring, drop_ring);
}
