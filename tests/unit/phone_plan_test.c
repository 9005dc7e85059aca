/* The compiled plans against the library's whole reading: never sure of something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "auth/phone_plan.h"
#include "auth/phone_types.h"

enum { COUNTRIES = 300, DIGITS_MIN = 7, DIGITS_MAX = 15, NUMBER_MAX = 32, VALID_MAX = 64 };

static struct {
    unsigned asked, valid, unsure, differ;
    char countries[COUNTRIES][3]; /* that valid numbers were of */
    unsigned country_count;
} seen;

static uint64_t dice_state;
static unsigned rounds = 1; /* TIDE_PHONE_ROUNDS: that many times more numbers */

static unsigned dice(unsigned sides)
{
    dice_state = dice_state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(dice_state >> 33) % sides;
}

static void note_country(const char *country)
{
    for (unsigned i = 0; i < seen.country_count; i++) {
        if (strcmp(seen.countries[i], country) == 0) {
            return;
        }
    }
    assert_true(seen.country_count < COUNTRIES);
    snprintf(seen.countries[seen.country_count++], 3, "%s", country);
}

/* The plan's verdict; counts what differs from the library's. */
static enum phone_plan_verdict ask(const char *e164)
{
    struct phone_lib_answer plan = {.type = -1}, library = {.type = -1};
    enum phone_plan_verdict verdict = phone_plan_check(e164, &plan);
    seen.asked++;
    seen.unsure += verdict == PHONE_PLAN_UNSURE;
    if (verdict == PHONE_PLAN_UNSURE) {
        return verdict;
    }
    bool is_valid = phone_lib_check(e164, &library);
    if (is_valid != (verdict == PHONE_PLAN_VALID) || plan.type != library.type ||
        strcmp(plan.country, library.country) != 0 || plan.country_code != library.country_code) {
        seen.differ++;
        print_error("%s: plan %d %s %d, library %d %s %d\n", e164, verdict == PHONE_PLAN_VALID, plan.country,
                    plan.type, is_valid, library.country, library.type);
    }
    if (is_valid) {
        seen.valid++;
        note_country(library.country);
    }
    return verdict;
}

static void random_number(const char *begin, unsigned digits, char out[NUMBER_MAX])
{
    size_t n = (size_t)snprintf(out, NUMBER_MAX, "+%s", begin);
    while (n < digits + 1) {
        out[n++] = (char)('0' + dice(10));
    }
    out[n] = 0;
}

/* Few random numbers are valid: those that are lead to more. */
static void every_calling_code(void **state)
{
    static char valid[VALID_MAX][NUMBER_MAX];
    dice_state = 20261126;
    for (unsigned code = 1; code < 1000; code++) {
        unsigned count = 0;
        for (unsigned i = 0; i < (count > 0 ? 60 : 30) * rounds; i++) {
            char begin[8], number[NUMBER_MAX];
            if (count > 0 && dice(4) > 0) {
                snprintf(number, sizeof number, "%s", valid[dice(count)]);
                number[1 + dice((unsigned)strlen(number) - 1)] = (char)('0' + dice(10));
            } else {
                snprintf(begin, sizeof begin, "%u", code);
                random_number(begin, DIGITS_MIN + dice(DIGITS_MAX - DIGITS_MIN + 1), number);
            }
            if (number[1] != '0' && ask(number) == PHONE_PLAN_VALID && count < VALID_MAX) {
                snprintf(valid[count++], NUMBER_MAX, "%s", number);
            }
        }
    }
    assert_int_equal(seen.differ, 0);
    assert_true(seen.valid > 2000);
}

/* Where one calling code has many countries, first zeros belong to the number, prefixes are taken off, ranges are strange. */
static void hard_countries(void **state)
{
    static const char *const codes[] = {
        "1",  "7",   "39",  "39",  "44",  "447", "86",  "861", "61",  "212", "262", "290", "47",
        "54", "549", "55",  "52",  "521", "225", "228", "242", "378", "379", "390", "393", "299",
        "49", "358", "590", "594", "599", "681", "800", "808", "870", "878", "881", "882", "979",
        "76", "77",  "790", "441", "447", "852", "853", "886", "881", "888", "240", "241", "3906698"};
    dice_state = 5;
    for (size_t c = 0; c < sizeof codes / sizeof *codes; c++) {
        for (unsigned i = 0; i < 150 * rounds; i++) {
            char number[NUMBER_MAX];
            random_number(codes[c], DIGITS_MIN + 2 + dice(DIGITS_MAX - DIGITS_MIN - 1), number);
            ask(number);
        }
    }
    assert_int_equal(seen.differ, 0);
}

/* North America: each area code is of one country. */
static void every_area_code(void **state)
{
    dice_state = 1;
    for (unsigned area = 100; area < 1000; area++) {
        for (unsigned i = 0; i < 5 * rounds; i++) {
            char begin[8], number[NUMBER_MAX];
            snprintf(begin, sizeof begin, "1%u", area);
            random_number(begin, i % 5 < 4 ? 11 : 10 + dice(3), number);
            ask(number);
        }
    }
    assert_int_equal(seen.differ, 0);
}

/* Neighbours of what people have: one digit changed, taken off or added. */
static void neighbours(void **state)
{
    static const char *const numbers[] = {
        "+85251234567",  "+85366123456",   "+886912345678",  "+447400123456",  "+447781123456",
        "+447624123456", "+12025550123",   "+12423570123",   "+14415221234",   "+18765550123",
        "+79161234567",  "+77011234567",   "+393123456789",  "+390612345678",  "+3906698",
        "+919876543210", "+4915123456789", "+818012345678",  "+821012345678",  "+6591234567",
        "+61412345678",  "+5511987654321", "+5491123456789", "+5212221234567", "+33612345678",
        "+37744123456",  "+358401234567",  "+2250123456789"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t n = strlen(numbers[i]);
        char number[NUMBER_MAX];
        ask(numbers[i]);
        for (size_t at = 1; at <= n; at++) {
            for (char c = '0'; c <= '9'; c++) {
                snprintf(number, sizeof number, "%s", numbers[i]);
                number[at] = c;
                number[at + (at == n)] = 0;
                if (number[1] != '0') {
                    ask(number);
                }
            }
        }
        for (size_t less = 1; less < n - DIGITS_MIN; less++) {
            snprintf(number, sizeof number, "%.*s", (int)(n - less), numbers[i]);
            ask(number);
        }
    }
    assert_int_equal(seen.differ, 0);
}

static void it_is_sure_of_most(void **state)
{
    print_message("%u asked, %u valid, %u unsure, %u countries\n", seen.asked, seen.valid, seen.unsure,
                  seen.country_count);
    assert_true(seen.country_count > 100);
    assert_true(seen.unsure * 4 < seen.asked);
    assert_int_equal(ask("+85251234567"), PHONE_PLAN_VALID);
    assert_int_equal(ask("+12025550123"), PHONE_PLAN_VALID);
    assert_int_equal(ask("+447400123456"), PHONE_PLAN_VALID);
    assert_int_equal(ask("+447781123456"), PHONE_PLAN_VALID);
    assert_int_equal(ask("+393123456789"), PHONE_PLAN_VALID);
    assert_int_equal(ask("+9991234567"), PHONE_PLAN_INVALID);
    assert_int_equal(ask("+4407400123456"), PHONE_PLAN_UNSURE); /* the library takes the 0 for a prefix */
}

int main(void)
{
    const char *more = getenv("TIDE_PHONE_ROUNDS");
    rounds = more ? (unsigned)strtoul(more, NULL, 10) : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_calling_code), cmocka_unit_test(hard_countries),
        cmocka_unit_test(every_area_code),    cmocka_unit_test(neighbours),
        cmocka_unit_test(it_is_sure_of_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
